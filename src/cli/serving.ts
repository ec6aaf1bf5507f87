/** What `millrace serve` has to do with its machine: where it listens, when it stops, whom it tells what fails. */

import { closeSync, existsSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import { problemOf } from '../files/paths.ts';
import type { Address, Server, ServerOptions } from '../index.ts';
import type { Settings } from '../ops/settings.ts';
import { Sparing } from '../ops/sparing.ts';
import { DEFAULT_PORT, showTarget } from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, onStop } from './outcome.ts';
import { plural } from './show.ts';

export const FINISHING = 'finishing the requests in flight; another signal ends them';

/** On `fd` where a socket was handed down. @throws Error in one line, where it cannot be listened. */
export async function listen(
  server: Server,
  { socket, host, port = DEFAULT_PORT }: Settings,
  fd?: number,
): Promise<Address> {
  if (fd !== undefined) return server.listen({ fd });
  const where = socket === undefined ? { host: host ?? '127.0.0.1', port } : { path: socket };
  if (socket !== undefined) await removeStale(socket);
  try {
    return await server.listen(where);
  } catch (error) {
    throw new Error(`cannot listen on ${showTarget(where)}: ${listenProblem(error, socket)}`);
  }
}

export function listenProblem(error: unknown, socket?: string): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') return 'it is in use';
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') return 'this machine has no such address';
  // Node says EACCES for the one and EINVAL for the other.
  if (socket !== undefined && !existsSync(dirname(socket))) return 'its folder is not there';
  if (socket !== undefined && code === 'EINVAL') return 'the path is too long for a socket';
  return problemOf(error);
}

/** A server that was killed leaves its socket behind, where nobody answers. */
async function removeStale(path: string): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return;
  const isStale = await new Promise<boolean>((done) => {
    const probe = createConnection(path, () => done(false));
    probe.on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED'));
    probe.on('connect', () => probe.destroy());
  });
  if (isStale) unlinkSync(path);
}

/** `stopped` resolves at the first signal to stop, or when the terminal is closed; until `release` requests in flight are finished, unless another comes. */
export function untilStopped(io: Io): { stopped: Promise<void>; stop(): void; release(): void } {
  const { signals } = io;
  const { promise, resolve } = Promise.withResolvers<void>();
  const release = onStop(() => resolve(), undefined, signals, ['SIGINT', 'SIGTERM']);
  const onHangup = () => {
    if (isTerminalGone(io)) resolve();
  };
  signals.on('SIGHUP', onHangup);
  return {
    stopped: promise,
    stop: resolve,
    release: () => {
      signals.off('SIGHUP', onHangup);
      release();
    },
  };
}

/** SIGHUP has come because the terminal was closed, and not to have the settings read again. */
export function isTerminalGone({ stdin }: Io): boolean {
  if ((stdin as { isTTY?: boolean }).isTTY !== true) return false;
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return false;
  } catch {
    return true;
  }
}

/**
 * Prints one line per failure of ours; those of connections are the clients' and would fill the log. What is nobody's, such as a
 * relay that is gone or descriptors that are used up, is the server's, and may come with every connection: some a second.
 */
export function reporter(isVerbose: () => boolean, io: Io): NonNullable<ServerOptions['onError']> {
  const sparing = new Sparing((_, leftOut) => io.complain(`server: ${plural(leftOut, 'line')} left out`));
  return (error, { command, lane, remote, recording }) => {
    if (recording) return io.complain(`recording stopped: ${messageOf(error)}`);
    const isOfServer = command === undefined && lane === undefined && remote === undefined;
    if (isOfServer && !sparing.allows('server')) return;
    if (command === undefined && lane === undefined && !isOfServer && !isVerbose()) return;
    const what = command ?? (lane === undefined ? (isOfServer ? 'server' : 'connection') : `worker ${lane}`);
    const message = error instanceof Error ? error.message : String(error);
    io.complain(`${what}${remote === undefined ? '' : ` from ${remote}`}: ${message}`);
  };
}
