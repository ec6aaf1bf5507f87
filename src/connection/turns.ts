/**
 * The time of one thread as a budget. Whatever a peer can cause, its input, its output, what lanes send for it, is work
 * that is done in slices, and everybody together gets so much of one turn of the event loop; the rest waits for the next
 * turn. Who has had least so far comes first, and new connections before all: start-time fair queueing.
 *
 * While nobody waits and the turn has time left, work is done at once, where it comes up.
 */

import type { OutputShare } from '../reactor/flow.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';

/** What a turn of the event loop comes to. */
export interface TurnSize {
  /** Milliseconds of work, of all together … */
  readonly ms: number;
  /** … and of one slice. */
  readonly sliceMs: number;
  /** Bytes that all together may produce, or write: several ms of copying, here and in the system. */
  readonly bytes: number;
  /** What is urgent takes no time of the others'. */
  readonly isBrief?: boolean;
}

export const USUAL_TURN: TurnSize = { ms: 10, sliceMs: 1, bytes: 2 << 20 };
/** What one slice may come to beside its time: its frames, their bytes, whichever is reached first. */
const SLICE_FRAMES = 1024;
const SLICE_BYTES = 512 << 10;
/** Frames between two looks at the clock, which costs as much as a tenth of a small frame. */
const LOOK_EVERY = 8;
/** So many bytes of input may well take a slice, if they are tiny frames. */
const SLICE_INPUT = 16 << 10;
/** Bytes that one connection may produce, or write, in one turn. */
const SHARE_BYTES = 1 << 20;
/** So many bytes are charged to who produced them at a time: for a few, looking him up would cost more than they do. */
const CHARGE_BYTES = 4 << 10;
/** Milliseconds that a slice costs beside the time that was measured: what it sets off in promises and in the system. */
const SLICE_COST_MS = 0.02;
/** The same for each byte produced or written. */
const BYTE_COST_MS = 1 / (1 << 20);

/** How much of its slice some work has used up. */
export class Slice {
  #frames = 0;
  #bytes = 0;
  #endsAtMs = 0;
  #over = false;

  /** For {@link Turns}. */
  begin(endsAtMs: number): void {
    this.#frames = 0;
    this.#bytes = 0;
    this.#endsAtMs = endsAtMs;
    this.#over = false;
  }

  get over(): boolean {
    return this.#over;
  }

