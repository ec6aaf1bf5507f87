/** The report as one HTML file: charts as SVG inside, no script, nothing fetched; light or dark as the reader's system. */
import type { Cell, Result } from './bench.ts';
import { drawChart } from './charts.ts';
import { type Report, short, verdict } from './report.ts';

const STYLE = `
:root { color-scheme: light dark; --text: #1c2430; --quiet: #5b6675; --back: #fff; --line: #d8dee6; --good: #1a7f4b;
  --bad: #b3261e; --series-1: #2b6cb0; --series-2: #c05621; --series-3: #2f855a; --series-4: #805ad5; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --quiet: #9aa6b5; --back: #12161c; --line: #323b47;
  --good: #56c98a; --bad: #ff8a80; --series-1: #63a4e8; --series-2: #f0955a; --series-3: #68c990; --series-4: #b39df5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 16px; font: 15px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--back); }
h1 { font-size: 1.5rem; margin: 8px 0; } h2 { margin: 32px 0 4px; font-size: 1.25rem; }
h3, caption { font-size: 1rem; font-weight: 600; text-align: left; margin: 16px 0 4px; }
p, li { color: var(--quiet); margin: 4px 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td p { margin: 0; } 
@media (max-width: 600px) { .wide { display: none; } th, td { padding-right: 8px; } }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 16px; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: 14px; } svg { max-width: 100%; height: auto; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
`;

export async function asHtml(report: Report): Promise<string> {
  const { machine, figures, runs } = report;
  const sections = await Promise.all(runs.map(section));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>millrace bench</title>
<style>${STYLE}</style>
</head>
<body>
<h1>millrace bench</h1>
<p>${escapeHtml(machine.command)} · ${escapeHtml(machine.date)}${report.quick ? ' · quick' : ''} · seed ${report.seed}</p>
<p>${escapeHtml(machine.cpu)}, ${machine.cores} cores, ${machine.memoryGiB} GiB · ${escapeHtml(machine.system)} ·
Node ${escapeHtml(machine.node)}, zstd ${escapeHtml(machine.zstd)}, zlib ${escapeHtml(machine.zlib)}</p>
${figures.length > 0 ? `<h2>Figures</h2>\n${figureTable(report)}` : ''}
${sections.join('\n')}
</body>
</html>
`;
}

async function section({ bench, summary, payloads, tables, charts, skipped }: Result): Promise<string> {
  const drawn = await Promise.all(
    charts.map(
      async (chart) =>
        `<figure><figcaption>${escapeHtml(chart.title)}</figcaption>${await drawChart(chart)}</figure>`,
    ),
  );
  return `<section>
<h2>${escapeHtml(bench)}</h2>
<p>${escapeHtml(summary)}</p>
<div class="charts">${drawn.join('\n')}</div>
${tables.map(({ title, columns, rows, note }) => `<h3>${escapeHtml(title)}</h3>\n${table(columns, rows)}${note ? `<p>${escapeHtml(note)}</p>` : ''}`).join('\n')}
<ul>
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

function table(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const kind = columns.map((_, i) =>
    rows.every((row) => typeof row[i] !== 'string') ? ' class="number"' : '',
  );
  const head = columns.map((name, i) => `<th${kind[i]}>${escapeHtml(name)}</th>`).join('');
  const body = rows.map(
    (row) => `<tr>${row.map((cell, i) => `<td${kind[i]}>${escapeHtml(short(cell))}</td>`).join('')}</tr>`,
  );
  return `<div class="scroll"><table><tr>${head}</tr>\n${body.join('\n')}</table></div>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
