/** The parts of a report that is one HTML file: nothing fetched, light or dark as the reader's system. */

import { visible } from '../../wire/visible.ts';
import { STYLE } from './style.ts';

/** Text for a page, be it of a name that was chosen to look like another one. */
export function escapeHtml(text: string): string {
  return visible(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The same for text of several lines, whose ends stay. */
export function escapeLines(text: string): string {
  return text.split('\n').map(escapeHtml).join('\n');
}

/** A whole page. `style` comes after the looks that all pages have; `body` is HTML. */
export function htmlPage(title: string, body: string, style = ''): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}${style}</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
${body}
</body>
</html>
`;
}

/** `isNumber`: which columns are set to the right. */
export function htmlTable(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  isNumber: (column: number) => boolean = (column) => column > 0,
): string {
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell, i) => `<${tag}${isNumber(i) ? ' class="number"' : ''}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
  return `<div class="scroll"><table>${row(columns, 'th')}\n${rows.map((cells) => row(cells, 'td')).join('\n')}</table></div>`;
}
