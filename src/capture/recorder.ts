/**
 * Records what a server answers, for experiments: owns the file, and the bounds of what all connections' observers hold. The
 * server's own code knows nothing of it, and without a recorder nothing of this is there.
 */

import { createWriteStream, openSync, type WriteStream } from 'node:fs';
import type { Transport } from '../connection/transport.ts';
import { type CaptureRecord, captureHeader } from './format.ts';
import { Observer, type RecorderContext, type Recording } from './observer.ts';
import { WatchedTransport } from './watched-transport.ts';

/** What a server records, and how much of it. */
export interface RecordOptions {
  /** File to write; it must not be there yet. */
  readonly path: string;
  /** Bytes of the file at which recording stops; default 256 MiB. */
  readonly maxBytes?: number;
}

/** What has been recorded. */
export interface RecordFigures {
  readonly responses: number;
  readonly bytes: number;
  /** Responses that were left out because they were too large or the disk was too slow. */
  readonly leftOut: number;
  /** The file is as large as it may get. */
  readonly full: boolean;
  /** What ended the recording before its time: the file lacks what was last recorded. */
  readonly failure?: Error;
}

const DEFAULT_MAX_BYTES = 256 << 20;
/** Bytes of all responses that are not whole yet: those past it are left out. */
const MAX_UNDERWAY = 64 << 20;
/** Bytes of decoders of what clients encode, on all connections: one that needs more is not watched any more. */
const MAX_DECODERS = 128 << 20;
/** Lines that wait for the disk. */
const MAX_WAITING = 64 << 20;

export class Recorder implements Recording {
  readonly context: RecorderContext;
  readonly #file: WriteStream;
  readonly #maxBytes: number;
  readonly #startedAtMs = performance.now();
  #connections = 0;
  #responses = 0;
  #bytes = 0;
  #leftOut = 0;
  #underway = 0;
  #decoders = 0;
  #full = false;
  #failure: Error | undefined;
  #closed = false;

  /** @throws Error of the system when the file is there already or cannot be written. */
  constructor({ path, maxBytes = DEFAULT_MAX_BYTES }: RecordOptions, context: RecorderContext) {
    this.context = context;
    this.#maxBytes = maxBytes;
    // Bodies are in clear: nobody else may read them.
    this.#file = createWriteStream(path, { fd: openSync(path, 'wx', 0o600) });
    this.#file.on('error', (error) => {
      this.#failure = Object.assign(error, { path });
      context.onFailure(error);
    });
    this.#put(captureHeader(new Date()));
  }

  get recording(): boolean {
    return !this.#full && !this.#closed && this.#failure === undefined;
  }

  get figures(): RecordFigures {
    return {
      responses: this.#responses,
      // Of a file that failed, what reached the disk.
      bytes: this.#failure === undefined ? this.#bytes : this.#file.bytesWritten,
      leftOut: this.#leftOut,
      full: this.#full,
      ...(this.#failure !== undefined && { failure: this.#failure }),
    };
  }

  /** Since the recording began. */
  get elapsedMs(): number {
    return Math.round((performance.now() - this.#startedAtMs) * 100) / 100;
  }

  /** The transport to use in the place of `transport`. */
  watch(transport: Transport): Transport {
    if (!this.recording) return transport;
    return new WatchedTransport(transport, new Observer(this, this.#connections++));
  }

  add(record: CaptureRecord): void {
    if (!this.recording) return;
    const line = JSON.stringify(record);
    if (this.#bytes + line.length > this.#maxBytes) this.#full = true;
    else if (this.#file.writableLength > MAX_WAITING) this.leaveOut();
    else {
      this.#responses++;
      this.#put(line);
    }
  }

  /** Whether `bytes` more of responses that are not whole may be kept, until they are let go of. */
  keep(bytes: number): boolean {
    if (this.#underway + bytes > MAX_UNDERWAY) return false;
    this.#underway += bytes;
    return true;
  }

  letGo(bytes: number): void {
    this.#underway -= bytes;
  }

  /** @throws Error when there is no memory for another decoder. */
  takeDecoder(cost: number): void {
    if (this.#decoders + cost > MAX_DECODERS) throw new Error('too many decoders for a recording');
    this.#decoders += cost;
  }

  giveDecoder(cost: number): void {
    this.#decoders -= cost;
  }

  leaveOut(): void {
    this.#leftOut++;
  }

  /** Resolves when the file is whole. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#failure !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#file.once('error', () => resolve());
      this.#file.end(() => resolve());
    });
  }

  #put(line: string): void {
    this.#bytes += line.length + 1;
    this.#file.write(`${line}\n`);
  }
}
