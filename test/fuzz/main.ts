/** `npm run fuzz -- --minutes 30 [--seed N] [--target NAME]`: all targets in turn, for as long as is asked. */

import { parseArgs } from 'node:util';
import { allTargets } from './all.ts';
import { fuzz, randomSeed } from './target.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    inputs: { type: 'string' },
    seed: { type: 'string' },
    target: { type: 'string' },
  },
});
const minutes = Number(values.minutes ?? (values.inputs === undefined ? 1 : Number.POSITIVE_INFINITY));
const inputs = Number(values.inputs ?? Number.POSITIVE_INFINITY);
const first = Number(values.seed ?? randomSeed());
const targets = allTargets().filter(({ name }) => values.target === undefined || name === values.target);
if (targets.length === 0 || !(minutes > 0) || !(inputs > 0)) {
  const names = allTargets().map(({ name }) => name);
  console.error(`usage: npm run fuzz -- [--minutes N | --inputs N] [--seed N] [--target ${names.join('|')}]`);
  process.exit(2);
}

const end = performance.now() + minutes * 60_000;
/** Each target has this long before it is the next one's turn, in milliseconds. */
const TURN = 5000;
const totals = new Map(targets.map(({ name }) => [name, { inputs: 0, frames: 0 }]));
console.log(`seed ${first}`);
for (let seed = first, round = 0; round === 0 || performance.now() < end; round++) {
  for (const target of targets) {
    const turnEnds = Math.min(end, performance.now() + TURN);
    const isOver = (tried: number) => tried >= inputs || (tried > 0 && performance.now() >= turnEnds);
    const figures = await fuzz(target, seed, isOver);
    const total = totals.get(target.name) as typeof figures;
    total.inputs += figures.inputs;
    total.frames += figures.frames;
    // The next turn begins with seeds of its own.
    seed = (seed + 0x0100_0193) >>> 0;
  }
  if (inputs !== Number.POSITIVE_INFINITY) break;
}
for (const target of targets) {
  const remarks = await target.remarks?.();
  if (remarks !== undefined) console.log(`${target.name}: ${remarks}`);
  await target.close?.();
}
console.table(Object.fromEntries(totals));
const sum = [...totals.values()].reduce((frames, total) => frames + total.frames, 0);
const rss = Math.round(process.resourceUsage().maxRSS / 1024);
console.log(`${sum} frames, no failure; peak RSS ${rss} MiB`);
process.exit(0);
