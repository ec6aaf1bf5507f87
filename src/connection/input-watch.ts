/** Sees to it that a peer which is in the middle of something goes on with it in time (protocol B-limits). */

import { ProtocolError } from '../wire/errors.ts';
import type { Limits } from '../wire/limits.ts';
import { every, unref } from '../wire/timers.ts';
import type { InputClock } from './input-clock.ts';

/** Whose input is watched. */
export interface Watched {
  /** True in the middle of a frame or a command, when the peer may not pause for long. */
  readonly midway: boolean;
  /** True while what has come waits for its turn: what is late then is late through us. */
  readonly inputWaits: boolean;
  /** The error of a command that has been arriving for too long at `nowMs`. */
  overdue(nowMs: number): ProtocolError | undefined;
  /** Calls `run` once what has arrived in this turn has been dealt with. */
  endOfTick(run: () => void): void;
  /** The peer has taken too long. */
  fail(error: ProtocolError): void;
}

/** A peer may be silent for as long as it likes, but not in the middle of something. */
export class InputWatch {
  readonly #limits: Limits;
  readonly #clock: InputClock;
  readonly #watched: Watched;
  /** When the frame began that is not whole yet; undefined between frames. */
  #frameSinceMs: number | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** When it should look next. */
  #nextLookMs = 0;
  #stopped = false;

  constructor(limits: Limits, clock: InputClock, watched: Watched) {
    this.#limits = limits;
    this.#clock = clock;
    this.#watched = watched;
  }

  /** Input was taken. `midFrame`: it ends inside a frame; `ended`: some frame has ended in it. */
  took(midFrame: boolean, ended: boolean): void {
    if (!midFrame) this.#frameSinceMs = undefined;
    else if (ended) this.#frameSinceMs = this.#clock.inputMs;
    else this.#frameSinceMs ??= this.#clock.inputMs;
    if (this.#timer === undefined && !this.#stopped && this.#watched.midway) this.#begin();
  }

  /** Nothing is awaited any more. */
  stop(): void {
    this.#stopped = true;
    this.#rest();
  }

  #begin(): void {
    this.#nextLookMs = performance.now() + this.#periodMs;
    this.#timer = unref(every(this.#periodMs, this.#look));
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  get #periodMs(): number {
    const { idleTimeout, frameTimeout, commandTimeout } = this.#limits;
    return Math.min(1000, Math.max(5, Math.min(idleTimeout, frameTimeout, commandTimeout) / 4));
  }

  readonly #look = (): void => {
    this.#forgiveDelay();
    if (!this.#watched.midway) this.#rest();
    // After a long tick of ours, what the peer has sent meanwhile is still to be read: that comes first.
    else if (this.#overdue() !== undefined) this.#watched.endOfTick(this.#failIfOverdue);
  };

  /** A look that comes late was held up by us: for so long this thread was busy, or was not run. */
  #forgiveDelay(): void {
    const nowMs = performance.now();
    const lateMs = nowMs - this.#nextLookMs;
    this.#nextLookMs = nowMs + this.#periodMs;
    if (lateMs > this.#periodMs) this.#clock.forgive(lateMs);
  }

  readonly #failIfOverdue = (): void => {
    const error = this.#stopped ? undefined : this.#overdue();
    if (error !== undefined) this.#watched.fail(error);
  };

  #overdue(): ProtocolError | undefined {
    if (this.#watched.inputWaits) return undefined;
    const { nowMs } = this.#clock;
    return this.#frameOverdue(nowMs) ?? this.#watched.overdue(nowMs);
  }

  #frameOverdue(nowMs: number): ProtocolError | undefined {
    if (this.#frameSinceMs === undefined) return undefined;
    const { idleTimeout, frameTimeout } = this.#limits;
    if (nowMs - this.#clock.inputMs >= idleTimeout) {
      return new ProtocolError('timeout', `idleTimeout: idle for ${idleTimeout} ms in the middle of a frame`);
    }
    if (nowMs - this.#frameSinceMs >= frameTimeout) {
      return new ProtocolError('timeout', `frameTimeout: one frame took over ${frameTimeout} ms`);
    }
    return undefined;
  }
}
