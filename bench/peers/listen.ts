/** Listening on a free loopback port, once for all peers. */
import type { ChildProcess } from 'node:child_process';
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

/** A port that was free just now, for a program that cannot choose one itself. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await listen(probe);
  await new Promise((resolve) => probe.close(resolve));
  return port;
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

async function takesConnections(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
