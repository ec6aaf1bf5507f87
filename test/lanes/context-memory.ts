/** The memory of a context, measured in a process of its own. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import type { Tuning } from '../../src/encoding/codec.ts';
import { contextFreeCost, decoderCost, encoderCost } from '../../src/lanes/context-cost.ts';

const SCRIPT = fileURLToPath(new URL('../fixtures/context-memory.ts', import.meta.url));
const DECODED_WINDOW = 2 << 20;

/** What the budget counts for a context is about what it takes; `which`: profile, `enc`, `dec` or `free`, level, window, tuning or bytes of the dictionary. */
export function isAccounted(t: ExecutionContext<unknown>, which: string): void {
  const child = spawnSync(process.execPath, ['--expose-gc', SCRIPT, ...which.split(' ')], {
    encoding: 'utf8',
  });
  const measured = Number(child.stdout);
  const [profile, kind, level, windowLog, last] = which.split(' ');
  const isWithDictionary = profile === 'zstd-dict';
  const options = {
    level: Number(level),
    windowLog: windowLog === undefined ? undefined : Number(windowLog),
    ...(isWithDictionary ? { dictionary: '' } : { tuning: last as Tuning | undefined }),
  };
  const dictionaryBytes = isWithDictionary ? Number(last) : 0;
  const costs: Record<string, () => number> = {
    enc: () => encoderCost(profile, options, dictionaryBytes),
    free: () => contextFreeCost(profile, options, dictionaryBytes),
    dec: () => decoderCost(profile, DECODED_WINDOW),
  };
  const accounted = costs[kind]();
  t.true(measured > 0, `${which}: ${child.stdout}${child.stderr}`);
  t.true(accounted > 0.8 * measured && accounted < 3 * measured, `${which}: ${accounted} for ${measured}`);
}
