/**
 * The memory that encoding contexts may take, all lanes together: a hard budget in bytes, accounted by what contexts
 * were measured to take. When it is used up, idle streams are given up first, then new ones get smaller contexts, at
 * last none; an allocation never fails.
 */

import type { Dictionary } from '../encoding/dictionary.ts';
import { IDENTITY, ZLIB, ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import { ZSTD_DEFAULT_LEVEL } from '../encoding/zstd-profile.ts';
import {
  type ContextShape,
  contextFreeCost,
  contextFreeShape,
  encoderCost,
  FRAME_WINDOW_LOG,
  withinWindow,
} from './context-cost.ts';
import { availableMemory } from './memory.ts';
import type { Contexts } from './stream-kind.ts';

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

function limitOf(contextMemory: number | undefined): number {
  return Math.floor(contextMemory ?? availableMemory() / 4);
}
