/** The import graph of the sources, as the TypeScript parser sees it: which module imports which, and how. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';

/** One import or re-export. */
export interface Import {
  /** The importing module, as a path from the root of the project. */
  readonly from: string;
  /** The module that is imported: a path from the root for our own, else the name as written. */
  readonly to: string;
  /** True when nothing of it is left at run time. */
  readonly typeOnly: boolean;
}

export const ROOT = resolve(import.meta.dirname, '../..');

/** All modules below the folders, as paths from the root. */
export function modulesBelow(...folders: readonly string[]): string[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts'))
        .map((name) => join(folder, name).split(sep).join('/')),
    )
    .sort();
}

const COMMENTS = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
const STATIC = /^\s*(?:import|export)\b(?:[^'";]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

/** The text of a module without its comments. */
export function codeOf(module: string): string {
  return readFileSync(join(ROOT, module), 'utf8').replace(COMMENTS, '');
}

/** Everything that `module` imports or re-exports. */
export function importsOf(module: string): Import[] {
  const code = codeOf(module);
  const found: Import[] = [];
  for (const [statement, name] of code.matchAll(STATIC)) {
    found.push({ from: module, to: target(module, name), typeOnly: isTypeOnly(statement) });
  }
  for (const [, name] of code.matchAll(DYNAMIC)) {
    found.push({ from: module, to: target(module, name), typeOnly: false });
  }
  return found;
}

/** Nothing is left of `import type …`, nor of an import all of whose names are types. */
function isTypeOnly(statement: string): boolean {
  if (/^\s*(?:import|export)\s+type\b/.test(statement)) return true;
  const names = /\{([^}]*)\}/.exec(statement)?.[1];
  if (names === undefined || /^\s*import\s+\w+\s*,/.test(statement)) return false;
  const each = names.split(',').filter((name) => name.trim() !== '');
  return each.length > 0 && each.every((name) => /^\s*type\s/.test(name));
}

function target(from: string, name: string): string {
  if (!name.startsWith('.')) return name;
  return relative(ROOT, resolve(ROOT, dirname(from), name))
    .split(sep)
    .join('/');
}

/** The modules that run when `roots` are loaded, those included; packages and `node:` modules as written. */
export function loadedBy(roots: readonly string[]): Set<string> {
  const loaded = new Set<string>();
  const todo = [...roots];
  for (let module = todo.pop(); module !== undefined; module = todo.pop()) {
    if (loaded.has(module)) continue;
    loaded.add(module);
    if (!module.endsWith('.ts')) continue;
    for (const { to, typeOnly } of importsOf(module)) if (!typeOnly) todo.push(to);
  }
  return loaded;
}
