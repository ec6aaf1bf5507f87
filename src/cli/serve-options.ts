/** Settings as the library's options. */

import type { ServerOptions, UpdateOptions } from '../index.ts';
import { SERVER_LIMITS, type Settings } from '../ops/settings.ts';
import { experimentOptions } from './serve-experiment.ts';
import { serverTls } from './tls.ts';

/** @throws UsageError when a file that they name cannot be what it is for. */
export async function serverOptions(settings: Settings): Promise<ServerOptions> {
  const { workers, policy, streams, cacheBytes } = settings;
  return {
    workers,
    policy,
    streams,
    cacheBytes,
    ...changeable(settings),
    ...limitOptions(settings.limits, () => true),
    ...(await experimentOptions(settings)),
  };
}

/** Those that an open server can take. @throws UsageError when a file that they name cannot be what it is for. */
export function updateOptions(settings: Settings): UpdateOptions {
  const isChangeable = (name: string) => name === 'maxConnections' || name === 'outputMemory';
  return { ...changeable(settings), ...limitOptions(settings.limits, isChangeable) };
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
