/** The report as one HTML file: charts as SVG inside, no script, nothing fetched; light or dark as the reader's system. */
import { escapeHtml, htmlPage, htmlTable } from '../src/experiment/report/html.ts';
import type { Result, TableCell } from './bench.ts';
import { drawChart } from './charts.ts';
import { describeConditions } from './conditions.ts';
import { type Report, short, verdict } from './report.ts';

/** What the page has beyond the experiment's report: verdicts. */
const STYLE = `
:root { --good: #1a7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --good: #56c98a; --bad: #ff8a80; } }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
.figures td { white-space: normal; } .figures td.number { white-space: nowrap; } .figures p { color: var(--quiet); margin: 0; }
@media (max-width: 600px) { .wide { display: none; } th, td { padding-right: 8px; } }
`;

export function asHtml(report: Report): string {
  const { machine, conditions, figures, runs } = report;
  const body = `<p class="quiet">${escapeHtml(machine.command)} · ${escapeHtml(machine.date)}${report.quick ? ' · quick' : ''} · seed ${report.seed}</p>
<p class="quiet">${escapeHtml(machine.cpu)}, ${machine.cores} cores, ${machine.memoryGiB} GiB · ${escapeHtml(machine.system)} ·
Node ${escapeHtml(machine.node)}, zstd ${escapeHtml(machine.zstd)}, zlib ${escapeHtml(machine.zlib)}</p>
${conditions ? `<p class="quiet">${escapeHtml(describeConditions(conditions))}</p>` : ''}
${figures.length > 0 ? `<h2>Figures</h2>\n${figureTable(report)}` : ''}
${runs.map(section).join('\n')}`;
  return htmlPage('millrace bench', body, STYLE);
}

function section({ bench, summary, payloads, tables, charts, skipped }: Result): string {
  return `<section>
<h2>${escapeHtml(bench)}</h2>
<p>${escapeHtml(summary)}</p>
<div class="charts">${charts.map(drawChart).join('\n')}</div>
${tables.map(({ title, columns, rows, note }) => `<h3>${escapeHtml(title)}</h3>\n${table(columns, rows)}${note ? `<p class="quiet">${escapeHtml(note)}</p>` : ''}`).join('\n')}
<ul class="quiet">
${payloads.map(({ name, description, count, seed, sha256 }) => `<li>payloads ${escapeHtml(name)}: ${escapeHtml(description)}, ${count} distinct, seed ${seed}, sha256 ${sha256}…</li>`).join('\n')}
${skipped.map((each) => `<li>left out: ${escapeHtml(each)}</li>`).join('\n')}
</ul>
</section>`;
}

function figureTable({ figures }: Report): string {
  const rows = figures.map(({ id, what, value, spread, goal, unit, ok }) => {
    const cells = [
      `<td><code>${id.replace(/[._]/g, '$&<wbr>')}</code><p>${escapeHtml(what)}</p></td>`,
      `<td class="number">${value === null ? '–' : `${short(value)} ${unit}`}</td>`,
      `<td class="number wide">${spread ? `${short(spread[0])} … ${short(spread[1])}` : ''}</td>`,
      `<td class="number">${escapeHtml(goal)}</td>`,
      `<td class="${ok === null ? '' : verdict(ok)}">${ok === null ? 'not measured' : verdict(ok)}</td>`,
    ];
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<table class="figures"><tr><th>figure</th><th class="number">value</th><th class="number wide">rounds</th><th class="number">goal</th><th></th></tr>
${rows.join('\n')}</table>`;
}

function table(columns: readonly string[], rows: readonly (readonly TableCell[])[]): string {
  const isNumber = (column: number) => rows.every((row) => typeof row[column] !== 'string');
  return htmlTable(
    columns,
    rows.map((row) => row.map(short)),
    isNumber,
  );
}
