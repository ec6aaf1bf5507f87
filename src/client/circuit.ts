/** When an address that fails is tried again: arithmetic and state, without timers. */

import { backoff, jittered } from './backoff.ts';

/**
 * `closed`: it is used. `open`: it has failed again and again, and is left alone for a while. `half-open`: one
 * connection and one call at a time try it, or one more for each second without an answer.
 */
export type CircuitState = 'closed' | 'open' | 'half-open';

/** When an address of a pool is tried again after it has failed. */
export interface CircuitOptions {
  /** Milliseconds after the first failure; twice as many after each further one, up to `maxBackoffMs`. */
  readonly minBackoffMs: number;
  readonly maxBackoffMs: number;
  /** Failures in a row that open it. */
  readonly circuitFailures: number;
  /** Milliseconds for which it then stays open. */
  readonly circuitOpenMs: number;
}

export class Circuit {
  readonly #options: CircuitOptions;
  readonly #random: () => number;
  #state: CircuitState = 'closed';
  #failures = 0;

  /** `random`: from 0 to below 1. */
  constructor(options: CircuitOptions, random: () => number = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** Failures since it last worked. */
  get failures(): number {
    return this.#failures;
  }

  /** It has failed. Milliseconds until it should be tried again. */
  failed(): number {
    const { minBackoffMs, maxBackoffMs, circuitFailures, circuitOpenMs } = this.#options;
    this.#failures++;
    if (this.#state !== 'closed' || this.#failures >= circuitFailures) {
      this.#state = 'open';
      return jittered(circuitOpenMs, this.#random);
    }
    return backoff(this.#failures, minBackoffMs, maxBackoffMs, this.#random);
  }

  /** The time to try it again has come. */
  tryAgain(): void {
    if (this.#state === 'open') this.#state = 'half-open';
  }

  /** It works. */
  succeeded(): void {
    this.#failures = 0;
    this.#state = 'closed';
  }
}
