/**
 * The memory that encoding contexts may take, all lanes together: a hard budget in bytes, accounted by what contexts
 * were measured to take. When it is used up, idle streams are given up first, then new ones get smaller contexts, at
 * last none; an allocation never fails.
 */

import type { EncoderOptions } from '../encoding/codec.ts';
import type { Dictionary } from '../encoding/dictionary.ts';
import { IDENTITY, ZLIB, ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import { ZLIB_DEFAULT_LEVEL } from '../encoding/zlib-codec.ts';
import { ZSTD_DEFAULT_LEVEL } from '../encoding/zstd-profile.ts';
import { availableMemory } from './memory.ts';
import type { Contexts } from './stream-kind.ts';

const KIB = 1024;

/**
 * Tables of one zstd encoder in KiB, by level from 1 on: resident memory beside window and buffers, measured with
 * libzstd 1.5.7 at a window of 1 KiB and rounded up. They do not shrink with the window.
 */
const ZSTD_TABLES = [
  150, 320, 850, 1950, 2750, 2750, 6400, 6400, 12_600, 24_900, 24_900, 49_500, 33_100, 49_500, 65_900, 33_200,
  49_600, 49_600, 82_300, 164_300, 328_100, 655_800,
];
/** Window logs that libzstd 1.5.7 takes by level when it is told none, by level from 1 on; ours end at 23. */
const ZSTD_WINDOW_LOGS = [
  19, 20, 21, 21, 21, 21, 21, 21, 22, 22, 22, 22, 22, 22, 22, 22, 23, 23, 23, 23, 23, 23,
];
const DEFAULT_LEVELS: Readonly<Record<string, number>> = {
  [ZLIB]: ZLIB_DEFAULT_LEVEL,
  [ZSTD]: ZSTD_DEFAULT_LEVEL,
  [ZSTD_DICT]: ZSTD_DEFAULT_LEVEL,
};
/** Tables and window of tuning `records`, whatever the level. */
const TUNING_RECORDS_TABLES = 1280 * KIB;
const TUNING_RECORDS_WINDOW_LOG = 22;
/** Tables of a dictionary of up to 128 KiB, and the dictionary itself, beside those of the context. */
const DICTIONARY = 400 * KIB;
const USUAL_DICTIONARY = 128 * KIB;
/** Above it so much more for each byte of the power of two past its size, by levels up to the one that is named. */
const LARGE_DICTIONARY = [
  { upTo: 3, factor: 1 },
  { upTo: 9, factor: 6 },
  { upTo: 12, factor: 12 },
  { upTo: 22, factor: 18 },
];
/**
 * Without a context tables are sized by what a frame and a dictionary hold: so much at most with a usual one, by levels up to 12
 * and beyond, where those of a large one are there twice.
 */
const CONTEXT_FREE_MOST = 3 << 20;
const CONTEXT_FREE_HIGH_LEVEL = 12;
const CONTEXT_FREE_HIGH_MOST = 9 << 20;
/** Without a context a window need not hold more than a frame. */
export const FRAME_WINDOW_LOG = 15;
/** Profiles whose encoders can do without a context. */
const CONTEXT_FREE: readonly string[] = [ZSTD, ZSTD_DICT];
/**
 * What contexts that take turns should have together, in bytes: about what a processor's caches hold. Past it every response
 * waits for memory: 24 µs became 204 at 1 000 connections of 3 MiB.
 */
const WARM_BYTES = 64 << 20;
/** What `auto` makes of contexts, one after the other, as there are more of them. */
const FEW: ContextShape = { windowLog: 17 };
const CROWD: ContextShape = { level: 1, windowLog: 15 };
/** By so many levels more the beginning of a stream is encoded, until its context is made; past the last, which is as fast, by none. */
const EARLY_LEVELS = 8;
const EARLY_LEVEL_MOST = 12;
/** A decoder and the buffer of its output, beside window and blocks. */
const DECODER = 160 * KIB;
const MAX_BLOCK = 128 * KIB;
const ZLIB_MAX_WINDOW_LOG = 15;

/** What makes one encoder's context large or small; see {@link EncoderOptions}. */
export type ContextShape = Pick<
  EncoderOptions,
  'level' | 'windowLog' | 'tuning' | 'dictionary' | 'contextFree'
>;

/**
 * The same context with a window of at most 2^`maxWindowLog` bytes; undefined: of any size. With a dictionary libzstd takes
 * another than the level's, so it is told one. Without a context that is no more than a frame needs: who takes larger ones has
 * no encoder of its own for that.
 */
export function withinWindow(
  profile: string,
  shape: ContextShape,
  maxWindowLog: number | undefined,
): ContextShape {
  const own = windowLogOf(profile, shape);
  const most = maxWindowLog ?? own;
  if (own <= most && shape.dictionary === undefined) return shape;
  const needed = shape.contextFree ? FRAME_WINDOW_LOG : own;
  return { ...shape, windowLog: Math.min(own, most, needed) };
}

/** Base-2 logarithm of the window that an encoder takes by itself where it is told none; 0: it has none. */
export function windowLogOf(profile: string, { level, windowLog, tuning }: ContextShape): number {
  if (windowLog !== undefined || profile === IDENTITY) return windowLog ?? 0;
  if (profile === ZLIB) return ZLIB_MAX_WINDOW_LOG;
  if (tuning === 'records') return TUNING_RECORDS_WINDOW_LOG;
  return ZSTD_WINDOW_LOGS[levelIndex(level)];
}

/** The level of an encoder, its profile's own where it is told none; undefined: profiles that we know nothing of, or without one. */
export function levelOf(profile: string, { level }: ContextShape): number | undefined {
  return level ?? DEFAULT_LEVELS[profile];
}

/** Where the figures of a level are; those below 1 have that of 1. */
function levelIndex(level = ZSTD_DEFAULT_LEVEL): number {
  return Math.min(ZSTD_TABLES.length, Math.max(1, level)) - 1;
}

/**
 * Bytes that an encoder of `profile` takes at most: window, blocks and tables; its dictionary has `dictionaryBytes`. 0 for
 * `identity`.
 */
export function encoderCost(profile: string, shape: ContextShape, dictionaryBytes = 0): number {
  return usualCost(profile, shape) + largeDictionaryCost(shape, dictionaryBytes);
}

function usualCost(profile: string, shape: ContextShape): number {
  return contextCost(profile, shape) + (shape.dictionary === undefined ? 0 : DICTIONARY);
}

/** What a dictionary takes beyond a usual one. A frame's room is part of what its tables are sized by. */
function largeDictionaryCost({ level = ZSTD_DEFAULT_LEVEL }: ContextShape, bytes: number): number {
  const size = 2 ** Math.ceil(Math.log2(bytes + KIB / 2));
  const factor = LARGE_DICTIONARY.find(({ upTo }) => level <= upTo)?.factor ?? 0;
  return factor * Math.max(0, size - USUAL_DICTIONARY);
}

function contextCost(profile: string, { level, windowLog, tuning }: ContextShape): number {
  if (profile === IDENTITY) return 0;
  // Profiles that we do not know are accounted like zstd, whose contexts are the largest.
  const size = 2 ** windowLogOf(profile, { level, windowLog, tuning });
  if (profile === ZLIB) return 160 * KIB + 4 * size;
  const tables = tuning === 'records' ? TUNING_RECORDS_TABLES : ZSTD_TABLES[levelIndex(level)] * KIB;
  return tables + windowCost(size);
}

/** Bytes that an encoder without a context takes at most. */
function contextFreeCost(profile: string, shape: ContextShape, dictionaryBytes: number): number {
  const high = (shape.level ?? ZSTD_DEFAULT_LEVEL) > CONTEXT_FREE_HIGH_LEVEL;
  const [most, tables] = high ? [CONTEXT_FREE_HIGH_MOST, 2] : [CONTEXT_FREE_MOST, 1];
  const usual = Math.min(most, usualCost(profile, { ...shape, windowLog: FRAME_WINDOW_LOG }));
  return usual + tables * largeDictionaryCost(shape, dictionaryBytes);
}

/** Bytes that a decoder of `profile` takes at most with a window of `windowSize` bytes. */
export function decoderCost(profile: string, windowSize: number): number {
  if (profile === IDENTITY) return 0;
  return DECODER + (profile === ZLIB ? 2 ** ZLIB_MAX_WINDOW_LOG : windowCost(windowSize));
}

/** The window, and a block or less on either side of it. */
function windowCost(windowSize: number): number {
  return windowSize + 2 * Math.min(windowSize, MAX_BLOCK);
}

/** Smaller contexts, tried in order when the one that was asked for does not fit. */
const SMALLER_ZSTD: readonly ContextShape[] = [
  { level: 3, windowLog: 17 },
  { level: 1, windowLog: 17 },
  { level: 1, windowLog: 14 },
  { level: 1, windowLog: 11 },
];
const SMALLER: Record<string, readonly ContextShape[]> = {
  [ZSTD]: SMALLER_ZSTD,
  [ZSTD_DICT]: SMALLER_ZSTD,
  [ZLIB]: [{ level: 6, windowLog: 12 }],
};

/** A stream whose context can be given up: ended here, and begun afresh when it is needed again. */
export interface IdleContext {
  /** False while a response needs it. */
  readonly idle: boolean;
  /** {@link ContextBudget.tick} of its last use. */
  readonly usedAt: number;
  /** Frees the context and {@link ContextBudget.give}s its bytes back. */
  giveUp(): void;
  /** Ends the context with the next response that ends on it, and begins it afresh after that. */
  renew(): void;
}

/** What the budget knows of a context that may be given up. */
interface Held {
  /** Its `usedAt` when it was put in its place. */
  placedAt: number;
  /** Its `usedAt` at the last sweep that saw it at work, and when that was, in milliseconds. */
  seenUse: number;
  idleSinceMs: number;
  openedAtMs: number;
}

/** A context, and the bytes that it was accounted with. */
export interface TakenContext {
  readonly shape: ContextShape;
  readonly cost: number;
  /** What may encode the beginning of its stream, before it is made; missing: nothing. */
  readonly early?: ContextShape;
}

export interface BudgetOptions {
  /** Threads beside the main one, each with encoders of its own; missing: one. */
  readonly workers?: number;
  /** Bytes that all contexts together may take; missing: a quarter of the memory that the process may use. */
  readonly contextMemory?: number;
  /** Those that encoders may have. */
  readonly dictionaries?: readonly Dictionary[];
  /** Milliseconds that a stream may be idle; missing: for ever. */
  readonly streamIdleTimeout?: number;
  /** Milliseconds from a stream's begin to its end; missing: no bound. */
  readonly streamLifetime?: number;
}

/** Contexts looked at to find an idle one; if all of these are at work, the others most likely are, too. */
const MAX_LOOKS = 64;

export class ContextBudget {
  /** Bytes that all contexts together may take; where it is made less, those that are there stay until one more is wanted. */
  limit: number;
  #used = 0;
  #decoders = 0;
  #clock = 0;
  readonly #threads: number;
  /** Bytes of each dictionary. */
  readonly #dictionaries: ReadonlyMap<string, number>;
  /** Encoders without a context that the threads have, by profile and shape. */
  readonly #shared = new Set<string>();
  readonly #idleTimeoutMs: number;
  readonly #lifetimeMs: number;
  /** Contexts that may be given up, the least recently used first. */
  readonly #held = new Map<IdleContext, Held>();
  /** Contexts that were given up, made smaller or not made at all for want of room, since the start. */
  readonly counts = { givenUp: 0, shrunk: 0, refused: 0 };

  /** `keptBack`: bytes for contexts that come and go within one record, at most a quarter of the budget. */
  constructor(options: BudgetOptions, keptBack = 0) {
    this.limit = limitOf(options.contextMemory);
    this.#used = Math.min(keptBack, Math.floor(this.limit / 4));
    this.#threads = (options.workers ?? 1) + 1;
    this.#dictionaries = new Map((options.dictionaries ?? []).map(({ id, bytes }) => [id, bytes.length]));
    this.#idleTimeoutMs = options.streamIdleTimeout ?? Number.POSITIVE_INFINITY;
    this.#lifetimeMs = options.streamLifetime ?? Number.POSITIVE_INFINITY;
  }

  get used(): number {
    return this.#used;
  }

  /** From now on there is as much; undefined: a quarter of the memory that the process may use. */
  resize(contextMemory: number | undefined): void {
    this.limit = limitOf(contextMemory);
  }

  /** Time as contexts know it: one more with every use. */
  tick(): number {
    return ++this.#clock;
  }

  /**
   * Takes memory for an encoder and returns its shape and bytes: as wanted, or smaller where that does not fit.
   * Undefined: not even the smallest fits, so the response has to go unencoded.
   */
  takeEncoder(profile: string, wanted: ContextShape): TakenContext | undefined {
    const cost = this.#cost(profile, wanted);
    if (this.#take(cost)) return { shape: wanted, cost };
    for (const less of SMALLER[profile] ?? []) {
      const { dictionary } = wanted;
      const shape = dictionary === undefined ? less : { ...less, dictionary };
      const smaller = this.#cost(profile, shape);
      if (smaller >= cost || !this.#take(smaller)) continue;
      this.counts.shrunk++;
      return { shape, cost: smaller };
    }
    this.counts.refused++;
    return undefined;
  }

  /**
   * Takes memory for a stream's encoder, whose peer takes windows of 2^`maxWindowLog` bytes, or of any size. Where contexts are not
   * to be kept, or there is no room to keep one, the shape is `contextFree`, and costs nothing by itself. `late`: a context may be
   * made late. Undefined: the response has to go unencoded.
   */
  takeContext(
    profile: string,
    wanted: ContextShape,
    contexts: Contexts,
    maxWindowLog?: number,
    late = true,
  ): TakenContext | undefined {
    if (profile === IDENTITY) return this.takeEncoder(profile, wanted);
    const takeContextFree = () => this.#takeContextFree(profile, wanted, maxWindowLog);
    if (contexts === 'none') return takeContextFree();
    if (contexts === 'kept') return this.takeEncoder(profile, wanted) ?? takeContextFree();
    const shape = this.#warmShape(profile, wanted);
    // With a dictionary no context is better than a small one, or than another's.
    if (wanted.dictionary === undefined)
      return this.takeEncoder(profile, shape ?? { ...wanted, ...CROWD }) ?? takeContextFree();
    const cost = shape === undefined ? Number.POSITIVE_INFINITY : this.#cost(profile, shape);
    if (shape !== undefined && this.#used + cost <= this.limit) {
      this.#used += cost;
      // Frames that stand alone may be larger than a small window, which their stream has said it has.
      const { windowLog = 0 } = withinWindow(profile, shape, maxWindowLog);
      const early = late && windowLog >= FRAME_WINDOW_LOG ? this.#takeEarly(profile, wanted) : undefined;
      return { shape, cost, ...(early && { early }) };
    }
    return takeContextFree() ?? this.takeEncoder(profile, wanted);
  }

  /** As wanted, or smaller where all that are held would have little of the caches; undefined: too little for any. */
  #warmShape(profile: string, wanted: ContextShape): ContextShape | undefined {
    if (wanted.windowLog !== undefined || wanted.tuning !== undefined || !CONTEXT_FREE.includes(profile))
      return wanted;
    const level = wanted.level === undefined ? {} : { level: wanted.level };
    const shapes = [wanted, ...[FEW, CROWD].map((shape) => ({ ...wanted, ...shape, ...level }))];
    return shapes.find((shape) => (this.#held.size + 1) * this.#cost(profile, shape) <= WARM_BYTES);
  }

  /** An encoder for the beginnings of streams, where there is room for it; nobody is given up for that. */
  #takeEarly(
    profile: string,
    { level = ZSTD_DEFAULT_LEVEL, dictionary }: ContextShape,
  ): ContextShape | undefined {
    const wanted = { level: Math.max(level, Math.min(EARLY_LEVEL_MOST, level + EARLY_LEVELS)), dictionary };
    const cost = this.#sharedCost(profile, contextFreeShape(profile, wanted, undefined));
    return this.#used + cost <= this.limit
      ? this.#takeContextFree(profile, wanted, undefined)?.shape
      : undefined;
  }

  /** Each thread, the main one too, has one such encoder for all streams that want the same: it is accounted once, for good. */
  #takeContextFree(
    profile: string,
    wanted: ContextShape,
    maxWindowLog: number | undefined,
  ): TakenContext | undefined {
    if (!CONTEXT_FREE.includes(profile)) return undefined;
    const shape = contextFreeShape(profile, wanted, maxWindowLog);
    const cost = this.#sharedCost(profile, shape);
    if (cost > 0 && !this.#take(cost)) return undefined;
    this.#shared.add(JSON.stringify([profile, shape]));
    return { shape, cost: 0 };
  }

  /** What threads that have none of this shape as yet take for one each. */
  #sharedCost(profile: string, shape: ContextShape): number {
    if (this.#shared.has(JSON.stringify([profile, shape]))) return 0;
    return this.#threads * contextFreeCost(profile, shape, this.#dictionaryBytes(shape));
  }

  #cost(profile: string, shape: ContextShape): number {
    return encoderCost(profile, shape, this.#dictionaryBytes(shape));
  }

  #dictionaryBytes({ dictionary = '' }: ContextShape): number {
    return this.#dictionaries.get(dictionary) ?? 0;
  }

  /** Takes memory for a decoder; decoders, which peers ask for, may have half of all. False: there is none. */
  takeDecoder(cost: number): boolean {
    if (this.#decoders + cost > this.limit / 2 || !this.#take(cost)) {
      this.counts.refused++;
      return false;
    }
    this.#decoders += cost;
    return true;
  }

  give(cost: number): void {
    this.#used -= cost;
  }

  giveDecoder(cost: number): void {
    this.#decoders -= cost;
    this.#used -= cost;
  }

  /** From now on `context` may be given up when it is idle, until {@link forget}. */
  hold(context: IdleContext): void {
    const { usedAt } = context;
    const nowMs = performance.now();
    this.#held.set(context, { placedAt: usedAt, seenUse: usedAt, idleSinceMs: nowMs, openedAtMs: nowMs });
  }

  forget(context: IdleContext): void {
    this.#held.delete(context);
  }

  /** How often {@link sweep} should be called, in milliseconds. */
  get sweepPeriodMs(): number {
    return Math.min(5000, Math.max(10, Math.min(this.#idleTimeoutMs, this.#lifetimeMs) / 4));
  }

  /** Gives up streams that have been idle for too long at `nowMs`, and renews those that have been open for too long. */
  sweep(nowMs: number): void {
    for (const [context, held] of this.#held) {
      if (!context.idle || context.usedAt !== held.seenUse) {
        held.seenUse = context.usedAt;
        held.idleSinceMs = nowMs;
      } else if (nowMs - held.idleSinceMs >= this.#idleTimeoutMs) {
        context.giveUp();
        continue;
      }
      if (nowMs - held.openedAtMs < this.#lifetimeMs) continue;
      held.openedAtMs = nowMs;
      if (context.idle) context.giveUp();
      else context.renew();
    }
  }

  #take(cost: number): boolean {
    if (this.#used + cost > this.limit && !this.#makeRoom(cost)) return false;
    this.#used += cost;
    return true;
  }

  /** Gives up idle contexts, least recently used first, until `cost` fits. */
  #makeRoom(cost: number): boolean {
    if (cost > this.limit) return false;
    let looks = 2 * Math.min(MAX_LOOKS, this.#held.size);
    for (const [context, held] of this.#held) {
      if (this.#used + cost <= this.limit) return true;
      if (context.idle && context.usedAt === held.placedAt) {
        this.counts.givenUp++;
        context.giveUp();
        continue;
      }
      // Used since it was put here: its place is at the end. When its turn comes again it is the least recently used.
      this.#held.delete(context);
      held.placedAt = context.usedAt;
      this.#held.set(context, held);
      if (--looks === 0) break;
    }
    return this.#used + cost <= this.limit;
  }
}

function contextFreeShape(
  profile: string,
  wanted: ContextShape,
  maxWindowLog: number | undefined,
): ContextShape {
  return withinWindow(profile, { ...wanted, contextFree: true }, maxWindowLog);
}

function limitOf(contextMemory: number | undefined): number {
  return Math.floor(contextMemory ?? availableMemory() / 4);
}
