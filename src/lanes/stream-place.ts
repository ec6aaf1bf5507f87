/**
 * One place among a connection's response streams, as policies see it: a stream is opened in it when the policy first asks for it,
 * and what the place knows outlives that.
 */

import type { LaneStream } from './lane-stream.ts';
import type { StreamView } from './policy.ts';
import type { StreamKind } from './stream-kind.ts';

export class Place implements StreamView {
  readonly index: number;
  readonly level: number | undefined;
  readonly #rests: (place: Place) => boolean;
  responses = 0;
  stream: LaneStream | undefined;
  /** The kind of that stream. */
  kind: StreamKind | undefined;
  /** ID of a stream that was lost without an end: beginning it afresh resets it at the other end, too (protocol B1). */
  lostId: number | undefined;

  constructor(index: number, level: number | undefined, rests: (place: Place) => boolean = () => false) {
    this.index = index;
    this.level = level;
    this.#rests = rests;
  }

  get resting(): boolean {
    return this.#rests(this);
  }

  /** Whether an ID is taken for it. */
  get hasId(): boolean {
    return this.open || this.lostId !== undefined;
  }
  get open(): boolean {
    return this.stream !== undefined;
  }
  get requests(): number {
    return this.stream?.requests.size ?? 0;
  }
  get pendingBytes(): number {
    return this.stream?.pendingBytes ?? 0;
  }
  get bytesIn(): number {
    return this.stream?.bytesIn ?? 0;
  }
}
