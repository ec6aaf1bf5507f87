/** How a command may end other than well; program.ts turns these into exit codes. */

/** The user asked for something that cannot be: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Stopped by a signal before the end: the exit code that shells expect. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, message = 'stopped') {
    super(message);
    this.exitCode = signal === 'SIGTERM' ? 143 : 130;
  }
}

/**
 * A signal that fires with {@link Stopped} at the first SIGINT or SIGTERM; the second ends the process at once.
 * @returns how to stop listening, besides.
 */
export function stopSignal(): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    const stopped = new Stopped(name);
    if (controller.signal.aborted) process.exit(stopped.exitCode);
    controller.abort(stopped);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const release = () => {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  };
  return { signal: controller.signal, release };
}
