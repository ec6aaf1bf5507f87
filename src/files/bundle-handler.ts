/** The handler of files.bundle: many files in one response, in the format of bundle.ts. */

import type { CommandRequest } from '../reactor/command.ts';
import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { decodePaths, errorLine, MAX_LINE_BYTES, sizeLine } from './bundle.ts';
import { isOutOfDescriptors } from './descriptors.ts';
import type { OpenFiles, ServedFile } from './open-files.ts';
import { tidyPath } from './paths.ts';
import { asCommandError, FileError } from './root.ts';

/**
 * A file that cannot be had is a line that says why; one that becomes shorter while it is read, or has no size before
 * it is, ends the response with an error, and so does a lack of descriptors, which passes. Nothing is cached: a stream's context makes more of small files than a cache, which compresses each alone.
 */
export function* bundle(files: OpenFiles, request: CommandRequest): Generator<Uint8Array, void, void> {
  const pieces = new PieceFiller();
  for (const path of decodePaths(request.text('paths'))) {
    if (pieces.room < MAX_LINE_BYTES) yield pieces.take();
    const file = open(files, path);
    if (typeof file === 'string') {
      pieces.addText(errorLine(file));
      continue;
    }
    try {
      const { size } = file.stats;
      if (size === 0 && files.hasContent(file))
        throw new FileError('it has no size before it is read', path, { code: 'internal' });
      pieces.addText(sizeLine(size));
      for (let at = 0; at < size; ) {
        if (pieces.room === 0) yield pieces.take();
        at += pieces.addFrom(files, file, at);
      }
    } catch (error) {
      throw asCommandError(error, path);
    } finally {
      files.close(file);
    }
  }
  if (pieces.filled > 0) yield pieces.take();
}

/** The file, or why it cannot be had. */
function open(files: OpenFiles, path: string): ServedFile | string {
  try {
    return files.open(tidyPath(path));
  } catch (error) {
    if (isOutOfDescriptors(error)) throw error;
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
   * Adds what there is of a file from `position` on, as far as there is room; returns how many bytes.
   * @throws CommandError when the file ends there.
   */
  addFrom(files: OpenFiles, file: ServedFile, position: number): number {
    const length = Math.min(file.stats.size - position, this.room);
    const count = files.read(file, this.#current, this.#filled, length, position);
    if (count === 0) throw files.changed(file);
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
