/**
 * A limit on a thread's time that a slow machine does not make an honest thread reach. While the thread works, the CPU time
 * that it gets counts; while it stands still, the time on the wall, for then it is not for want of a core.
 */

/** A thread that has had less than this part of the time wanted no more. */
const AT_WORK = 0.01;

export interface ThreadTimeOptions {
  readonly limitMs: number;
  /** CPU time that the thread has used so far, in milliseconds. Where it rejects, or does not settle, nobody can tell. */
  readonly readCpuMs: () => Promise<number>;
  /** The limit has been reached. Called again at each further look. */
  readonly onOver: () => void;
}

export class ThreadTime {
  readonly #options: ThreadTimeOptions;
  #passedMs = 0;
  /** By the newest reading; undefined where there is none. */
  #cpuMs: number | undefined;
  /** Wall time of the look whose reading has not come yet. */
  #pendingMs = 0;

  constructor(options: ThreadTimeOptions) {
    this.#options = options;
    this.restart();
  }

  /** The limit counts from now on. */
  restart(): void {
    this.#passedMs = 0;
    this.#pendingMs = 0;
    this.#read();
  }

  /** `wallMs` have passed since it was made, restarted, or looked at. */
  look(wallMs: number): void {
    this.#count(this.#pendingMs);
    this.#pendingMs = wallMs;
    this.#read();
  }

  #read(): void {
    this.#options.readCpuMs().then(
      (cpuMs) => this.#arrived(cpuMs),
      () => this.#arrived(undefined),
    );
  }

  #arrived(cpuMs: number | undefined): void {
    const usedMs = cpuMs === undefined || this.#cpuMs === undefined ? 0 : cpuMs - this.#cpuMs;
    const wallMs = this.#pendingMs;
    this.#cpuMs = cpuMs;
    this.#pendingMs = 0;
    this.#count(usedMs < AT_WORK * wallMs ? wallMs : Math.min(usedMs, wallMs));
  }

  #count(ms: number): void {
    this.#passedMs += ms;
    if (ms > 0 && this.#passedMs >= this.#options.limitMs) this.#options.onOver();
  }
}
