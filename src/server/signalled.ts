/** Waiting for what comes again and again, until a signal fires. */

export interface Signalled {
  /** Whether one of the signals has fired. */
  readonly isSo: boolean;
  /**
   * Resolves when `next` does, or one of the signals fires; one wait at a time. Nothing of it is kept: Promise.race() with a
   * promise that outlives the wait would leave something behind on that each time.
   */
  or(next: Promise<void>): Promise<void>;
  /** Listens no more. */
  forget(): void;
}

export function signalled(...signals: AbortSignal[]): Signalled {
  let wake = () => {};
  const fired = () => wake();
  for (const signal of signals) signal.addEventListener('abort', fired);
  return {
    get isSo(): boolean {
      return signals.some(({ aborted }) => aborted);
    },
    or(next: Promise<void>): Promise<void> {
      if (this.isSo) return Promise.resolve();
      return new Promise((resolve) => {
        wake = resolve;
        next.then(resolve, resolve);
      });
    },
    forget(): void {
      for (const signal of signals) signal.removeEventListener('abort', fired);
    },
  };
}
