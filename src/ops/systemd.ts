/**
 * systemd, where it has started us: what it is told (sd_notify) and the sockets that it hands down. Node.js has no Unix
 * datagrams, so systemd's own `systemd-notify` says it, which waits until it was heard: the unit needs NotifyAccess=all.
 */

import { execFile } from 'node:child_process';
import { every } from '../wire/timers.ts';

/** The first descriptor that is handed down (sd_listen_fds). */
const FIRST_FD = 3;

export interface HandedDown {
  /** Where to serve. */
  readonly fd: number;
  /** The one that is called `admin` (FileDescriptorName=). */
  readonly adminFd: number | undefined;
}

/** Sockets that were handed down to this very process; takes them out of the environment, as they are ours alone. */
export function handedDown(env: NodeJS.ProcessEnv): HandedDown | undefined {
  const { LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES = '' } = env;
  if (LISTEN_FDS === undefined || (LISTEN_PID !== undefined && Number(LISTEN_PID) !== process.pid))
    return undefined;
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) delete env[name];
  const fds = Array.from({ length: Number(LISTEN_FDS) || 0 }, (_, index) => FIRST_FD + index);
  const admin = LISTEN_FDNAMES.split(':').indexOf('admin');
  const adminFd = admin < 0 ? undefined : fds[admin];
  const fd = fds.find((each) => each !== adminFd);
  return fd === undefined ? undefined : { fd, adminFd };
}

export class Notify {
  readonly #env: NodeJS.ProcessEnv;
  readonly #complain: (message: string) => void;
  #watchdog: ReturnType<typeof setInterval> | undefined;
  /** It cannot be told, and that was said. */
  #isMute = false;
  /** One after the other, in the order in which they were said. */
  #said: Promise<void> = Promise.resolve();

  /** `complain`: told, once, when nothing can be said. */
  constructor(env: NodeJS.ProcessEnv, complain: (message: string) => void) {
    this.#env = env;
    this.#complain = complain;
  }

  /** It serves, from now on with a sign of life twice in the time that systemd waits for one. */
  ready(status: string): Promise<void> {
    const { WATCHDOG_USEC, WATCHDOG_PID } = this.#env;
    const periodMs = Number(WATCHDOG_USEC) / 2000;
    const isOurs = WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === process.pid;
    if (isOurs && periodMs > 0) this.#watchdog ??= every(periodMs, () => this.#say('WATCHDOG=1')).unref();
    return this.#say('READY=1', `STATUS=${status}`);
  }

  /** The settings are being read; {@link ready} says that they are. */
  reloading(): Promise<void> {
    const microseconds = process.hrtime.bigint() / 1000n;
    return this.#say('RELOADING=1', `MONOTONIC_USEC=${microseconds}`);
  }

  stopping(): Promise<void> {
    clearInterval(this.#watchdog);
    return this.#say('STOPPING=1');
  }

  #say(...variables: string[]): Promise<void> {
    if (this.#env.NOTIFY_SOCKET === undefined || this.#isMute) return this.#said;
    this.#said = this.#said.then(() => this.#send(variables));
    return this.#said;
  }

  #send(variables: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      execFile('systemd-notify', variables as string[], { env: this.#env, timeout: 5000 }, (error) => {
        if (error !== null && !this.#isMute) {
          this.#isMute = true;
          this.#complain(`cannot tell systemd ${variables[0]}: ${error.message.split('\n')[0]}`);
          clearInterval(this.#watchdog);
        }
        resolve();
      });
    });
  }
}
