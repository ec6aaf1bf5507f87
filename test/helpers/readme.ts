/** README.md and the code in it. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './imports.ts';

export const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

/** The code blocks of one language, in order. */
export function blocks(language: string): string[] {
  return [...README.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, code]) => code);
}