  /** One frame, or another step, of `bytes` was dealt with. Whether the slice is over. */
  count(bytes: number): boolean {
    this.#bytes += bytes;
    if (++this.#frames >= SLICE_FRAMES || this.#bytes >= SLICE_BYTES) this.#over = true;
    else if (this.#frames % LOOK_EVERY === 0) this.#look();
    return this.#over;
  }

  /** The same for a step that takes longer than a frame. */
  countLong(bytes: number): boolean {
    this.#look();
    return this.count(bytes);
  }

  #look(): void {
    if (performance.now() >= this.#endsAtMs) this.#over = true;
  }
}

/** Something that has work to do now and then. */
export abstract class TurnTaker {
  /** What it has used of the time that is dealt out, on the clock of {@link Turns}. */
  usedMs = 0;
  /** Bytes of input that wait: of two that have used the same, the one with less to do is done first. */
  bytes = 0;
  /** True while it waits for its turn. */
  waits = false;
  /** The {@link Turns.number} since when. */
  since = 0;
  /** It comes before all that is not, in every turn. */
  urgent = false;

  /**
   * For {@link Turns}: does some of the work, until its slice is over; whether there is more. It is not called from within itself,
   * nor must it throw. `input`: what it was {@link Turns.ready} with.
   */
  abstract run(slice: Slice, input?: Uint8Array): boolean;
}

/** The same for who has a function for it. */
export class Work extends TurnTaker {
  readonly #run: (slice: Slice) => boolean;

  constructor(run: (slice: Slice) => boolean, urgent = false) {
    super();
    this.#run = run;
    this.urgent = urgent;
  }

  run(slice: Slice): boolean {
    return this.#run(slice);
  }
}

export class Turns {
  readonly #later: (run: () => void) => void;
  /** Output that is gathered until the tick ends: a call of each connection's own would cost more than a small frame. */
  readonly ends: FlushQueue;
  /** The slice in hand, if there is one. */
  readonly slice = new Slice();
  #waiting: TurnTaker[] = [];
  #running = false;
  #planned = false;
  /** Of this turn. */
  #usedMs = 0;
  #bytesLeft = USUAL_TURN.bytes;
  /** This turn. */
  protected size = USUAL_TURN;
  /** What he has used who comes first of those who wait: who comes now has used no less, and comes before all others. */
  #clockMs = 0;
  /** Grows by one in every turn in which there is something to do. */
  number = 0;

  /** `later` calls what it is given in the next turn of the event loop, when what has come by then has been seen. */
  constructor(later: (run: () => void) => void) {
    this.#later = later;
    this.ends = new FlushQueue(0, later);
  }

  /**
   * `work` has something to do: it is done at once, with `input`, or when its turn comes, and then without. Whether it was at
   * once.
   */
  ready(work: TurnTaker, input?: Uint8Array): boolean {
    if (work.waits) return false;
    this.#plan();
    const isFree = !this.#running && this.#waiting.length === 0 && this.#usedMs < this.size.ms;
    if (isFree) this.#setClock(work);
    if (!isFree || this.#serve(work, input)) this.#enqueue(work);
    return isFree;
  }

  /** The same, but never at once. */
  readyLater(work: TurnTaker): void {
    this.#plan();
    this.#enqueue(work);
  }

  /** Whether bytes may still be produced, or written, in this turn. */
  get hasBytes(): boolean {
    return this.#bytesLeft > 0;
  }

  /** `bytes` were produced, or written. */
  take(bytes: number): void {
    this.#plan();
    this.#bytesLeft -= bytes;
  }

  /** `bytes` of those were for `work`. */
  charge(work: TurnTaker, bytes: number): void {
    work.usedMs = Math.max(work.usedMs, this.#clockMs) + bytes * BYTE_COST_MS;
  }

  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    this.#later(this.#turn);
  }

  #enqueue(work: TurnTaker): void {
    if (work.waits) return;
    work.waits = true;
    work.since = this.number;
    work.usedMs = Math.max(work.usedMs, this.#clockMs);
    this.#waiting.push(work);
  }

  /** Everybody who waits has one slice, as long as there is time. */
  readonly #turn = (): void => {
    this.#planned = false;
    this.number++;
    this.#usedMs = 0;
    this.begin();
    this.#bytesLeft = this.size.bytes;
    if (this.#waiting.length === 0) return;
    const due = this.#waiting.sort(inOrder);
    this.#waiting = [];
    this.#setClock(due.find(({ urgent }) => !urgent));
    let next = 0;
    while (next < due.length && this.#usedMs < this.size.ms) {
      this.next(due, next);
      const work = due[next++];
      work.waits = false;
      if (this.#serve(work)) this.#enqueue(work);
    }
    for (; next < due.length; next++) this.#waiting.push(due[next]);
    if (this.#waiting.length > 0) this.#plan();
  };

  /** A turn begins, of the size that this may set. */
  protected begin(): void {}

  /** The next is `due[at]`, unless this puts another there of those behind. */
  protected next(_due: TurnTaker[], _at: number): void {}

  /** `first` is next of all who have something to do. */
  #setClock(first: TurnTaker | undefined): void {
    if (first !== undefined && !first.urgent) this.#clockMs = Math.max(this.#clockMs, first.usedMs);
  }

  /** Whether there is more. */
  #serve(work: TurnTaker, input?: Uint8Array): boolean {
    const beganMs = performance.now();
    this.slice.begin(beganMs + this.size.sliceMs);
    this.#running = true;
    try {
      return work.run(this.slice, input);
    } finally {
      this.#running = false;
      const tookMs = performance.now() - beganMs + SLICE_COST_MS;
      if (!work.urgent || !this.size.isBrief) this.#usedMs += tookMs;
      if (!work.urgent) work.usedMs = Math.max(work.usedMs, this.#clockMs) + tookMs;
    }
  }
}

function inOrder(one: TurnTaker, other: TurnTaker): number {
  if (one.urgent !== other.urgent) return one.urgent ? -1 : 1;
  return finishMs(one) - finishMs(other);
}

/** When its next slice is over at the latest, on the clock of used time: who has little to do need not wait for much. */
function finishMs({ usedMs, bytes }: TurnTaker): number {
  return usedMs + USUAL_TURN.sliceMs * Math.min(1, bytes / SLICE_INPUT);
}

/** What one connection may still produce, or write, in this turn of the event loop; who finds it used up waits. */
export class TurnShare extends TurnTaker implements OutputShare {
  readonly #turns: Turns;
  #turn = -1;
  #used = 0;
  #uncharged = 0;
  #waiters: (() => void)[] = [];

  constructor(turns: Turns) {
    super();
    this.#turns = turns;
  }

  get usedUp(): boolean {
    if (this.#turn !== this.#turns.number) return !this.#turns.hasBytes;
    return this.#used >= SHARE_BYTES || !this.#turns.hasBytes;
  }

  get untouched(): boolean {
    return this.#turn !== this.#turns.number && this.#turns.hasBytes;
  }

  take(bytes: number): void {
    if (this.#turn !== this.#turns.number) {
      this.#turn = this.#turns.number;
      this.#used = 0;
    }
    this.#used += bytes;
    this.#turns.take(bytes);
    this.#uncharged += bytes;
    if (this.#uncharged < CHARGE_BYTES) return;
    this.#turns.charge(this, this.#uncharged);
    this.#uncharged = 0;
  }

  wait(resume: () => void): void {
    this.#waiters.push(resume);
    this.#turns.readyLater(this);
  }

  /** Oldest first, as far as it reaches; whether some still wait. */
  run(): boolean {
    for (let left = this.#waiters.length; left > 0 && !this.usedUp; left--) this.#waiters.shift()?.();
    return this.#waiters.length > 0;
  }
}
