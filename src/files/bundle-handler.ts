/** The handler of files.bundle: many files in one response, in the format of bundle.ts. */

import { closeSync, readSync } from 'node:fs';
import type { CommandRequest } from '../reactor/command.ts';
import { CommandError } from '../wire/errors.ts';
import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { decodePaths, errorLine, MAX_LINE_BYTES, sizeLine } from './bundle.ts';
import { shownPath } from './paths.ts';
import { asCommandError, type OpenFile, type Root } from './root.ts';

/**
 * A file that cannot be had is a line that says why; one that becomes shorter while it is read ends the response with
 * an error. Nothing is cached: a stream's context makes more of small files than a cache, which compresses each alone.
 */
export function* bundle(root: Root, request: CommandRequest): Generator<Uint8Array, void, void> {
  const pieces = new PieceFiller();
  for (const path of decodePaths(request.text('paths'))) {
    if (pieces.room < MAX_LINE_BYTES) yield pieces.take();
    const file = open(root, path);
    if (typeof file === 'string') {
      pieces.addText(errorLine(file));
      continue;
    }
    try {
      const { size } = file.stats;
      pieces.addText(sizeLine(size));
      for (let at = 0; at < size; ) {
        if (pieces.room === 0) yield pieces.take();
        at += pieces.addFrom(file.fd, at, size - at, path);
      }
    } catch (error) {
      throw asCommandError(error, path);
    } finally {
      closeSync(file.fd);
    }
  }
  if (pieces.filled > 0) yield pieces.take();
}

/** The file, or why it cannot be had. */
function open(root: Root, path: string): OpenFile | string {
  try {
    return root.openFile(path);
  } catch (error) {
    return asCommandError(error, path).message;
  }
}

/** Gathers lines and files in pieces of one frame each: files are read to where they leave from. */
class PieceFiller {
  #piece: Buffer | undefined;
  #filled = 0;

  /** Bytes in the piece that is being filled. */
  get filled(): number {
    return this.#filled;
  }

  /** Bytes for which there is room in it. */
  get room(): number {
    return DEFAULT_FRAME_SIZE - this.#filled;
  }

  /** Adds text for which there is room. */
  addText(text: string): void {
    this.#filled += this.#current.write(text, this.#filled);
  }

  /**
   * Adds up to `length` bytes of a file from `position` on, as far as there is room; returns how many.
   * @throws CommandError when the file ends there.
   */
  addFrom(fd: number, position: number, length: number, path: string): number {
    const count = readSync(fd, this.#current, this.#filled, Math.min(length, this.room), position);
    if (count === 0) throw new CommandError(`changed while it was read: ${shownPath(path)}`);
    this.#filled += count;
    return count;
  }

  /** The piece as it is; the next bytes begin another. */
  take(): Uint8Array {
    const piece = this.#current.subarray(0, this.#filled);
    this.#piece = undefined;
    this.#filled = 0;
    return piece;
  }

  get #current(): Buffer {
    this.#piece ??= Buffer.allocUnsafeSlow(DEFAULT_FRAME_SIZE);
    return this.#piece;
  }
}
