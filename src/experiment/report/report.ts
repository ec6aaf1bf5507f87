/**
 * The report as one HTML file: charts as SVG inside, nothing fetched, light or dark as the reader's system. Its one
 * script shows a point's details; without it the browser's own hint does.
 */

import { type Cell, cellName, encodingKey } from '../grid/cell.ts';
import {
  type AdaptiveTable,
  type CellResult,
  type DoneCell,
  doneCells,
  type Recommendation,
  type Results,
} from '../results/results.ts';
import { inBits, inBytes, inTime, percent, plural, short } from '../results/text.ts';
import { aimTable, aimTitle, unmetBudget } from './aims.ts';
import { paretoCharts } from './charts.ts';
import { dictionaryMethod, dictionarySection } from './dictionaries.ts';
import { escapeHtml, htmlPage, htmlTable } from './html.ts';
import { drawChart } from './plot.ts';
import { checkText } from './recommend.ts';
import { TIP_SCRIPT } from './style.ts';

export function makeReport(results: Results): string {
  const { cells, recommendations, setup } = results;
  const done = doneCells(cells);
  const title = `millrace experiment: ${setup.sources.join(', ')}`;
  const body = `${introduction(results)}
<h2>Recommended</h2>
${recommendations.length > 0 ? recommendations.map((each) => recommendation(each, results)).join('\n') : '<p>No setting with a profile that every peer decodes was measured.</p>'}
${budgetNote(results)}
<h2>What there is to choose from</h2>
<div class="charts">${paretoCharts(results, done).map(drawChart).join('\n')}</div>
${dictionarySection(results)}
<h2>By command</h2>
${byCommand(done, recommendations)}
<h2>Behind a link</h2>
${linkTable(done, recommendations)}
${results.adaptive === undefined ? '' : adaptiveSection(results.adaptive)}
<h2>All settings</h2>
${cellTable(done)}
${failures(cells)}
${skippedList(results)}
<h2>How this was measured</h2>
${method(results)}
<div id="tip" hidden></div>
<script>${TIP_SCRIPT}</script>`;
  return htmlPage(title, body);
}

function introduction({ setup, machine, date, cells, shortened }: Results): string {
  const { responses, bytes, connections, seed, sha256, cut, timed, inFlight, training } = setup;
  const traffic = `${short(responses)} responses, ${inBytes(bytes)}${cut ? ' (the sources have more)' : ''}, on ${connections === 1 ? 'one connection' : `${connections} connections`}, ${timed ? 'at the times of the capture' : `${inFlight} requests in flight`}`;
  const system = `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, zstd ${setup.zstd}, zlib ${setup.zlib}, brotli ${setup.brotli}`;
  const trained =
    training === undefined
      ? ''
      : ` Dictionaries were trained on ${short(training.responses)} others, ${inBytes(training.bytes)}.`;
  return `<p>${escapeHtml(traffic)}.${trained} ${cells.length} settings. Seed ${seed}, digest of the traffic ${sha256}.${shortened === undefined ? '' : ` ${escapeHtml(shortened)}`}</p>
<p class="quiet">${escapeHtml(`${system} · ${date.slice(0, 16).replace('T', ' ')} UTC${workers(cells)}`)}</p>`;
}

/** Whose CPU the figures are where they are not this machine's. */
function workers(cells: readonly CellResult[]): string {
  const hosts = [...new Set(cells.flatMap(({ host }) => host ?? []))].sort();
  return hosts.length === 0
    ? ''
    : ` · settings measured by workers on ${hosts.join(', ')}; checks on this machine`;
}

function recommendation({ aim, key, text, flags, checked }: Recommendation, results: Results): string {
  const prose = [text, checked === undefined ? '' : checkText(checked)].filter(Boolean).join(' ');
  return `<h3>${escapeHtml(aimTitle(aim, results))}</h3>
${aimTable(key, aim, results)}
${prose === '' ? '' : `<p>${escapeHtml(prose)}</p>`}
<pre>millrace serve DIR ${unbrokenFlags(flags)}</pre>`;
}

function budgetNote(results: Results): string {
  const note = unmetBudget(results);
  return note === undefined ? '' : `<p>${escapeHtml(note)}</p>`;
}

/** Flags as text whose lines end between two of them only: a narrow screen's end would cut one after its `--`. */
function unbrokenFlags(flags: string): string {
  return flags
    .split(/ (?=--)/)
    .map((flag) => `<span>${escapeHtml(flag)}</span>`)
    .join(' ');
}

function recommended(done: readonly DoneCell[], recommendations: readonly Recommendation[]): DoneCell[] {
  const keys = new Set(recommendations.map(({ key }) => key));
  return done.filter(({ key }) => keys.has(key));
}

function byCommand(done: readonly DoneCell[], recommendations: readonly Recommendation[]): string {
  const chosen = recommended(done, recommendations);
  const names = chosen[0]?.measures.commands.slice(0, MAX_COMMANDS).map(({ command }) => command) ?? [];
  const rows = names.map((name) => {
    const found = chosen.map(({ measures }) => measures.commands.find(({ command }) => command === name));
    const first = found[0];
    return [
      name,
      short(first?.responses ?? 0),
      inBytes(first?.bytes ?? 0),
      ...found.map((row) => (row === undefined ? '–' : (row.bytes / row.wireBytes).toFixed(2))),
    ];
  });
  const columns = ['command', 'responses', 'bytes', ...chosen.map(({ cell }) => `ratio, ${cellName(cell)}`)];
  const unsaid = (chosen[0]?.measures.commands.length ?? 0) - names.length;
  return `${htmlTable(columns, rows)}${unsaid > 0 ? `<p class="quiet">and ${unsaid} smaller ones, see results.json</p>` : ''}`;
}

