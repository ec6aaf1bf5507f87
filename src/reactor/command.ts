/** What a command's handler is given and what it may yield: the contract between millrace and its users. */

import { type ByteSource, type Bytes, kindOf } from '../wire/bytes.ts';
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
  /**
   * Command data as it arrives; empty when the command has none. Can be iterated once. Its pieces are cut as it came, not as
   * the client gave it: for messages use {@link records}.
   */
  readonly data: AsyncIterable<Uint8Array>;
  /**
   * Fires when the request is cancelled, its deadline passes or the connection ends. What its listeners throw goes to the
   * server's `onError`.
   */
  readonly signal: AbortSignal;
  /**
   * Who the authorize hook has said that this is; undefined: it has not. In a lane it is a structured clone of that.
   * Not to be changed: what else runs for the connection may have the same object.
   */
  readonly principal: unknown;
  /** Address of the other end: `host:port`, or `unix`. */
  readonly remote: string;
  /** For logs: no other request to this process has the same. */
  readonly requestId: string;
  /**
   * Fires when the server begins to drain, its reason the error that says so. The request goes on for the server's grace
   * time: a response that has no end of its own can come to a good one now.
   */
  readonly draining: AbortSignal;
}

/** Lines for the person at the other end, rendered there (protocol A3); at most 32 768 bytes. */
export class TextOutput {
  readonly atoms: readonly TextAtom[];

  /**
   * A string is shown as it is: its `%` means nothing. A line ends with a newline of its own.
   * @throws TypeError for what is neither.
   */
  constructor(...atoms: (TextAtom | string)[]) {
    this.atoms = atoms.map(atomOf);
  }
}

function atomOf(value: TextAtom | string): TextAtom {
  if (typeof value === 'string') return { format: '%s', labels: [], args: [value] };
  const { format, labels, args } = value ?? {};
  if (typeof format === 'string' && areStrings(labels) && areStrings(args)) return { format, labels, args };
  throw new TypeError(
    `text output is made of strings and of { format, labels, args }, not of ${kindOf(value)}`,
  );
}

function areStrings(values: unknown): boolean {
  return Array.isArray(values) && values.every((each) => typeof each === 'string');
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

/** Makes the bytes of cached output; strings go out as UTF-8. */
export type Produce = () => Bytes | string | Promise<Bytes | string>;

/** Bytes that many responses share: compressed once, then spliced into any connection (see {@link cached}). */
export class CachedOutput {
  readonly key: string;
  readonly produce: Produce;

  constructor(key: string, produce: Produce) {
    if (typeof key !== 'string')
      throw new TypeError(`the key of cached output is a string, not ${kindOf(key)}`);
    if (typeof produce !== 'function')
      throw new TypeError(`cached output is produced by a function, not ${kindOf(produce)}`);
    this.key = key;
    this.produce = produce;
  }
}

/**
 * Output that a handler yields instead of bytes when many requests share it. The first request for `key` runs
 * `produce` and compresses its bytes once; later ones cost neither. The key must change when the bytes do.
 */
export function cached(key: string, produce: Produce): CachedOutput {
  return new CachedOutput(key, produce);
}

/**
 * What a handler may yield. Bytes, in any buffer or view, belong to millrace once yielded; strings go out as UTF-8; a
 * Blob or a stream goes out as the pieces that it gives.
 *
 * The bytes of a response have no boundaries: what was yielded as one piece may arrive as several, and several as one.
 * Who needs messages yields {@link records}.
 */
export type Output = Bytes | string | ByteSource | TextOutput | ProgressOutput | CachedOutput;

/**
 * A command's code: an async generator of output, or for short answers just the output. Each `yield` adds to the bytes of
 * the response, which have no boundaries: for messages, `yield* records(…)`.
 * A thrown CommandError reaches the peer with its message; anything else as an internal error without details, and the
 * server's `onError` as an Error. Whatever a handler throws, returns or yields, it fails its own request and no other.
 */
// biome-ignore lint/suspicious/noExplicitAny: a handler of any input is one.
export type Handler<Input = any> = (
  request: CommandRequest<Input>,
) => AsyncIterable<Output> | Iterable<Output> | Promise<Output | undefined> | Output | undefined;
