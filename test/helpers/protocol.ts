/** docs/protocol.md as tests read it: its text, its sections, their labels. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './imports.ts';

export const DOCUMENT = readFileSync(join(ROOT, 'docs/protocol.md'), 'utf8');

/** Labels of the sections that have a heading, parts among them. */
export const LABELS: readonly string[] = [...DOCUMENT.matchAll(/^#{2,3} ([A-D](?:\d+|-[a-z]+)?)\. /gm)].map(
  ([, label]) => label,
);

/** Labels of the numbered rules of part B. */
export const RULES: readonly string[] = [...DOCUMENT.matchAll(/^\* \*\*(B\d+)\. /gm)].map(
  ([, label]) => label,
);

/** The text of a section, from its heading to the next one. */
export function section(label: string): string {
  const start = DOCUMENT.search(new RegExp(`^#{2,3} ${label}\\. `, 'm'));
  if (start < 0) throw new Error(`docs/protocol.md has no section ${label}`);
  const end = DOCUMENT.slice(start + 3).search(/^#{2,3} /m);
  return DOCUMENT.slice(start, end < 0 ? undefined : start + 3 + end);
}
