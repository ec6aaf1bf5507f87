/** The live page as `npm run build:page` makes it, made again where its source is newer. */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../helpers/imports.ts';

const SOURCES = ['src/page', 'src/client', 'src/wire', 'src/connection', 'src/reactor', 'src/encoding'];

export function buildPage(): void {
  const built = join(ROOT, 'dist/browser/page/page.js');
  const builtMs = existsSync(built) ? statSync(built).mtimeMs : 0;
  if (SOURCES.some((folder) => newestMs(join(ROOT, folder)) > builtMs))
    execFileSync('npm', ['run', '--silent', 'build:page'], { cwd: ROOT });
}

function newestMs(folder: string): number {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return Math.max(...names.map((name) => statSync(join(folder, name)).mtimeMs));
}
