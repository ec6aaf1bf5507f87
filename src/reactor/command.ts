/** What a command's handler is given and what it may yield: the contract between millrace and its users. */

import type { TextAtom } from '../wire/payloads.ts';

/** One command as its handler sees it. */
export interface CommandRequest<Input = undefined> {
  readonly command: string;
  /** Argument values by name; reserved names (protocol C6) are taken out. */
  readonly args: ReadonlyMap<string, Uint8Array>;
  /** What the definition's schema has made of the arguments; undefined without one. In a lane a structured clone of it. */
  readonly input: Input;
  /** The argument as UTF-8 text, or undefined when it was not given. */
  text(name: string): string | undefined;
  /** Command data as it arrives; empty when the command has none. Can be iterated once. */
  readonly data: AsyncIterable<Uint8Array>;
  /** Fires when the request is cancelled, its deadline passes or the connection ends. */
  readonly signal: AbortSignal;
}

/** A line for the person at the other end, rendered there (protocol A3). */
export class TextOutput {
  readonly atoms: readonly TextAtom[];
  constructor(...atoms: TextAtom[]) {
    this.atoms = atoms;
  }
}

/** How far a long command is (protocol C, type 7); dropped where the peer does not take it. */
export class ProgressOutput {
  readonly position: number;
  readonly total: number;
  readonly topic: string;
  readonly unit: string;
  readonly item: string;

  /** `position` −1 says finished, `total` −1 unknown. */
  constructor(position: number, total: number, topic: string, unit = '', item = '') {
    this.position = position;
    this.total = total;
    this.topic = topic;
    this.unit = unit;
    this.item = item;
  }
}

/** Bytes that many responses share: compressed once, then spliced into any connection (see {@link cached}). */
export class CachedOutput {
  readonly key: string;
  readonly produce: () => Uint8Array | Promise<Uint8Array>;

  constructor(key: string, produce: () => Uint8Array | Promise<Uint8Array>) {
    this.key = key;
    this.produce = produce;
  }
}

/**
 * Output that a handler yields instead of bytes when many requests share it. The first request for `key` runs
 * `produce` and compresses its bytes once; later ones cost neither. The key must change when the bytes do.
 */
export function cached(key: string, produce: () => Uint8Array | Promise<Uint8Array>): CachedOutput {
  return new CachedOutput(key, produce);
}

/** What a handler may yield. Bytes belong to millrace once yielded; strings go out as UTF-8. */
export type Output = Uint8Array | string | TextOutput | ProgressOutput | CachedOutput;

/**
 * A command's code: an async generator of output, or for short answers just the output.
 * A thrown CommandError reaches the peer with its message; anything else as an internal error without details.
 */
// biome-ignore lint/suspicious/noExplicitAny: a handler of any input is one.
export type Handler<Input = any> = (
  request: CommandRequest<Input>,
) => AsyncIterable<Output> | Iterable<Output> | Promise<Output | undefined> | Output | undefined;
