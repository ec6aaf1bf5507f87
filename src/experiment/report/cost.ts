/** What a setting costs in money: bytes that leave, CPU, and memory of the contexts of all connections. */

import {
  bytesSent,
  type DoneCell,
  doneCells,
  memoryAt,
  type Prices,
  type Results,
} from '../results/results.ts';

const SECONDS_PER_MONTH = (365.25 / 12) * 86_400;
const GB = 1e9;

/** Money a month; the parts add up to `total`. */
export interface MonthlyCost {
  readonly traffic: number;
  readonly cpu: number;
  readonly memory: number;
  readonly total: number;
}

export function monthlyCost({ measures }: DoneCell, responses: number, prices: Prices): MonthlyCost {
  const { compress, mainMicrosPerResponse } = measures;
  const micros = compress.microsPerResponse + mainMicrosPerResponse;
  return cost(bytesSent(measures) / responses, micros, memoryAt(measures, prices.connections), prices);
}

/** HTTP with the same encoding: a context for each response, kept by none. Missing for `identity`. */
export function httpCost(
  { measures }: DoneCell,
  { bytes, responses }: Results['setup'],
  prices: Prices,
): MonthlyCost | undefined {
  const { http, mainMicrosPerResponse } = measures;
  if (http === null) return undefined;
  const each = bytes / responses;
  return cost(each / http.ratio, (http.compressMicrosPerMB * each) / 1e6 + mainMicrosPerResponse, 0, prices);
}

/** The setting that a server has by itself, where it was measured. */
export function todaysCell(cells: Results['cells']): DoneCell | undefined {
  return doneCells(cells).find(({ cell }) => {
    const { profile, level = 3, windowLog, tuning, contexts, dictionary, policy, streams, coalesceMs } = cell;
    const byDefault =
      [windowLog, tuning, contexts, dictionary].every((each) => each === undefined) && coalesceMs === 0;
    return profile === 'zstd-8mb' && level === 3 && byDefault && policy === 'shared' && streams === 2;
  });
}

/** `bytes` and `micros`: of one response; `memoryBytes`: of all contexts. */
function cost(bytes: number, micros: number, memoryBytes: number, prices: Prices): MonthlyCost {
  const responses = prices.responsesPerSecond * SECONDS_PER_MONTH;
  const traffic = ((bytes * responses) / GB) * prices.gb;
  const cpu = ((micros * responses) / 1e6 / 3600) * prices.cpuHour;
  const memory = (memoryBytes / GB) * prices.gbMemoryMonth;
  return { traffic, cpu, memory, total: traffic + cpu + memory };
}
