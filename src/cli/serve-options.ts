/** Settings as the library's options. */

import { availableParallelism } from 'node:os';
import type { ServerOptions, UpdateOptions } from '../index.ts';
import { availableMemory } from '../lanes/memory.ts';
import { SERVER_LIMITS, type Settings } from '../ops/settings.ts';
import { DEFAULT_CACHE_BYTES, DEFAULT_MAX_CONNECTIONS } from '../server/options.ts';
import { UsageError } from './outcome.ts';
import { experimentOptions } from './serve-experiment.ts';
import { serverTls } from './tls-files.ts';

/** @throws UsageError when they contradict each other, or a file that they name cannot be what it is for. */
export async function serverOptions(all: Settings): Promise<ServerOptions> {
  checkShared(all);
  const settings = shareOf(all);
  const {
    workers,
    policy,
    streams,
    dictionaries,
    contexts,
    cacheBytes,
    relay,
    proxyProtocol,
    page,
    origins,
  } = settings;
  return {
    workers,
    policy,
    streams,
    dictionaries,
    contexts,
    cacheBytes,
    relay,
    proxyProtocol,
    http: { page, origins },
    ...changeable(settings),
    ...limitOptions(settings.limits, () => true),
    ...(await experimentOptions(settings)),
  };
}

/** @throws UsageError for what several processes cannot have together. */
function checkShared({ processes = 1, topics, relay, record }: Settings): void {
  if (processes > 1 && topics !== undefined && relay === undefined)
    throw new UsageError(
      'a topic is of one process: with --processes --topic needs --relay, which joins them',
    );
  if (processes > 1 && record !== undefined)
    throw new UsageError('a recording is of one process: --record cannot be used with --processes');
}

/** Those that an open server can take. @throws UsageError when a file that they name cannot be what it is for. */
export function updateOptions(all: Settings): UpdateOptions {
  const settings = shareOf(all);
  const isChangeable = (name: string) => name === 'maxConnections' || name === 'outputMemory';
  return { ...changeable(settings), ...limitOptions(settings.limits, isChangeable) };
}

/** What one of several processes may have of what is meant for all of them. */
function shareOf(settings: Settings): Settings {
  const { processes = 1, workers, cacheBytes, contextMemory, limits = {} } = settings;
  if (processes === 1) return settings;
  const share = (all: number) => Math.max(1, Math.floor(all / processes));
  return {
    ...settings,
    workers: share(workers ?? availableParallelism()),
    cacheBytes: Math.floor((cacheBytes ?? DEFAULT_CACHE_BYTES) / processes),
    contextMemory: share(contextMemory ?? availableMemory() / 4),
    limits: {
      ...limits,
      outputMemory: share(limits.outputMemory ?? availableMemory() / 8),
      inputMemory: share(limits.inputMemory ?? availableMemory() / 8),
      maxConnections: share(limits.maxConnections ?? DEFAULT_MAX_CONNECTIONS),
    },
  };
}

function changeable(settings: Settings): UpdateOptions {
  const { profile, level, windowLog, tuning, profileFrom, contextMemory, maxConnectionAge } = settings;
  // What an experiment has recommended stays as it is.
  const encoding = profileFrom === undefined ? { profile, level, windowLog, tuning } : {};
  return { ...encoding, contextMemory, maxConnectionAge, tls: serverTls(settings) };
}

/** Limits as options: those of connections together, those of the server that `isWanted` beside them. */
function limitOptions(
  given: Settings['limits'] = {},
  isWanted: (name: string) => boolean,
): Pick<ServerOptions, 'limits' | (typeof SERVER_LIMITS)[number]> {
  const ofServer: readonly string[] = SERVER_LIMITS;
  const limits = Object.fromEntries(Object.entries(given).filter(([name]) => !ofServer.includes(name)));
  const others = SERVER_LIMITS.filter(isWanted).map((name) => [name, given[name]]);
  return { ...Object.fromEntries(others), limits };
}
