/** millrace itself: one command, `get`, which answers with payload `i`. */
import {
  type CommandRequest,
  cached,
  connect,
  createServer,
  DEFAULT_LIMITS,
  type Output,
  type PolicyName,
} from '../../src/index.ts';
import { share } from '../lane-handler.ts';
import type { Payloads } from '../payloads.ts';
import { watch } from '../watched.ts';
import { CONNECT_MS, type Peer } from './peer.ts';

const indexOf = (request: CommandRequest) => Number(request.text('i'));

export const millracePeer: Peer = {
  name: 'millrace',
  describe: 'zstd level 3, one lane and one stream per core, handler on the main thread',
  async serve(
    payloads,
    {
      workers,
      level,
      tuning,
      profile,
      policy,
      streams,
      handler = 'main',
      cached: fromCache,
      dictionary,
      contexts,
      watched,
    },
  ) {
    const server = createServer({
      ...(workers !== undefined && { workers }),
      ...(level !== undefined && { level }),
      ...(tuning !== undefined && { tuning }),
      ...(profile !== undefined && { profile }),
      ...(policy !== undefined && { policy: policy as PolicyName }),
      ...(streams !== undefined && { streams }),
      ...(dictionary !== undefined && { dictionaries: [{ file: dictionary }] }),
      ...(contexts !== undefined && { contexts }),
      ...(fromCache && { cacheBytes: 2 * payloads.bytes }),
      commands: { get: handler === 'worker' ? inLanes(payloads) : onMainThread(payloads, fromCache) },
      onError: (error, about) => process.stderr.write(`millrace server: ${about.command ?? ''} ${error}\n`),
    });
    const unwatch = watched && (await watch(server, watched));
    const address = await server.listen({ host: '127.0.0.1', port: 0 });
    if (!('port' in address)) throw new Error('not listening on TCP');
    return {
      port: address.port,
      async encodedFrames() {
        const { lanes } = await server.stats();
        return lanes.reduce((sum, { frames }) => sum + frames, 0);
      },
      close: () => {
        unwatch?.();
        return server.close(0);
      },
    };
  },
  async connect(port, { profile, dictionary, dictionaryCache }) {
    const client = await connect(
      { host: '127.0.0.1', port },
      {
        timeoutMs: CONNECT_MS,
        ...(profile !== undefined && { profiles: [profile] }),
        ...(dictionaryCache && { dictionaryCache }),
      },
    );
    while (dictionary !== undefined && client.stats().dictionaries.length === 0) await client.ping();
    const turn = new Turnstile(DEFAULT_LIMITS.maxConcurrentRequests);
    return {
      async fetch(i) {
        const wait = turn.enter();
        if (wait) await wait;
        try {
          return await client.call('get', { args: { i: `${i}` } }).bytes();
        } finally {
          turn.leave();
        }
      },
      close: () => client.close(),
    };
  },
};

function onMainThread(payloads: Payloads, fromCache = false): (request: CommandRequest) => Output {
  if (!fromCache) return (request) => payloads.get(indexOf(request));
  return (request) => {
    const i = indexOf(request) % payloads.count;
    return cached(`${i}`, () => payloads.get(i));
  };
}

function inLanes(payloads: Payloads) {
  return { module: new URL('../lane-handler.ts', import.meta.url), options: share(payloads) };
}

/** Keeps an open loop within the requests that a server takes at once; the wait counts as latency. */
class Turnstile {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  enter(): Promise<void> | undefined {
    if (this.#free > 0) {
      this.#free--;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
