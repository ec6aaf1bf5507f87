/** Figures of response streams. */

import type { LaneStream } from './lane-stream.ts';

/** Figures of one response stream. */
export interface StreamFigures {
  readonly streamId: number;
  readonly lane: number;
  readonly slot: number;
  readonly profile: string;
  readonly frames: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Those of `stream` as they are now. */
export function figuresOf(stream: LaneStream): StreamFigures {
  const { id, lane, slot, profile, frames, bytesIn, bytesOut } = stream;
  return { streamId: id, lane: lane.index, slot, profile, frames, bytesIn, bytesOut };
}

/** Of two streams of one ID, the sum; what is not a sum is that of `b`. */
export function addFigures(a: StreamFigures, b: StreamFigures): StreamFigures {
  return {
    ...b,
    frames: a.frames + b.frames,
    bytesIn: a.bytesIn + b.bytesIn,
    bytesOut: a.bytesOut + b.bytesOut,
  };
}
