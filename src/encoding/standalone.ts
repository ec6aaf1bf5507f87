/**
 * Contexts for payloads that stand alone: what begins and ends between two zstd frames leaves nothing behind, and needs
 * nothing that came before it. So one context decodes all such payloads of a thread, whichever stream they came on. One
 * for each stream would be some 60 KB, with a dictionary of its own, that no cache holds when the next payload comes.
 */

import type { Context } from './context.ts';
import type { Dictionary } from './dictionary.ts';

/** A context that streams have in common, there from the first payload until the last of them is closed. */
export class StandaloneContext {
  readonly dictionary: Dictionary | undefined;
  readonly #make: () => Context;
  readonly #unused: () => void;
  #context: Context | undefined;
  #streams = 0;

  /** `unused`: is told when no stream has it any more. */
  constructor(dictionary: Dictionary | undefined, make: () => Context, unused: () => void) {
    this.dictionary = dictionary;
    this.#make = make;
    this.#unused = unused;
  }

  /** For one payload, all of which it is given, or {@link drop} follows. */
  get context(): Context {
    this.#context ??= this.#make();
    return this.#context;
  }

  /** One more stream may use it. */
  enter(): void {
    this.#streams++;
  }

  /** A stream is closed. */
  leave(): void {
    if (--this.#streams > 0) return;
    this.drop();
    this.#unused();
  }

  /** It was left in the midst of a payload: what is in there is nobody's, and the next gets another. */
  drop(): void {
    const context = this.#context;
    this.#context = undefined;
    context?.close();
  }
}

/** Those of one library on this thread, by what they are made with. */
export class StandaloneContexts {
  readonly #byKey = new Map<string, StandaloneContext>();

  /** `settings`: all that contexts differ by, but for their dictionary. The caller enters it at once. */
  for(settings: string, dictionary: Dictionary | undefined, make: () => Context): StandaloneContext {
    const key = `${settings} ${dictionary?.id}`;
    const known = this.#byKey.get(key);
    if (known !== undefined && sameBytes(known.dictionary, dictionary)) return known;
    const added = new StandaloneContext(dictionary, make, () => this.#forget(key, added));
    if (known === undefined) this.#byKey.set(key, added);
    return added;
  }

  #forget(key: string, context: StandaloneContext): void {
    if (this.#byKey.get(key) === context) this.#byKey.delete(key);
  }
}

/** IDs are hashes that were cut short: of two peers' dictionaries one must never stand for the other. */
function sameBytes(one: Dictionary | undefined, other: Dictionary | undefined): boolean {
  if (one === undefined || other === undefined || one.bytes === other.bytes)
    return one === other || one?.bytes === other?.bytes;
  return Buffer.compare(one.bytes, other.bytes) === 0;
}
