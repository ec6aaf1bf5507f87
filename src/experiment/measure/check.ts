/**
 * The check against the real thing: what an experiment promises of a setting, against a server of its own that runs it.
 *
 * Both are measured anew, in turns, round by round: on a machine that is shared with others the same server, asked
 * twice one after the other, may differ by a quarter, but from one round to the next it rarely does. The promise's rounds
 * are like those of all other cells, on the lanes that all cells share; the check's are of a server whose lanes are new.
 */

import type { Cell } from '../grid/cell.ts';
import type { Check } from '../results/results.ts';
import type { Workload } from '../traffic/workload.ts';
import {
  cpuOf,
  LoadedServer,
  type LoadRound,
  laneMicrosPerMB,
  mainMicrosPerResponse,
  type TestBed,
} from './load.ts';
import type { TimeLimit } from './time-limit.ts';

/** After a first round each, in which code is compiled and threads are cold. */
const TURNS = { least: 2, most: 6 };

/** Takes as many turns as there is time for. @throws Error when a request fails, or the reason of `signal`. */
export async function checkInServer(
  bed: TestBed,
  cell: Cell,
  limit: TimeLimit,
  signal?: AbortSignal,
): Promise<Check> {
  const { workload } = bed.options;
  const shared = await LoadedServer.start(bed, cell, { ownLanes: false });
  try {
    const own = await LoadedServer.start(bed, cell, { ownLanes: true });
    try {
      await shared.round();
      const first = await own.round();
      const promised: LoadRound[] = [];
      const checked: LoadRound[] = [];
      while (checked.length < TURNS.least || (checked.length < TURNS.most && limit.left > 0)) {
        signal?.throwIfAborted();
        // Neither is always the one that comes after the other.
        const ownFirst = checked.length % 2 === 1;
        if (ownFirst) checked.push(await own.round());
        promised.push(await shared.round());
        if (!ownFirst) checked.push(await own.round());
      }
      return {
        ratio: ratioOf([first, ...checked]),
        ...costs(checked, workload),
        promised: costs(promised, workload),
      };
    } finally {
      await own.close();
    }
  } finally {
    await shared.close();
  }
}

function costs(rounds: readonly LoadRound[], workload: Workload) {
  const main = rounds.map(mainMicrosPerResponse);
  return {
    compress: cpuOf(rounds.map(laneMicrosPerMB), workload),
    mainMicrosPerResponse: main.reduce((sum, each) => sum + each, 0) / main.length,
  };
}

/** Bytes of responses for one byte on the wire. */
function ratioOf(rounds: readonly LoadRound[]): number {
  const sum = (of: (round: LoadRound) => number) => rounds.reduce((total, round) => total + of(round), 0);
  const out = sum(({ bytesOut }) => bytesOut);
  const bytes = sum((round) => round.bytes);
  // Identity goes out from the main thread: no lane has seen it.
  return out === 0
    ? bytes / (bytes + 8 * sum(({ responses }) => responses))
    : sum(({ bytesIn }) => bytesIn) / out;
}
