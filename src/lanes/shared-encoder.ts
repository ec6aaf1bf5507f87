/** An encoder on a lane whose payloads go to many connections (protocol C10): pieces in, payloads out, in order. */

import type { BatchReader } from '../../workers/batch.ts';
import { unpackPieces } from '../../workers/packed.ts';
import { Op, SharedFlag, type SharedSetup } from '../../workers/records.ts';
import { errorOf } from '../wire/thrown.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import type { ContextBudget, IdleContext } from './budget.ts';
import type { ContextShape } from './context-cost.ts';
import type { Lane, SlotOwner } from './lane.ts';
import type { LanePool } from './pool.ts';
import type { Pass } from './quarantine.ts';

/** What the encoder tells whoever shares its payloads out. */
export interface SharedEncoderOwner {
  /** The payload of the oldest piece that is out; undefined: it could not be encoded. The bytes are the owner's. */
  onPayload(payload: Uint8Array | undefined): void;
  /** The encoder is gone: of the pieces that are out nothing comes any more. */
  onGone(): void;
  report(error: Error): void;
}

const NOTHING = new Uint8Array(0);

export class SharedEncoder implements SlotOwner, IdleContext {
  readonly writer = undefined;
  /** What a stream says of itself that carries its payloads; known before the first of them. */
  settings: Uint8Array = NOTHING;
  usedAt: number;
  /** Bytes of the pieces that are out. */
  pendingBytes = 0;
  readonly #lane: Lane;
  readonly #slot: number;
  readonly #owner: SharedEncoderOwner;
  readonly #budget: ContextBudget;
  readonly #cost: number;
  readonly #pass: Pass;
  /** Whether it makes payloads that share a context. */
  readonly makesShared: boolean;
  /** Whether it makes payloads that stand alone. */
  readonly makesAlone: boolean;
  #pieces = 0;
  #closed = false;
  #hasMade = false;

  private constructor(
    lane: Lane,
    setup: SharedSetup,
    budget: ContextBudget,
    cost: number,
    pass: Pass,
    owner: SharedEncoderOwner,
  ) {
    this.#pass = pass;
    this.makesShared = setup.kept !== undefined;
    this.makesAlone = setup.alone !== undefined;
    this.#lane = lane;
    this.#owner = owner;
    this.#budget = budget;
    this.#cost = cost;
    this.usedAt = budget.tick();
    this.#slot = lane.open(this);
    lane.input.addJson(Op.openShared, this.#slot, setup);
    if (this.makesShared) budget.hold(this);
  }

  /**
   * Undefined where no lane lives, or encoders of the profile have ended workers. Where there is no memory for its context it
   * makes only what stands alone; undefined, too, where nothing does.
   */
  static open(
    pool: LanePool,
    profile: string,
    wanted: ContextShape,
    owner: SharedEncoderOwner,
  ): SharedEncoder | undefined {
    const { budget, quarantine } = pool;
    const suspect = quarantine.numberOf('encoder', profile);
    const lane = pool.leastUsed();
    const pass = lane && quarantine.admit(suspect);
    if (lane === undefined || pass === undefined) return undefined;
    const kept = budget.takeEncoder(profile, wanted);
    const alone = budget.takeContext(profile, wanted, 'none')?.shape;
    if (kept === undefined && alone === undefined) {
      pass.end(false);
      return undefined;
    }
    const setup = { profile, suspect, ...(kept && { kept: kept.shape }), ...(alone && { alone }) };
    return new SharedEncoder(lane, setup, budget, kept?.cost ?? 0, pass, owner);
  }

  get idle(): boolean {
    return this.#pieces === 0;
  }

  /** Encodes a piece, which is copied, as {@link SharedFlag} says. */
  encode(piece: Uint8Array, flags: number): void {
    this.usedAt = this.#budget.tick();
    this.#pieces++;
    this.pendingBytes += piece.length;
    this.#lane.input.add(Op.share, this.#slot, 0, 0, flags, piece, piece.length);
  }

  giveUp(): void {
    this.close();
    this.#owner.onGone();
  }

  /** A context that is open for long is no danger here: it begins afresh with every epoch. */
  renew(): void {}

  /** Frees the contexts; nothing comes of the pieces that are out. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pass.end(this.#hasMade && this.#lane.alive);
    this.#lane.close(this.#slot);
    this.#budget.forget(this);
    this.#budget.give(this.#cost);
  }

  // --------------------------------------------------------------------------- what the lane says (SlotOwner)

  /** It makes payloads, and no frames. */
  onFrame(): void {}

  onRecord(record: BatchReader): void {
    if (record.op === Op.sharedSettings) this.settings = record.payload.slice();
    else if (record.op === Op.shared) this.#payload(record);
    else if (record.op === Op.report)
      this.#owner.report(errorOf(JSON.parse(decodeUtf8(unpackPieces(record.payload)[1]))));
  }

  #payload(record: BatchReader): void {
    this.#pieces--;
    this.pendingBytes -= record.extra;
    this.#hasMade = true;
    const isThere = (record.flags & SharedFlag.failed) === 0;
    this.#owner.onPayload(isThere ? record.payload.slice() : undefined);
  }

  onLost(): void {
    if (this.#closed) return;
    this.close();
    this.#owner.onGone();
  }
}
