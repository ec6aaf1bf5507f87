/** Files of text read line by line, whatever length a line has: readline would end the process at one that no string can hold. */

import { streamRegularFile } from './regular-file.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BYTE_ORDER_MARK = Buffer.from('\ufeff');

/**
 * The lines of the file `path`, without their ends (LF or CR LF) and without a byte order mark before the first.
 * Undefined stands for one of more than `maxBytes` bytes, which is not kept in memory.
 * @throws Error of the system, with its code; NOT_A_FILE for what is none.
 */
export async function* linesOf(path: string, maxBytes: number): AsyncGenerator<Buffer | undefined> {
  const open = new OpenLine(maxBytes);
  for await (const chunk of streamRegularFile(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, from)) {
      open.add(chunk.subarray(from, at));
      from = at + 1;
      yield open.end();
    }
    open.add(chunk.subarray(from));
  }
  if (!open.isEmpty) yield open.end();
}

/** A line whose end has not come. */
class OpenLine {
  readonly #maxBytes: number;
  #isFirst = true;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  add(part: Buffer): void {
    this.#bytes += part.length;
    // What is no part of the line, a mark and a carriage return, may have come with it.
    if (this.#bytes <= this.#maxBytes + BYTE_ORDER_MARK.length + 1) this.#parts.push(part);
    else this.#parts = [];
  }

  /** The line, as it ends; undefined: it is too long. The next one begins. */
  end(): Buffer | undefined {
    const whole = Buffer.concat(this.#parts);
    const isWhole = whole.length === this.#bytes;
    const line = bare(whole, this.#isFirst);
    this.#isFirst = false;
    this.#parts = [];
    this.#bytes = 0;
    return isWhole && line.length <= this.#maxBytes ? line : undefined;
  }
}

function bare(line: Buffer, isFirst: boolean): Buffer {
  const isMarked = isFirst && line.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
  const from = isMarked ? BYTE_ORDER_MARK.length : 0;
  return line.subarray(from, line.at(-1) === CARRIAGE_RETURN ? -1 : undefined);
}
