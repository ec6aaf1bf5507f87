/** Policies: the router's rule for which stream answers a request. */

/** What a policy knows of a request. */
export interface RouteQuery {
  readonly command: string;
  /** What the command's definition says belongs together, such as a file's type. */
  readonly key: string | undefined;
}

/** What a policy knows of each of the connection's response streams. */
export interface StreamView {
  readonly index: number;
  /** False before its first use and after its lane died: using it begins a new context. */
  readonly open: boolean;
  /** Its lane is not among those that the load needs now, or would not be: responses had better go elsewhere. */
  readonly resting: boolean;
  /** Responses that are on their way on this stream. */
  readonly requests: number;
  /** Responses that this stream has been given so far, those included. */
  readonly responses: number;
  /** Bytes that wait for the stream's encoder. */
  readonly pendingBytes: number;
  /** Bytes that its context has encoded. */
  readonly bytesIn: number;
}

/** Chooses the index of a stream; the streams of one connection are always the same array. */
export type Policy = (query: RouteQuery, streams: readonly StreamView[]) => number;

/**
 * Which stream answers a request: the least loaded, a new one each time, that of alike requests, always the same, or by
 * how long the link takes.
 */
export type PolicyName = 'shared' | 'per-request' | 'affinity' | 'single' | 'adaptive';

export const POLICY_NAMES: readonly PolicyName[] = [
  'shared',
  'per-request',
  'affinity',
  'single',
  'adaptive',
];

/** With the plain streams and the cache streams that makes the 16 which a peer takes by default (protocol B-limits). */
export const MAX_STREAMS = 12;

/** How many streams a policy gets when nobody says; `kinds` of streams: all but the first have one of their own beside them. */
export function defaultStreams(policy: PolicyName | Policy, workers: number, kinds = 1): number {
  if (policy === 'single') return 1;
  if (policy === 'per-request') return MAX_STREAMS;
  // One is left for what is encoded on the main thread.
  return Math.min(MAX_STREAMS - kinds, Math.max(2, workers));
}

/** One connection's policy; `shared` and `affinity` remember what they chose. `adaptive` is more than one: adaptive.ts. */
export function makePolicy(policy: PolicyName | Policy): Policy {
  if (typeof policy === 'function') return policy;
  if (policy === 'single') return () => 0;
  return policy === 'affinity' ? affinity() : shared();
}

/** A running response weighs as much as this many waiting bytes. */
const REQUEST_WEIGHT = 1024;
/** Up to this mean size responses are small: what their neighbours have taught the context matters most. */
const SMALL_RESPONSE = 16 * 1024;
/** How much more than the least loaded stream the last one may have and still be stayed with: 16 small responses. */
const STICKINESS = 16 * REQUEST_WEIGHT;

function load(stream: StreamView): number {
  // Half a request: a new context is worse than an idle one and better than a busy one.
  return stream.open ? stream.pendingBytes + stream.requests * REQUEST_WEIGHT : REQUEST_WEIGHT / 2;
}

/** An idle open stream, else a new one, else the least loaded; of those that rest only where there are no others. */
function leastLoaded(streams: readonly StreamView[]): StreamView {
  let best = streams[0];
  for (const stream of streams) {
    if (stream.resting === best.resting ? load(stream) < load(best) : best.resting) best = stream;
  }
  return best;
}

/**
 * The least loaded stream; but small responses stay with the last one until it is well behind, because requests that
 * follow each other ask for things that are alike. On a tree of 4 000 small files that takes two streams from 0.755
 * of what a context per request needs to 0.664.
 */
function shared(): Policy {
  let last = 0;
  return (_query, streams) => {
    const least = leastLoaded(streams);
    const stay =
      streams[last].resting === least.resting &&
      load(streams[last]) - load(least) < STICKINESS &&
      haveSmallResponses(streams);
    if (!stay) last = least.index;
    return last;
  };
}

/** Whether responses have been small so far; of the first ones nothing is known. */
function haveSmallResponses(streams: readonly StreamView[]): boolean {
  let bytes = 0;
  let responses = 0;
  for (const stream of streams) {
    bytes += stream.bytesIn;
    responses += stream.responses - stream.requests;
  }
  return responses > 0 && bytes / responses <= SMALL_RESPONSE;
}

/** Keys that one connection's affinity remembers; those past it find their stream by their hash. */
const MAX_KEYS = 16_384;

/**
 * Like goes with like: the same key always to the same stream, a new key to the stream that has least. Keys are what a
 * peer sends, of any length, so only their hashes are kept; two of one hash share a stream.
 */
function affinity(): Policy {
  const homes = new Map<number, number>();
  const keys: number[] = [];
  return (query, streams) => {
    const key = hash(query.key ?? query.command);
    const home = homes.get(key);
    if (home !== undefined) return home;
    if (homes.size >= MAX_KEYS) return key % streams.length;
    // Keys weigh something, for those that have no bytes yet.
    const weight = ({ index, bytesIn, pendingBytes }: StreamView) =>
      bytesIn + pendingBytes + (keys[index] ?? 0) * REQUEST_WEIGHT;
    let best = streams[0];
    for (const stream of streams) if (weight(stream) < weight(best)) best = stream;
    homes.set(key, best.index);
    keys[best.index] = (keys[best.index] ?? 0) + 1;
    return best.index;
  };
}

function hash(key: string): number {
  let sum = 0;
  for (let i = 0; i < key.length; i++) sum = (Math.imul(sum, 31) + key.charCodeAt(i)) >>> 0;
  return sum;
}
