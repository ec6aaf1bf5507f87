/**
 * What a lane's thread has been sent and has not got to. Its time is dealt out in turns, like the main thread's: who has had least
 * comes first (start-time fair queueing), so that one small record waits for no more than a turn, whatever others have sent before it.
 * Records of one party stay in order.
 */

import { performance } from 'node:perf_hooks';
import { Fifo } from '../src/wire/fifo.ts';
import type { BatchReader } from './batch.ts';
import { Op } from './records.ts';

/** How much there may be in one turn of the lane's event loop: for so long a batch that comes is not looked at. */
export interface TurnSize {
  /** Milliseconds of work. */
  readonly ms: number;
  /** What calls may be set to do, as bytes of their output: they do it when the turn is over. */
  readonly output: number;
}

/** While records wait, of which one may be before all others. */
const TURN: TurnSize = { ms: 5, output: 1 << 20 };
/** For a batch that is worked through as it comes, which is cheaper: as long as the thread keeps up, few wait for it. */
export const BATCH_TURN: TurnSize = { ms: 20, output: 4 << 20 };
/** Milliseconds that a party has in a turn while others wait. */
const SLICE_MS = 0.5;
/** So many records may well take a slice; who has fewer is nearer to his end. */
const SLICE_RECORDS = 8;
/** What calls of one party may be set to do while others wait. */
const SLICE_OUTPUT = 128 << 10;
/** What a new call counts for, which is granted more than most need. */
const CALL_OUTPUT = 4 << 10;

/** How much of a turn has been used up. */
export class LaneTurn {
  readonly #size: TurnSize;
  readonly #cpuMs: () => number;
  #endsAtMs = 0;
  #beganCpuMs = 0;
  #output = 0;

  /** `cpuMs`: what the thread has had of the processor. */
  constructor(size: TurnSize, cpuMs = threadCpuMs) {
    this.#size = size;
    this.#cpuMs = cpuMs;
  }

  begin(nowMs: number): void {
    this.#endsAtMs = nowMs + this.#size.ms;
    this.#beganCpuMs = this.#cpuMs();
    this.#output = 0;
  }

  /** A record has been dealt with, and it is `nowMs`. Whether the turn is over. */
  took({ op, extra }: BatchReader, nowMs: number): boolean {
    if (op === Op.call) this.#output += CALL_OUTPUT;
    else if (op === Op.callGrant) this.#output += extra;
    return this.#output >= this.#size.output || (nowMs >= this.#endsAtMs && this.#hasHadIt(nowMs));
  }

  /** A thread that was held up meanwhile goes on: cut short, its work would travel in many small batches. */
  #hasHadIt(nowMs: number): boolean {
    const { ms } = this.#size;
    const leftMs = ms - (this.#cpuMs() - this.#beganCpuMs);
    this.#endsAtMs = nowMs + leftMs;
    return leftMs < ms / 4;
  }
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** A batch of which records wait. */
interface Held {
  readonly reader: BatchReader;
  left: number;
}

interface Waiting {
  readonly held: Held;
  readonly index: number;
  /** What the record says, or a part of it. */
  readonly extra: number;
}

class Party {
  readonly records = new Fifo<Waiting>();
  /** Milliseconds that it has had, on the clock of the queue. */
  usedMs: number;

  constructor(clockMs: number) {
    this.usedMs = clockMs;
  }

  /** When its next slice is over at the latest: who has little to do need not wait for much. */
  get finishMs(): number {
    return this.usedMs + SLICE_MS * Math.min(1, this.records.length / SLICE_RECORDS);
  }
}

export class WorkQueue {
  readonly #partyOf: (slot: number) => number;
  readonly #now: () => number;
  readonly #turn: LaneTurn;
  /** Who waits, or has had more than the clock says. */
  readonly #parties = new Map<number, Party>();
  /** What he has had who has had least of those who wait: who comes now has had no less, and is before all others. */
  #clockMs = 0;
  #length = 0;
  #serving = false;

  /** `partyOf`: whose a slot is. `now`, `cpuMs`: milliseconds, the latter of the processor's time. */
  constructor(partyOf: (slot: number) => number, now = () => performance.now(), cpuMs = threadCpuMs) {
    this.#partyOf = partyOf;
    this.#now = now;
    this.#turn = new LaneTurn(TURN, cpuMs);
  }

  /** Records that wait. */
  get length(): number {
    return this.#length;
  }

  /** Takes the records of a batch that have not been read. */
  add(reader: BatchReader): void {
    const held = { reader, left: 0 };
    while (reader.next()) this.#enqueue(held, reader);
  }

  /** A long grant is several, between which others have their turn. */
  #enqueue(held: Held, { op, slot, index, extra }: BatchReader): void {
    const party = this.#party(slot);
    const most = op === Op.callGrant ? SLICE_OUTPUT : Number.POSITIVE_INFINITY;
    let left = extra;
    for (; left > most; left -= most) this.#push(party, { held, index, extra: most });
    this.#push(party, { held, index, extra: left });
  }

  #push(party: Party, waiting: Waiting): void {
    if (party.records.length === 0) party.usedMs = Math.max(party.usedMs, this.#clockMs);
    party.records.push(waiting);
    waiting.held.left++;
    this.#length++;
  }

  #party(slot: number): Party {
    const number = this.#partyOf(slot);
    let party = this.#parties.get(number);
    if (party === undefined) {
      party = new Party(this.#clockMs);
      this.#parties.set(number, party);
    }
    return party;
  }

  /** The thread has worked for the slot, beside what it does for a record. */
  charge(slot: number, ms: number): void {
    if (!this.#serving && this.#length > 0) this.#party(slot).usedMs += ms;
  }

  /** Calls `work` with records for one turn, in fair order, and `done` with each batch that nothing of is left. */
  serve(work: (record: BatchReader) => void, done: (batch: ArrayBuffer) => void): void {
    this.#turn.begin(this.#now());
    this.#serving = true;
    try {
      for (let over = false; !over; ) {
        const next = this.#next();
        over = next === undefined || this.#slice(next, work, done);
      }
    } finally {
      this.#serving = false;
    }
    if (this.#length === 0) this.#parties.clear();
  }

  /** Who has had least of those who wait. Who waits for nothing, and owes nothing, is forgotten. */
  #next(): Party | undefined {
    let next: Party | undefined;
    let leastMs = Number.POSITIVE_INFINITY;
    for (const [number, party] of this.#parties)
      if (party.records.length > 0) {
        leastMs = Math.min(leastMs, party.usedMs);
        if (next === undefined || party.finishMs < next.finishMs) next = party;
      } else if (party.usedMs <= this.#clockMs) this.#parties.delete(number);
    if (next !== undefined) this.#clockMs = Math.max(this.#clockMs, leastMs);
    return next;
  }

  /** Whether the turn is over. */
  #slice(party: Party, work: (record: BatchReader) => void, done: (batch: ArrayBuffer) => void): boolean {
    const endMs = party.usedMs + SLICE_MS;
    let beganMs = this.#now();
    for (let next = party.records.shift(); next !== undefined; next = party.records.shift()) {
      this.#length--;
      const { held, index, extra } = next;
      const record = held.reader.at(index, extra);
      work(record);
      if (--held.left === 0) done(record.buffer);
      const nowMs = this.#now();
      party.usedMs += nowMs - beganMs;
      if (this.#turn.took(record, nowMs)) return true;
      if (party.usedMs >= endMs) return false;
      beganMs = nowMs;
    }
    return false;
  }
}
