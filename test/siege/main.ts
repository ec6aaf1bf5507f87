/**
 * `node test/siege/main.ts [--seconds 5] [--rest 10] [--only WORD] [--markdown]`: attacks a server in every way that is
 * known, one after the other, and says what innocent clients have noticed. Ends by itself.
 */

import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { ATTACKS, besiege, type SiegeFigures } from './siege.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rest: { type: 'string', default: '10' },
    only: { type: 'string', default: '' },
    markdown: { type: 'boolean', default: false },
  },
});

const HEAD = [
  'attack',
  'size',
  'longest stall, ms',
  'of it CPU, ms',
  "innocent's p99, ms",
  'of pings',
  'new client, p99 / longest, ms',
  'RSS before, peak, after, MiB',
  'shutdown, ms more',
  'failures',
];

function row(of: SiegeFigures): string[] {
  const mebibytes = [of.rssBefore, of.rssPeak, of.rssAfter].map((bytes) => Math.round(bytes / 2 ** 20));
  const cells = [of.name, of.size, of.stallMs, of.stallCpuMs, of.callP99Ms, of.pingP99Ms];
  const arrivals = `${of.arrivalP99Ms} / ${of.arrivalMaxMs}`;
  return [...cells, arrivals, mebibytes.join(', '), of.shutdownMs, of.failures].map(String);
}

const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
const { markdown } = values;
const rows: string[][] = [];
if (markdown) console.log(`${line(HEAD)}\n${line(HEAD.map(() => '---'))}`);
for (const { name } of ATTACKS.filter((attack) => attack.name.includes(values.only))) {
  const figures = await besiege(name, { seconds: Number(values.seconds), restSeconds: Number(values.rest) });
  rows.push(row(figures));
  if (markdown) console.log(line(row(figures)));
  else process.stderr.write(`${name}: ${JSON.stringify(figures)}\n`);
}
if (!markdown) {
  const table = new Table({ head: HEAD, wordWrap: true });
  table.push(...rows);
  console.log(table.toString());
}
process.exit(0);
