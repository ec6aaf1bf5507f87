/** Figures of response streams. */

import { FRAME_WINDOW_LOG, levelOf, windowLogOf } from './context-cost.ts';
import type { LaneStream } from './lane-stream.ts';

/** Figures of one response stream. */
export interface StreamFigures {
  /** On the wire; even (protocol B4). */
  readonly streamId: number;
  /** Index of its lane; -1: it is encoded on the main thread, or was before. */
  readonly lane: number;
  /** Where its encoder is on that lane; -1 where there is none. */
  readonly slot: number;
  readonly profile: string;
  /** Compression level, in the profile's own scale; undefined: it has none. */
  readonly level: number | undefined;
  /** Bytes of history that its encoder looks back on; 0: none. */
  readonly windowBytes: number;
  /** Bytes that its context is accounted with; 0: it has none of its own, or no more. */
  readonly contextBytes: number;
  /** Milliseconds since it was opened; of one that has ended, how long it was open. */
  readonly ageMs: number;
  readonly frames: number;
  /** Payload bytes before encoding, and what they were on the wire, headers included. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Those of `stream` as they are now. */
export function figuresOf(stream: LaneStream): StreamFigures {
  const { id, lane, slot, profile, shape, contextBytes, openedAtMs, frames, bytesIn, bytesOut } = stream;
  const asked = windowLogOf(profile, shape);
  const windowLog = shape.contextFree ? Math.min(FRAME_WINDOW_LOG, asked) : asked;
  return {
    streamId: id,
    lane: lane.index,
    slot,
    profile,
    level: levelOf(profile, shape),
    windowBytes: windowLog === 0 ? 0 : 2 ** windowLog,
    contextBytes,
    ageMs: performance.now() - openedAtMs,
    frames,
    bytesIn,
    bytesOut,
  };
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
