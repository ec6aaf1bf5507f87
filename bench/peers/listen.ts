/** Listening on a free loopback port, once for all peers. */
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export async function listen(server: Pick<Server, 'listen' | 'once' | 'address'>): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}

/**
 * Ports below those that systems give out by themselves (Linux: from 32 768): one that was free stays so until somebody asks
 * for just that one.
 */
const ASKED_FOR = { first: 10_000, last: 32_000 };
let nextPort = randomInt(ASKED_FOR.first, ASKED_FOR.last);

/** A port that was free just now, another one each time, for a program that cannot choose one itself. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = nextPort;
    nextPort = port < ASKED_FOR.last ? port + 1 : ASKED_FOR.first;
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port, '127.0.0.1');
  try {
    await once(probe, 'listening');
  } catch {
    return false;
  }
  await new Promise((resolve) => probe.close(resolve));
  return true;
}

/** Milliseconds between two looks whether a program listens. */
const LOOK_MS = 20;

/** Resolves when `program` takes connections at `port`, however long it needs to start. @throws Error when it has ended instead. */
export async function untilListens(program: ChildProcess, port: number): Promise<void> {
  while (!(await takesConnections(port))) {
    if (program.exitCode !== null || program.signalCode !== null)
      throw new Error(`${program.spawnfile} ended with ${program.exitCode ?? program.signalCode}`);
    await delay(LOOK_MS);
  }
}

/** Whether somebody listens at a port of this machine, or at a Unix socket. */
export async function takesConnections(place: number | string): Promise<boolean> {
  const socket = typeof place === 'string' ? connect(place) : connect(place, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
