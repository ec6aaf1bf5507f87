/**
 * How many lanes the load needs. A lane costs the main thread a message, a wake-up and a piece of each write, however little
 * it is given; so where that thread has much to do, lanes that the others can do without rest: the same work travels in
 * fewer and larger batches. They live on, finish what they have, and are woken as soon as the others do not keep up, or
 * the main thread has time again.
 */

import { performance } from 'node:perf_hooks';

/** What is known of a lane when it is looked at. */
export interface LaneLoad {
  /** Milliseconds that its thread has been at work since it began. */
  readonly busyMs: number;
  /** Since when it owes an answer, in milliseconds of `performance.now()`; undefined: it owes none. */
  readonly owesSinceMs: number | undefined;
  /** Streams that live on it. */
  readonly openSlots: number;
}

/** Shortest time from one look to the next, and longest that says anything of the time between, in milliseconds. */
const LOOK_MS = 20;
const STALE_MS = 250;
/** A look weighs as much as all those that are older by more than this, in milliseconds: threads are held up, and catch up. */
const MEMORY_MS = 200;
/** Requests in a millisecond below which there is nothing to save. */
const FEW = 1;
/** Of the time that it is at work for: where lanes are worth resting, and where they are woken for good. */
const MAIN_BUSY = 0.5;
const MAIN_FREE = 0.25;
/** A lane that is at work for more of the time than this does not keep up. */
const FULL = 0.85;
/** What the lanes that remain may be at work for when one is to rest. */
const SPARE = 0.6;
/** How much less at work a lane has to be for streams of a full one to move there. */
const SLOPE = 0.3;
/** For how long one lane less has to do before it rests: at first, and at most after lanes have rested in vain. */
const PATIENCE_MS = 200;
const MAX_PATIENCE_MS = 6400;
/** A lane that is needed again sooner than this has rested in vain. */
const IN_VAIN_MS = 1000;

/** Milliseconds that this thread's event loop has been at work. */
export const mainBusyMs = (): number => performance.eventLoopUtilization().active;

/**
 * Told at each look for how much of the time the main thread was at work and how much the lanes in use were on the average (0 … 1), and of the
 * time since the look before, in milliseconds, how much of what was known it replaces (0 … 1).
 */
export type OnLook = (main: number, lanes: number, spanMs: number, weight: number) => void;

export class LanesInUse<L extends LaneLoad> {
  readonly #onLook: OnLook;
  #live: readonly L[] = [];
  #used: readonly L[] = [];
  #resting = 0;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** How long the main thread and each lane had been at work then. */
  #mainBusyMs = 0;
  #busyMs = new Map<L, number>();
  /** For how much of the newest time they were at work: 0 … 1. */
  #mainLoad = 0;
  #loads = new Map<L, number>();
  /** For how long one lane less would have done, and how many requests came meanwhile. */
  #quietMs = 0;
  #requests = 0;
  /** Whether all lanes in use were full at the newest look. */
  #full = false;
  #patienceMs = PATIENCE_MS;
  #restedAtMs = Number.NEGATIVE_INFINITY;
  /** The lane with most time left, and how many streams of each full lane may still move there. */
  #freest: L | undefined;
  readonly #moves = new Map<L, number>();

  constructor(onLook: OnLook = () => undefined) {
    this.#onLook = onLook;
  }

  /** These live, in the order in which they are woken. */
  set live(lanes: readonly L[]) {
    this.#live = lanes;
    this.#rest(this.#resting);
  }

  /** Those in use; the others rest. */
  get lanes(): readonly L[] {
    return this.#used;
  }

  has(lane: L): boolean {
    return this.#used.includes(lane);
  }

