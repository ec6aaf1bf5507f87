/**
 * Which frames a server makes of the traffic under one setting: the router's decisions and the cutting into frames,
 * without a clock. So the sizes of a cell are the same on every machine and in every run, whatever the threads do.
 *
 * The model: a capture's responses run from their request to their end, as they did when they were recorded. All
 * other traffic has `inFlight` requests on the way at any time, and they end in the order in which they began.
 */

import { makePolicy, type StreamView } from '../../lanes/policy.ts';
import type { Cell } from '../grid/cell.ts';
import type { Piece, Workload, WorkloadResponse } from '../traffic/workload.ts';

/** One frame of a response before encoding. */
export interface PlannedFrame {
  /** Index of the response in the workload. */
  readonly response: number;
  /** Index of the stream in the plan. */
  readonly stream: number;
  /** Where its bytes lie in the response. */
  readonly start: number;
  readonly end: number;
  readonly last: boolean;
  /** Milliseconds after the request at which the handler has made all of it. */
  readonly afterMs: number;
}

/** One stream of one connection; under `per-request` there is one for each response. */
export interface PlannedStream {
  readonly connection: number;
  /** Its place among the connection's streams. */
  readonly place: number;
}

export interface Plan {
  readonly frames: readonly PlannedFrame[];
  readonly streams: readonly PlannedStream[];
}

/** A place among a connection's streams, as the policy sees it. */
class Place implements StreamView {
  readonly index: number;
  /** Lanes are enough. */
  readonly resting = false;
  stream: number | undefined;
  requests = 0;
  responses = 0;
  pendingBytes = 0;
  bytesIn = 0;

  constructor(index: number) {
    this.index = index;
  }

  get open(): boolean {
    return this.stream !== undefined;
  }
}

interface Running {
  readonly place: Place;
  readonly length: number;
  readonly endMs: number;
}

/** The streams of one connection and the requests on their way. */
class PlannedConnection {
  readonly places: Place[];
  readonly choose;
  #running: Running[] = [];

  constructor({ policy, streams }: Cell) {
    this.places = Array.from({ length: streams }, (_, index) => new Place(index));
    this.choose = policy === 'per-request' ? () => 0 : makePolicy(policy);
  }

  /** Ends what has ended before `response` comes. */
  settle({ atMs }: WorkloadResponse, timed: boolean, inFlight: number): void {
    if (timed) {
      const ended = this.#running.filter(({ endMs }) => endMs <= (atMs as number));
      this.#running = this.#running.filter(({ endMs }) => endMs > (atMs as number));
      for (const each of ended) end(each);
    } else {
      while (this.#running.length >= inFlight) end(this.#running.shift() as Running);
    }
  }

  start(place: Place, { bytes, endMs = 0 }: WorkloadResponse): void {
    place.requests++;
    place.responses++;
    place.pendingBytes += bytes.length;
    this.#running.push({ place, length: bytes.length, endMs });
  }
}

function end({ place, length }: Running): void {
  place.requests--;
  place.pendingBytes -= length;
  place.bytesIn += length;
}

/** Most frames of a plan: each takes some memory while it is measured. */
const MAX_FRAMES = 4_000_000;

/** `inFlight`: requests on the way on one connection at any time, for traffic that has no times. @throws Error when there are too many frames. */
export function makePlan(workload: Workload, cell: Cell, inFlight: number): Plan {
  if (workload.bytes / cell.frameSize > MAX_FRAMES)
    throw new Error(`the traffic is more than ${MAX_FRAMES} frames of ${cell.frameSize} bytes`);
  const frames: PlannedFrame[] = [];
  const streams: PlannedStream[] = [];
  const connections = new Map<number, PlannedConnection>();
  for (const [index, response] of workload.responses.entries()) {
    const connection = connections.get(response.connection) ?? new PlannedConnection(cell);
    connections.set(response.connection, connection);
    connection.settle(response, workload.timed, inFlight);
    const place = connection.places[connection.choose(queryOf(response), connection.places)];
    if (place.stream === undefined || cell.policy === 'per-request') {
      place.stream = streams.push({ connection: response.connection, place: place.index }) - 1;
    }
    connection.start(place, response);
    for (const frame of cut(response, cell)) frames.push({ response: index, stream: place.stream, ...frame });
  }
  return { frames, streams };
}

function queryOf({ command, key }: WorkloadResponse) {
  return { command, key };
}

type Cut = Pick<PlannedFrame, 'start' | 'end' | 'last' | 'afterMs'>;

/** As ResponsePump cuts: whole frames as soon as there is more than one, what is left when the wait is over. */
export function cut({ bytes, pieces }: WorkloadResponse, { frameSize, coalesceMs }: Cell): Cut[] {
  const cuts: Cut[] = [];
  const all: readonly Piece[] = pieces ?? [{ afterMs: 0, length: bytes.length }];
  let start = 0;
  let end = 0;
  let dueMs = Number.POSITIVE_INFINITY;
  const emit = (length: number, afterMs: number) => {
    cuts.push({ start, end: start + length, last: false, afterMs });
    start += length;
  };
  let lastMs = 0;
  for (const { afterMs, length } of all) {
    if (start < end && afterMs > dueMs) emit(end - start, dueMs);
    if (start === end) dueMs = afterMs + coalesceMs;
    end += length;
    lastMs = afterMs;
    while (end - start > frameSize) emit(frameSize, afterMs);
  }
  cuts.push({ start, end, last: true, afterMs: lastMs });
  return cuts;
}
