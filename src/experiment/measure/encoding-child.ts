/**
 * A process that finds out what concerns one encoding alone: the memory of a context, and what HTTP would make of the
 * same responses. A process of its own, because nothing but its resident size tells what a compression library holds.
 *
 * Arguments: an {@link EncodingTask} as JSON; standard input, as {@link unpackInput} takes it apart: the dictionary, if there is
 * one, and the responses; standard output: one of the {@link EncodingFacts} as JSON.
 */

import zlib from 'node:zlib';
import {
  type Codec,
  type CodecModule,
  type Encoder,
  FINISH_BOUND,
  type Tuning,
} from '../../encoding/codec.ts';
import type { Dictionary } from '../../encoding/dictionary.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../../encoding/native.ts';
import { IDENTITY } from '../../encoding/profiles.ts';
import { readDictionary } from '../../encoding/read-dictionary.ts';
import { CodecRegistry } from '../../encoding/registry.ts';
import { zstdParameters } from '../../encoding/zstd-parameters.ts';
import { unpackInput } from '../process/input.ts';

export interface EncodingTask {
  /** Which of the {@link EncodingFacts}; each in a process of its own. */
  readonly what: keyof EncodingFacts;
  readonly profile: string;
  readonly level?: number;
  readonly windowLog?: number;
  readonly tuning?: Tuning;
  /** The encoder keeps no context. */
  readonly contextFree: boolean;
  /** The first piece of the input is the dictionary that encoders begin with. */
  readonly hasDictionary: boolean;
  readonly codecs: readonly Pick<CodecModule, 'url' | 'export'>[];
}

export interface EncodingFacts {
  /** Resident bytes of one context that has encoded all of the input. */
  readonly contextBytes: number;
  /** Some of the responses, each compressed by itself as the body of an HTTP response; headers are not counted. */
  readonly http: {
    readonly responses: number;
    readonly bytes: number;
    readonly wireBytes: number;
    readonly cpuSeconds: number;
  };
}

/** Pages are coarse, and our own heap moves: several contexts are measured, the more the smaller they are. */
const MOST_CONTEXTS = 32;
const TOTAL_BYTES = 8 << 20;
const FIRST_TOTAL_BYTES = 2 << 20;
const LEAST_BYTES = 256 << 10;
/** A context has all its memory when what it has seen is this many times its size. */
const FED = 2;
/** After these nothing more goes. */
const COLLECTIONS = 3;
const FRAME = 32_768;
/** A context for each response is slow: about this much of them is enough. */
const HTTP_BYTES = 1 << 20;

// A terminal's Ctrl-C goes to all its processes: the experiment lets the cell in hand come to its end.
process.on('SIGINT', () => undefined);
/** Kept, too: what is let go of at some later time would be taken off a context's size. */
const input: Buffer[] = [];
const open: Encoder[] = [];
const task: EncodingTask = JSON.parse(process.argv[2]);
const pieces = await readInput();
const dictionary = task.hasDictionary ? readDictionary(pieces[0]) : undefined;
const codec = await findCodec(dictionary);
const responses = task.hasDictionary ? pieces.slice(1) : pieces;
/** Cut once: garbage of our own would pass for memory of a context. */
const frames = responses.flatMap(framesOf);
const target = new Uint8Array(4 * FRAME + FINISH_BOUND).fill(1);
process.stdout.write(JSON.stringify(task.what === 'http' ? httpModel() : contextBytes()));

/** That of the profile, or what it is with a dictionary. */
async function findCodec(dictionary: Dictionary | undefined): Promise<Codec> {
  const registry = new CodecRegistry(nativeCodecs());
  for (const { url, export: name } of task.codecs) {
    for (const each of ((await import(url))[name] as CodecModule).codecs) registry.register(each);
  }
  const found = registry.get(task.profile);
  if (found?.createEncoder === undefined) throw new Error(`no encoder for profile '${task.profile}'`);
  if (dictionary === undefined) return found;
  const makeCodec = nativeDictionaryCodec();
  if (makeCodec === undefined) throw new Error('this Node has no dictionaries');
  return makeCodec(new Map([[dictionary.id, dictionary]]));
}

