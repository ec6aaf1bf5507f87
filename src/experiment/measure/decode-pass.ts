/** Decoding what an encode pass has sent, on lanes, and comparing it with what was to be sent. */

import { LaneDecoders } from '../../lanes/decoders.ts';
import type { LanePool } from '../../lanes/pool.ts';
import { IncomingFrames } from '../../reactor/incoming.ts';
import type { Failure } from '../../wire/failure.ts';
import type { Frame } from '../../wire/frame.ts';
import { DEFAULT_LIMITS } from '../../wire/limits.ts';
import { Splitter } from '../../wire/splitter.ts';
import type { Plan } from '../simulate/frame-plan.ts';
import type { Workload } from '../traffic/workload.ts';
import { type EncodePass, IN_LANES_BYTES, requestIdOf } from './encode-pass.ts';

/** The clients' side of one connection: what was sent comes back in clear, and is compared. */
class Decoding {
  readonly #pool: LanePool;
  readonly #frames: IncomingFrames;
  readonly #expected = new Map<number, Uint8Array[]>();
  #seconds = 0;
  #wake: () => void = () => undefined;
  #failure: Error | undefined;

  constructor(pool: LanePool, profile: string) {
    this.#pool = pool;
    const decoders = new LaneDecoders(pool, DEFAULT_LIMITS, [profile], (ticket, error) => {
      this.#failure ??= error;
      if (this.#failure === undefined) this.#frames.decoded(ticket);
      this.#wake();
    });
    // Streams may begin as often as they like here: the limit is on what peers do within a second.
    const now = () => {
      this.#seconds += 1;
      return 1000 * this.#seconds;
    };
    this.#frames = new IncomingFrames('server', DEFAULT_LIMITS, decoders, this, now);
  }

  expect(requestId: number, bytes: Uint8Array): void {
    const queue = this.#expected.get(requestId);
    if (queue === undefined) this.#expected.set(requestId, [bytes]);
    else queue.push(bytes);
  }

  /** CPU seconds of the lanes' threads. @throws Error when anything but what was sent comes out. */
  async run(chunks: readonly Uint8Array[]): Promise<number> {
    for (const queue of this.#expected.values()) queue.reverse();
    const before = await cpuOf(this.#pool);
    const splitter = new Splitter({
      maxPayload: DEFAULT_LIMITS.maxPayload,
      onFrame: (frame) => this.#frames.push(frame),
    });
    for (const chunk of chunks) {
      splitter.push(chunk);
      while (this.#frames.heldBytes > IN_LANES_BYTES) await this.#event();
    }
    while (this.#frames.heldBytes > 0) await this.#event();
    if (this.#failure !== undefined) throw this.#failure;
    for (const queue of this.#expected.values()) if (queue.length > 0) throw new Error('frames are missing');
    const after = await cpuOf(this.#pool);
    this.#frames.close();
    return after - before;
  }

  /** For {@link IncomingFrames}. */
  take(frame: Frame, payload: Uint8Array, lost: Failure | undefined): void {
    const expected = this.#expected.get(frame.requestId)?.pop();
    if (lost !== undefined) this.#failure ??= new Error(lost.message);
    else if (expected === undefined || Buffer.compare(payload, expected) !== 0) {
      this.#failure ??= new Error(
        `a frame of request ${frame.requestId} does not decode to what was encoded`,
      );
    }
  }

  async #event(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

/**
 * Decodes what a pass has sent with `profile`, one connection after the other; returns CPU seconds of the lanes' threads.
 * @throws Error when anything but the responses comes out.
 */
export async function decodeOnLanes(
  pool: LanePool,
  workload: Workload,
  plan: Plan,
  profile: string,
  { sent }: EncodePass,
): Promise<number> {
  const connections = new Map<number, Decoding>();
  for (const connection of sent.keys()) {
    connections.set(connection, new Decoding(pool, profile));
  }
  for (const { response, stream, start, end } of plan.frames) {
    const planned = plan.streams[stream];
    const bytes = workload.responses[response].bytes.subarray(start, end);
    connections.get(planned.connection)?.expect(requestIdOf(response), bytes);
  }
  let seconds = 0;
  for (const [connection, chunks] of sent)
    seconds += await (connections.get(connection) as Decoding).run(chunks);
  return seconds;
}

async function cpuOf({ lanes }: LanePool): Promise<number> {
  const stats = await Promise.all(lanes.map((lane) => lane.stats()));
  return stats.reduce((sum, each) => {
    if (each === undefined) throw new Error('a lane has died');
    return sum + each.cpuSeconds;
  }, 0);
}
