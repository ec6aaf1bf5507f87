/** Who can name a function can name what it takes and gives: every type that an entry's declarations reach is exported. */

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { ROOT } from '../helpers/imports.ts';

interface Module {
  /** Text of each declaration, by its name. */
  readonly declared: Map<string, string>;
  /** Where a name comes from: a module of ours and the name there. */
  readonly imported: Map<string, [path: string, name: string]>;
  readonly exported: Map<string, [path: string, name: string]>;
  readonly stars: string[];
}

const DECLARATION =
  /^(?:export )?(?:default )?(?:declare )?(?:abstract )?(?:interface|type|class|function|const|enum) (\w+)/;
const NAMES = /^(import|export) (?:type )?\{([^}]*)\} from '(\.[^']+)';/;

const modules = new Map<string, Module>();

function moduleAt(path: string): Module {
  const known = modules.get(path);
  if (known !== undefined) return known;
  const module: Module = { declared: new Map(), imported: new Map(), exported: new Map(), stars: [] };
  modules.set(path, module);
  const text = readFileSync(path, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '');
  // A statement begins at the margin; what closes one does too.
  for (const statement of text.split(/\n(?=[a-z])/)) read(module, path, statement.trim());
  return module;
}

function read(module: Module, path: string, statement: string): void {
  const at = (to: string) => join(dirname(path), to.replace(/\.[jt]s$/, '.d.ts'));
  const star = /^export (?:type )?\* from '([^']+)'/.exec(statement);
  if (star) module.stars.push(at(star[1]));
  const [, kind, names, from] = NAMES.exec(statement) ?? [];
  for (const each of names?.split(',') ?? []) {
    const [name, as = name] = each
      .replace(/^\s*type /, '')
      .trim()
      .split(' as ');
    if (name !== '') (kind === 'import' ? module.imported : module.exported).set(as, [at(from), name]);
  }
  const declared = DECLARATION.exec(statement)?.[1];
  if (declared === undefined) return;
  module.declared.set(declared, (module.declared.get(declared) ?? '') + statement);
  if (statement.startsWith('export')) module.exported.set(declared, [path, declared]);
}

/** Where `name`, as `path` exports it, is declared. */
function originOf(path: string, name: string): string {
  const module = moduleAt(path);
  if (module.declared.has(name)) return `${path}#${name}`;
  const next = module.exported.get(name) ?? module.imported.get(name);
  if (next !== undefined) return originOf(...next);
  const star = module.stars.find((to) => exportsOf(to).has(name));
  return star === undefined ? '' : originOf(star, name);
}

function exportsOf(path: string): Map<string, string> {
  const { exported, stars } = moduleAt(path);
  const all = stars.flatMap((star) => [...exportsOf(star)]);
  return new Map([
    ...all,
    ...[...exported.keys()].map((name): [string, string] => [name, originOf(path, name)]),
  ]);
}

/** The declarations that those at `origins` name, and what these do. */
function reachedFrom(origins: Iterable<string>): Set<string> {
  const reached = new Set<string>();
  const left = [...origins];
  for (let origin = left.pop(); origin !== undefined; origin = left.pop()) {
    if (origin === '' || reached.has(origin)) continue;
    reached.add(origin);
    const [path, name] = origin.split('#');
    const module = moduleAt(path);
    const words = module.declared.get(name)?.match(/\b[A-Za-z_]\w*\b/g) ?? [];
    for (const word of new Set(words))
      if (/^[A-Z]/.test(word) && (module.declared.has(word) || module.imported.has(word)))
        left.push(originOf(path, word));
  }
  return reached;
}

test('every type that can be reached from what the package exports is exported, too', async (t) => {
  const folder = mkdtempSync(join(ROOT, 'node_modules/.millrace-exports-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const tsc = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json')];
  await promisify(execFile)(process.execPath, [...tsc, '--emitDeclarationOnly', '--outDir', folder]);
  for (const entry of ['index', 'client', 'browser']) {
    const exported = new Set(exportsOf(join(folder, `src/${entry}.d.ts`)).values());
    t.true(exported.size > 8, entry);
    const missing = [...reachedFrom(exported)].filter((origin) => !exported.has(origin));
    t.deepEqual(missing.map((origin) => relative(folder, origin)).sort(), [], entry);
  }
});
