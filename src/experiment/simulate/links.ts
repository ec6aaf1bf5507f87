/**
 * What a cell means for a client behind a link: a simulation in which the only clock is the measured CPU time.
 *
 * The model. A request takes what one takes of the main thread's CPU, in order. A frame waits for its stream's lane, in
 * order; is encoded in the time that it took, on average, for its
 * size (the lane's CPU shared out by bytes, a frame counting as {@link FRAME_BYTES} more); waits for the link, in
 * order; takes its wire bytes over the link's speed; and waits for the client's one decoder. Streams live on the lanes
 * in turn. A response is there when its last frame is decoded, its first byte when its first frame is. Traffic of a
 * capture comes when it came; all other keeps `inFlight` requests in flight, the next one when one is answered.
 * Left out: the round trip (add it), packet headers and what handlers do.
 */

import { Ladder } from '../../lanes/adaptive.ts';
import type { LinkFigures } from '../results/results.ts';
import { quantile } from '../results/statistics.ts';
import type { Workload } from '../traffic/workload.ts';
import type { Plan, PlannedFrame } from './frame-plan.ts';
import { Heap } from './heap.ts';

/** A frame's fixed cost in an encoder, as bytes: 2 µs against 5 µs per KiB. */
const FRAME_BYTES = 512;

export const DEFAULT_LINKS: readonly number[] = [1e6, 1e7, 1e8, 1e9, 1e10];

export interface LinkModel {
  readonly workload: Workload;
  readonly plan: Plan;
  /** Bytes on the wire of each of the plan's frames, header included. */
  readonly wire: Uint32Array;
  /** CPU seconds for all frames. */
  readonly encodeSeconds: number;
  readonly decodeSeconds: number;
  /** CPU seconds of the main thread for one response; missing: none. */
  readonly mainSeconds?: number;
  readonly workers: number;
  readonly inFlight: number;
  /** Responses to ask for, the traffic's in turn; missing: each once. */
  readonly requests?: number;
}

/** Waits as a simulation knows them. */
const KNOWN = { noise: { linkMs: 0, laneMs: 0 }, lateMs: 0.5 };

/** Bits per second, or what they are at each second of the simulation. */
export type LinkSpeed = number | ((seconds: number) => number);

export function simulateLink(model: LinkModel, speed: LinkSpeed): LinkFigures {
  return new Simulation([model], speed).run();
}

/**
 * The policy `adaptive`, whose rungs are these models: of the same responses cut alike, the fastest first. What a rung
 * makes of a response is taken to be what it makes when it gets all of them, and waits are known exactly: a server learns
 * of them by samples, and of none below some milliseconds.
 */
export function simulateAdaptive(rungs: readonly LinkModel[], speed: LinkSpeed): LinkFigures {
  return new Simulation(rungs, speed, new Ladder(rungs.length, KNOWN)).run();
}

/** A client at its end of a link. */
interface ClientEnd {
  linkFree: number;
  decoderFree: number;
}

/** Something that happens at a time. */
interface Event {
  readonly at: number;
  readonly what: 'requested' | 'made' | 'encoded';
  readonly response: number;
  /** One of the response's; of a request the first. */
  readonly frame: number;
}

class Simulation {
  /** The first rung's; what all have in common is read from it. */
  readonly #model: LinkModel;
  readonly #rungs: readonly LinkModel[];
  readonly #ladder: Ladder | undefined;
  readonly #speed: (seconds: number) => number;
  /** Of all frames. */
  readonly #weight: number;
  /** Which rung each response is on. */
  readonly #rungOf: Uint8Array;
  readonly #events = new Heap<Event>((event) => event.at);
  readonly #lanes: number[];
  readonly #laneBusy: number[];
  #mainFree = 0;
  #mainBusy = 0;
  readonly #clients = new Map<number, ClientEnd>();
  /** First frame of each response, and behind the last one the number of frames. */
  readonly #firstFrames: number[] = [];
  /** When the handler of each response began. */
  readonly #begun: Float64Array;
  /** Responses of the traffic, and those to ask for. */
  readonly #distinct: number;
  readonly #total: number;
  readonly #started: Float64Array;
  readonly #firstByte: number[] = [];
  readonly #whole: number[] = [];
  #next = 0;
  #linkBusy = 0;
  #end = 0;
  /** When the start was over: a tenth of the responses was there. */
  #warmAt = 0;

  constructor(rungs: readonly LinkModel[], speed: LinkSpeed, ladder?: Ladder) {
    const [model] = rungs;
    this.#model = model;
    this.#rungs = rungs;
    this.#ladder = ladder;
    this.#speed = typeof speed === 'function' ? speed : () => speed;
    const { frames } = model.plan;
    this.#weight = frames.reduce((sum, frame) => sum + weightOf(frame), 0);
    this.#lanes = Array<number>(model.workers).fill(0);
    this.#laneBusy = Array<number>(model.workers).fill(0);
    this.#distinct = model.workload.responses.length;
    this.#total = model.requests ?? this.#distinct;
    this.#started = new Float64Array(this.#total);
    this.#begun = new Float64Array(this.#total);
    this.#rungOf = new Uint8Array(this.#total);
    for (const [index, { response }] of frames.entries()) this.#firstFrames[response] ??= index;
    this.#firstFrames.push(frames.length);
  }