  /** Of so many places, dealt out among the lanes, how many belong to those in use: at least one. */
  placesOf(places: number): number {
    if (this.#live.length === 0) return places;
    return Math.ceil((places * this.#used.length) / this.#live.length);
  }

  /** Where an idle stream of `lane` should move, because that rests or is full; undefined: it stays. */
  moveFrom(lane: L): L | undefined {
    if (!this.has(lane)) return fewestStreams(this.#used);
    const left = this.#moves.get(lane) ?? 0;
    if (left === 0) return undefined;
    this.#moves.set(lane, left - 1);
    return this.#freest;
  }

  /** A request has come at `nowMs`, when the main thread has been at work for `mainBusyMs()` in all; `mayRest`: it can do without any lane. */
  requested(nowMs: number, mainBusyMs: () => number, mayRest = true): void {
    this.#requests++;
    const spanMs = nowMs - this.#lookedAtMs;
    if (spanMs < LOOK_MS || this.#live.length === 0) return;
    const main = mainBusyMs();
    if (spanMs <= STALE_MS) this.#look(nowMs, spanMs, (main - this.#mainBusyMs) / spanMs, mayRest);
    else this.#paused(spanMs);
    this.#lookedAtMs = nowMs;
    this.#mainBusyMs = main;
    this.#busyMs = new Map(this.#live.map((lane) => [lane, lane.busyMs]));
  }

  /** Nothing is known of the load that comes now. */
  #paused(spanMs: number): void {
    this.#notQuiet();
    this.#onLook(0, 0, spanMs, 1);
  }

  #look(nowMs: number, spanMs: number, mainLoad: number, mayRest: boolean): void {
    const weight = 1 - Math.exp(-spanMs / MEMORY_MS);
    const smooth = (before: number, now: number) => before + weight * (now - before);
    const now = this.#used.map((lane) => this.#loadOf(lane, nowMs, spanMs));
    const smoothed = this.#used.map((lane, i) => smooth(this.#loads.get(lane) ?? now[i], now[i]));
    this.#mainLoad = smooth(this.#mainLoad, mainLoad);
    this.#loads = new Map(this.#used.map((lane, i) => [lane, smoothed[i]]));
    this.#onLook(this.#mainLoad, sum(smoothed) / smoothed.length, spanMs, weight);
    if (mayRest) this.#plan(now, smoothed, nowMs, spanMs);
  }

  /** `now`, `smoothed`: loads of the lanes in use. */
  #plan(now: readonly number[], smoothed: readonly number[], nowMs: number, spanMs: number): void {
    this.#planMoves(smoothed);
    // Those that fall behind are helped soon; what holds up all threads for once is nothing that a lane could help.
    const wereFull = this.#full;
    this.#full = sum(now) > FULL * now.length;
    if (this.#full && wereFull) this.#wake(nowMs);
    else if (this.#mainLoad < MAIN_FREE) this.#wakeOne();
    else if (this.#mainLoad > MAIN_BUSY) this.#restIfQuiet(sum(smoothed), nowMs, spanMs);
    else this.#notQuiet();
  }

  /** For how much of the time it was at work: 0 … 1. */
  #loadOf(lane: L, nowMs: number, spanMs: number): number {
    // What it is at for so long it will count only when that is done.
    if (lane.owesSinceMs !== undefined && nowMs - lane.owesSinceMs > spanMs) return 1;
    const busyMs = lane.busyMs - (this.#busyMs.get(lane) ?? 0);
    return Math.min(1, Math.max(0, busyMs / spanMs));
  }

  #wake(nowMs: number): void {
    if (this.#resting === 0) return;
    const inVain = nowMs - this.#restedAtMs < IN_VAIN_MS;
    this.#patienceMs = inVain ? Math.min(2 * this.#patienceMs, MAX_PATIENCE_MS) : PATIENCE_MS;
    this.#wakeOne();
  }

  /** The next look shows whether that is enough. */
  #wakeOne(): void {
    if (this.#resting > 0) this.#rest(this.#resting - 1);
  }

  #restIfQuiet(load: number, nowMs: number, spanMs: number): void {
    const fewer = this.#used.length - 1;
    if (fewer === 0 || load > SPARE * fewer) {
      this.#notQuiet();
      return;
    }
    this.#quietMs += spanMs;
    if (this.#quietMs < this.#patienceMs) return;
    if (this.#requests < FEW * this.#quietMs) {
      this.#notQuiet();
      return;
    }
    this.#restedAtMs = nowMs;
    this.#rest(this.#resting + 1);
  }

  #notQuiet(): void {
    this.#quietMs = 0;
    this.#requests = 0;
  }

  #rest(count: number): void {
    this.#notQuiet();
    this.#resting = Math.max(0, Math.min(count, this.#live.length - 1));
    this.#used = this.#live.slice(0, this.#live.length - this.#resting);
    this.#moves.clear();
  }

  /** A quarter of the difference between a full lane and the freest one, its part of it: the next look sees the rest. */
  #planMoves(loads: readonly number[]): void {
    this.#moves.clear();
    const least = Math.min(...loads);
    const isFull = (load: number) => load > FULL && load - least > SLOPE;
    const full = loads.filter(isFull).length;
    this.#freest = this.#used[loads.indexOf(least)];
    loads.forEach((load, i) => {
      const lane = this.#used[i];
      if (isFull(load)) this.#moves.set(lane, Math.ceil((lane.openSlots * (load - least)) / (4 * full)));
    });
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The one with the fewest open streams. */
export function fewestStreams<L extends LaneLoad>(lanes: readonly L[]): L | undefined {
  let best: L | undefined;
  for (const lane of lanes) if (best === undefined || lane.openSlots < best.openSlots) best = lane;
  return best;
}