/** Commands beyond these are in results.json. */
const MAX_COMMANDS = 30;

function linkTable(done: readonly DoneCell[], recommendations: readonly Recommendation[]): string {
  const plain = done.filter(({ cell }) => cell.profile === 'identity').slice(0, 1);
  const shown = [...new Set([...recommended(done, recommendations), ...plain])];
  const rows = shown.flatMap(({ cell, measures }) =>
    measures.links.map(
      ({ bitsPerSecond, firstByteMs, responseMs, responsesPerSecond, linkBusy, threadBusy }) => [
        cellName(cell),
        inBits(bitsPerSecond),
        inTime(firstByteMs.p50),
        inTime(responseMs.p50),
        inTime(responseMs.p99),
        short(responsesPerSecond),
        linkBusy > threadBusy ? `link ${percent(100 * linkBusy)}` : `CPU ${percent(100 * threadBusy)}`,
      ],
    ),
  );
  const columns = [
    'setting',
    'link',
    'first byte, p50',
    'response, p50',
    'response, p99',
    'responses/s',
    'busiest',
  ];
  return htmlTable(columns, rows);
}

function adaptiveSection({ rungs, rows }: AdaptiveTable): string {
  const names = rungs.map((rung) => (rung === 'plain' ? 'plain' : `level ${rung}`));
  const columns = ['link', ...names, 'adaptive', 'of the best'];
  const cells = rows.map(({ link, fixed, adaptive, share }) => [
    link,
    ...fixed.map(short),
    short(adaptive),
    percent(100 * share),
  ]);
  return `<h2>Policy adaptive</h2>
<p>Simulated responses per second, with each rung of the ladder alone and with the policy <code>adaptive</code>, which
climbs while the link waits and descends while the lanes do. Between two rungs it mixes them, and can beat both.</p>
${htmlTable(columns, cells)}`;
}

function cellTable(done: readonly DoneCell[]): string {
  const rows = done.map(({ cell, measures }) => [
    cellName(cell),
    measures.ratio.toFixed(3),
    `${measures.ratioSpread.p5.toFixed(2)} … ${measures.ratioSpread.p95.toFixed(2)}`,
    percent(measures.single.morePercent),
    measures.http === null ? '–' : measures.http.ratio.toFixed(2),
    short(measures.compress.microsPerMB),
    short(measures.compress.microsPerResponse),
    short(measures.mainMicrosPerResponse),
    short(measures.decompress.microsPerMB),
    inBytes(measures.contextBytes),
    inBytes(measures.connectionBytes),
    inBytes(measures.laneBytes ?? 0),
  ]);
  const columns = [
    'setting',
    'ratio',
    'ratio of a response, p5 … p95',
    'more bytes than one context',
    'ratio by HTTP',
    'compress, µs/MB',
    'compress, µs/response',
    'main thread, µs/response',
    'decompress, µs/MB',
    'one context',
    'per connection',
    'for all connections',
  ];
  return htmlTable(columns, rows);
}

function skippedList({ skipped = [], skippedCount = 0 }: Results): string {
  if (skippedCount === 0) return '';
  const items = skipped.map(({ path, error }) => `<li>${escapeHtml(`${path}: ${error}`)}</li>`);
  const unsaid = skippedCount - skipped.length;
  return `<h2>Not part of the traffic</h2>
<ul>${items.join('')}</ul>${unsaid > 0 ? `<p class="quiet">and ${unsaid} more</p>` : ''}`;
}

function failures(cells: readonly CellResult[]): string {
  const failed = cells.filter(({ error }) => error !== undefined);
  if (failed.length === 0) return '';
  const items = failed.map(
    ({ cell, error }) => `<li>${escapeHtml(cellName(cell))}: ${escapeHtml(error ?? '')}</li>`,
  );
  return `<h3>Failed</h3><ul>${items.join('')}</ul>`;
}

function method({ setup, cells }: Results): string {
  const encodings = new Set(cells.map(({ cell }: { cell: Cell }) => encodingKey(cell))).size;
  return `<p>Every response went through the server's own lanes and contexts, frame by frame, and came back through its
decoders; what came back was compared. Ratios are bytes of responses for one byte on the wire, with frame headers. Which
stream a response takes is the server's policy under a model of ${setup.timed ? 'the times of the capture' : `${setup.inFlight} requests in flight that end in order`},
so sizes are the same in every run.</p>
<p>CPU to compress is that of the lanes' threads, with all they do, in the server under load: clients in a process of their
own ask over loopback for the same responses, ${setup.inFlight} in flight on each connection, and the next when one is
answered. Each setting was to have ${plural(setup.rounds, 'such round')} of at most 4 MiB of responses, in turns with all
others; the figures are their means. What is recommended was checked in a server of its own under rounds with all responses,
in turns with such rounds on the lanes of the experiment: two figures to compare with each other, not with the tables. The
main thread's CPU is of the same load, with handlers that have their bytes at hand. CPU to decompress is that of decoders
which are kept busy. The memory of a context is the growth of a process that has just that open (${encodings}
encodings); without contexts it is that of an encoder which all connections of a lane have in common. HTTP is each response compressed alone, on a sample of the same responses, without HTTP's headers, in a loop.</p>
${dictionaryMethod(setup)}
<p>Times behind a link are simulated: a request takes its part of the main thread, a frame waits for its stream's lane (${setup.workers} of them), takes its share of the
measured CPU by size, waits for the link, takes its wire bytes over the link's speed, and waits for the client's one
decoder. Left out are the round trip, packet headers and what handlers do.</p>`;
}