  run(): LinkFigures {
    const { responses } = this.#model.workload;
    const timed = this.#timed;
    const atOnce = timed ? this.#total : Math.min(this.#model.inFlight, this.#total);
    for (; this.#next < atOnce; this.#next++) {
      this.#request(this.#next, timed ? (responses[this.#next].atMs as number) / 1000 : 0);
    }
    for (let event = this.#events.pop(); event !== undefined; event = this.#events.pop()) {
      if (event.what === 'requested') this.#begin(event);
      else if (event.what === 'made') this.#encode(event);
      else this.#send(event);
    }
    return this.#figures();
  }

  #request(response: number, at: number): void {
    this.#started[response] = at;
    const frame = this.#firstFrames[response % this.#distinct];
    this.#events.push({ at, what: 'requested', response, frame });
  }

  /** The main thread takes a request, and its handler begins. */
  #begin({ response, frame, at }: Event): void {
    const rung = this.#climb(response, at);
    const { mainSeconds = 0 } = this.#rungs[rung];
    this.#rungOf[response] = rung;
    this.#mainFree = Math.max(this.#mainFree, at) + mainSeconds;
    this.#mainBusy += mainSeconds;
    this.#begun[response] = this.#mainFree;
    this.#make(response, frame, this.#mainFree);
  }

  /** The handler makes a frame's bytes, not before `at`: until then the lane works for others. */
  #make(response: number, frame: number, at: number): void {
    const made = this.#begun[response] + this.#model.plan.frames[frame].afterMs / 1000;
    this.#events.push({ at: Math.max(made, at), what: 'made', response, frame });
  }

  /** A frame queues up at its lane; the next one of its response comes after it. */
  #encode({ response, frame, at }: Event): void {
    const { plan, encodeSeconds } = this.#rungs[this.#rungOf[response]];
    const planned = plan.frames[frame];
    const lane = this.#ladder === undefined ? planned.stream % this.#lanes.length : this.#leastBusy();
    const seconds = (weightOf(planned) / this.#weight) * encodeSeconds;
    const ready = Math.max(at, this.#lanes[lane]) + seconds;
    this.#lanes[lane] = ready;
    this.#laneBusy[lane] += seconds;
    this.#events.push({ at: ready, what: 'encoded', response, frame });
    if (!planned.last) this.#make(response, frame + 1, at);
  }

  /** The rung for a response that is asked for now. */
  #climb(response: number, at: number): number {
    if (this.#ladder === undefined) return 0;
    const { connection } = this.#model.workload.responses[response % this.#distinct];
    const linkMs = 1000 * Math.max(0, this.#clientOf(connection).linkFree - at);
    const laneMs = 1000 * Math.max(0, Math.min(...this.#lanes) - at);
    return this.#ladder.next({ linkMs, laneMs, atMs: 1000 * at });
  }

  /** A rung has its streams on different lanes, and a response takes the less loaded one. */
  #leastBusy(): number {
    return this.#lanes.indexOf(Math.min(...this.#lanes));
  }

  /** An encoded frame crosses the link and the client's decoder. */
  #send({ response, frame, at }: Event): void {
    const { plan, wire, workload, decodeSeconds } = this.#rungs[this.#rungOf[response]];
    const planned = plan.frames[frame];
    const client = this.#clientOf(workload.responses[response % this.#distinct].connection);
    const begins = Math.max(at, client.linkFree);
    const crossing = (8 * wire[frame]) / this.#speed(begins);
    client.linkFree = begins + crossing;
    this.#linkBusy += crossing;
    const decoding = (weightOf(planned) / this.#weight) * decodeSeconds;
    client.decoderFree = Math.max(client.linkFree, client.decoderFree) + decoding;
    const done = client.decoderFree;
    if (frame === this.#firstFrames[response % this.#distinct])
      this.#firstByte.push(done - this.#started[response]);
    if (!planned.last) return;
    this.#whole.push(done - this.#started[response]);
    this.#end = Math.max(this.#end, done);
    if (this.#whole.length === this.#cold) this.#warmAt = this.#end;
    if (!this.#timed && this.#next < this.#total) this.#request(this.#next++, done);
  }

  /** Responses of the start. */
  get #cold(): number {
    return Math.floor(this.#total / 10);
  }

  /** Requests come when they came; asked for in turn they cannot. */
  get #timed(): boolean {
    return this.#model.workload.timed && this.#model.requests === undefined;
  }

  #clientOf(connection: number): ClientEnd {
    let client = this.#clients.get(connection);
    if (client === undefined) {
      client = { linkFree: 0, decoderFree: 0 };
      this.#clients.set(connection, client);
    }
    return client;
  }

  #figures(): LinkFigures {
    const seconds = this.#end || Number.MIN_VALUE;
    return {
      bitsPerSecond: Math.round(this.#speed(0)),
      firstByteMs: milliseconds(this.#firstByte),
      responseMs: milliseconds(this.#whole),
      responsesPerSecond: (this.#whole.length - this.#cold) / (seconds - this.#warmAt),
      linkBusy: this.#linkBusy / seconds / Math.max(1, this.#clients.size),
      threadBusy: Math.max(this.#mainBusy, ...this.#laneBusy) / seconds,
    };
  }
}

function weightOf({ start, end }: PlannedFrame): number {
  return end - start + FRAME_BYTES;
}

function milliseconds(seconds: number[]): { p50: number; p99: number } {
  const sorted = Float64Array.from(seconds).sort();
  return { p50: 1000 * quantile(sorted, 0.5), p99: 1000 * quantile(sorted, 0.99) };
}
