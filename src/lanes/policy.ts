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
  /** Responses that are on their way on this stream. */
  readonly requests: number;
  /** Bytes that wait for the stream's encoder. */
  readonly pendingBytes: number;
  /** Bytes that its context has encoded. */
  readonly bytesIn: number;
}

/** Chooses the index of a stream; the streams of one connection are always the same array. */
export type Policy = (query: RouteQuery, streams: readonly StreamView[]) => number;

export type PolicyName = 'shared' | 'per-request' | 'affinity' | 'single';

export const POLICY_NAMES: readonly PolicyName[] = ['shared', 'per-request', 'affinity', 'single'];

/** With the plain streams and the cache streams that makes the 16 which a peer takes by default (B-limits). */
export const MAX_STREAMS = 12;

/** How many streams a policy gets when nobody says. */
export function defaultStreams(policy: PolicyName | Policy, workers: number): number {
  if (policy === 'single') return 1;
  if (policy === 'per-request') return 12;
  return policy === 'affinity' ? Math.max(8, workers) : Math.max(2, workers);
}

/** One connection's policy; `affinity` remembers which key went where. */
export function makePolicy(policy: PolicyName | Policy): Policy {
  if (typeof policy === 'function') return policy;
  if (policy === 'single') return () => 0;
  return policy === 'affinity' ? affinity() : leastLoaded;
}

/** A running response weighs as much as this many waiting bytes. */
const REQUEST_WEIGHT = 1024;

function load(stream: StreamView): number {
  return stream.pendingBytes + stream.requests * REQUEST_WEIGHT;
}

/** An idle open stream, else a new one, else the least loaded. */
function leastLoaded(_query: RouteQuery, streams: readonly StreamView[]): number {
  let best = 0;
  let bestLoad = Number.POSITIVE_INFINITY;
  for (const stream of streams) {
    // Half a request: a new context is worse than an idle one and better than a busy one.
    const weight = stream.open ? load(stream) : REQUEST_WEIGHT / 2;
    if (weight < bestLoad) {
      best = stream.index;
      bestLoad = weight;
    }
  }
  return best;
}

/** Keys that one connection's affinity remembers; more of them share the streams by chance. */
const MAX_KEYS = 1024;

/** Like goes with like: the same key always to the same stream, a new key to the stream that has encoded least. */
function affinity(): Policy {
  const homes = new Map<string, number>();
  return (query, streams) => {
    const key = query.key ?? query.command;
    const home = homes.get(key);
    if (home !== undefined) return home;
    let best = streams[0];
    for (const stream of streams) if (weight(stream, homes) < weight(best, homes)) best = stream;
    if (homes.size < MAX_KEYS) homes.set(key, best.index);
    return best.index;
  };
}

/** Bytes so far, and for keys that have no bytes yet, how many keys live there. */
function weight(stream: StreamView, homes: Map<string, number>): number {
  let keys = 0;
  for (const index of homes.values()) if (index === stream.index) keys++;
  return stream.bytesIn + stream.pendingBytes + keys * REQUEST_WEIGHT;
}