async function readInput(): Promise<Buffer[]> {
  for await (const chunk of process.stdin) input.push(chunk);
  const all = Buffer.concat(input);
  return unpackInput(all);
}

/**
 * Contexts stay open until the end of the process: what one frees the next would get, and it would not show. The first
 * measurement is for what a first use brings into memory or lets go of; the second one counts.
 */
function contextBytes(): number {
  // What has no context has no size: to measure it would be to measure what else moves in the process.
  if (codec.profile === IDENTITY) return 0;
  measureContexts(FIRST_TOTAL_BYTES);
  return measureContexts(TOTAL_BYTES);
}

function measureContexts(total: number): number {
  const resident = () => {
    for (let i = 0; i < COLLECTIONS; i++) globalThis.gc?.();
    return process.memoryUsage.rss();
  };
  const before = resident();
  const grown = () => resident() - before;
  open.push(fill(encoder()));
  const size = Math.max(LEAST_BYTES, grown());
  let count = 1;
  for (; count < Math.min(MOST_CONTEXTS, total / size); count++) open.push(fill(encoder(), FED * size));
  return Math.max(0, Math.round(grown() / count));
}

function encoder(): Encoder {
  const { level, windowLog, tuning, contextFree } = task;
  const options = { level, windowLog, tuning, contextFree, dictionary: dictionary?.id };
  return (codec.createEncoder as NonNullable<Codec['createEncoder']>)(options);
}

/** Gives a context all frames, or the first `bytes` of them. */
function fill(context: Encoder, bytes = Number.POSITIVE_INFINITY): Encoder {
  let fed = 0;
  for (const frame of frames) {
    if (fed >= bytes) break;
    context.encode(frame, target, 0);
    fed += frame.length;
  }
  return context;
}

function framesOf(bytes: Buffer): Buffer[] {
  const cuts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += FRAME) cuts.push(bytes.subarray(at, at + FRAME));
  return cuts;
}

function httpModel(): EncodingFacts['http'] {
  let bytes = 0;
  let wireBytes = 0;
  let count = 0;
  const before = process.threadCpuUsage();
  const step = Math.max(1, Math.round(responses.reduce((sum, { length }) => sum + length, 0) / HTTP_BYTES));
  for (let i = 0; i < responses.length; i += step) {
    const response = responses[i];
    count++;
    bytes += response.length;
    wireBytes += compressAlone(response);
  }
  const { user, system } = process.threadCpuUsage(before);
  return { responses: count, bytes, wireBytes, cpuSeconds: (user + system) / 1e6 };
}

/** Bytes of one response with a context of its own, as Node's HTTP servers compress. */
function compressAlone(bytes: Buffer): number {
  const { level, windowLog, tuning } = task;
  const { constants } = zlib;
  switch (task.profile) {
    case 'identity':
      return bytes.length;
    case 'zstd-8mb': {
      const params = zstdParameters({ level, windowLog, tuning });
      return zlib.zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length }).length;
    }
    case 'zlib':
      return zlib.deflateSync(bytes, { level, windowBits: windowLog }).length;
    case 'deflate':
      return zlib.deflateRawSync(bytes, { level, windowBits: windowLog }).length;
    case 'brotli': {
      const params = { [constants.BROTLI_PARAM_QUALITY]: level ?? 5 };
      if (windowLog !== undefined) params[constants.BROTLI_PARAM_LGWIN] = windowLog;
      return zlib.brotliCompressSync(bytes, { params }).length;
    }
    default:
      return finishedLength(bytes);
  }
}

/** For other profiles the nearest that an Encoder has: flushed, then finished. */
function finishedLength(bytes: Buffer): number {
  const context = encoder();
  let length = 0;
  for (const frame of framesOf(bytes)) length += context.encode(frame, target, 0);
  length += context.finish(target, 0);
  context.close();
  return length;
}
