/** What the lanes of a server are started with, and who hears of it when one is lost. */

import type { Turns } from '../connection/turns.ts';
import type { LanePoolOptions } from '../lanes/pool.ts';
import type { Suspect } from '../lanes/quarantine.ts';
import { given } from '../options/rules.ts';
import { laneLost } from './channels.ts';
import type { CommandTable } from './commands.ts';
import type { ServerDictionaries } from './dictionaries.ts';
import type { Report } from './error-log.ts';
import type { CheckedOptions, ErrorContext } from './options.ts';
import type { Server } from './server.ts';

/** What the lanes of `server` need of it beside its options. */
export interface LaneNeeds {
  readonly server: Server;
  readonly commands: CommandTable;
  readonly dictionaries: ServerDictionaries;
  readonly turns: Turns;
  readonly report: Report;
}

export function laneOptions(options: CheckedOptions, needs: LaneNeeds): LanePoolOptions {
  const { workers, codecs, coalesceMs, cacheLevel, cacheBytes } = options;
  const { contextMemory, streamIdleTimeout, streamLifetime, laneTimeout, quarantine, resourceLimits } =
    options;
  const { commands, dictionaries, turns, report } = needs;
  return {
    workers,
    handlers: commands.modules,
    dictionaries: [...dictionaries.byId.values()],
    codecs,
    coalesceMs,
    cacheLevel,
    caching: cacheBytes > 0,
    contextMemory,
    streamIdleTimeout,
    streamLifetime,
    laneTimeout,
    quarantine: quarantine && given(quarantine),
    resourceLimits,
    turns,
    onLost: tellLost(needs),
    onError: (error) => report(error, {}),
  };
}

function tellLost({ server, report }: LaneNeeds): LanePoolOptions['onLost'] {
  return (lane, error, suspects) => {
    report(error, { lane, ...contextOf(suspects) });
    if (laneLost.hasSubscribers) laneLost.publish({ server, lane, error });
  };
}

/** What a worker died of, as error hooks are told. */
function contextOf(suspects: readonly Suspect[]): ErrorContext {
  if (suspects.length === 0) return {};
  const [{ kind, name }] = suspects;
  const names = { suspects: suspects.map((each) => `${each.kind} '${each.name}'`) };
  return suspects.length === 1 && kind === 'command' ? { command: name, ...names } : names;
}
