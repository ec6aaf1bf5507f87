/**
 * Who wants to hear of what happens. Not the platform's EventTarget: its events carry no types of their own, an object
 * that is one shows its machinery, and what a listener throws there ends a Node process.
 */

import { watchRejection } from '../wire/thrown.ts';

/** Listeners by event; `Events` says what each event brings. */
export class Listeners<Events extends object> {
  readonly #byEvent: Map<unknown, Set<(detail: never) => void>>;

  constructor(...names: (keyof Events & string)[]) {
    this.#byEvent = new Map(names.map((name) => [name, new Set()]));
  }

  /**
   * Calls `listener` at every `event` from now on, until the function that is returned is called.
   * @throws TypeError for an event that never happens, or a listener that is none.
   */
  on<Name extends keyof Events>(event: Name, listener: (detail: Events[Name]) => void): () => void {
    const listeners = this.#byEvent.get(event);
    if (listeners === undefined)
      throw new TypeError(
        `there is no event '${String(event)}', only ${[...this.#byEvent.keys()].join(', ')}`,
      );
    if (typeof listener !== 'function')
      throw new TypeError(`the listener for '${String(event)}' is no function`);
    // A function of its own: the same listener may be added twice, and taken away once.
    const added = (detail: Events[Name]) => listener(detail);
    listeners.add(added);
    return () => void listeners.delete(added);
  }

  /** What a listener throws, or its promise rejects with, is its own affair: the others are called, and who emits goes on. */
  emit<Name extends keyof Events>(event: Name, detail: Events[Name]): void {
    const failed = (error: unknown) =>
      console.error(`millrace: a listener for '${String(event)}' threw:`, error);
    for (const listener of [...(this.#byEvent.get(event) ?? [])]) {
      try {
        watchRejection((listener as (detail: Events[Name]) => unknown)(detail), failed);
      } catch (error) {
        failed(error);
      }
    }
  }
}
