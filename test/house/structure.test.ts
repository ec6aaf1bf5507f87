import { existsSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import test from 'ava';
import { codeOf, type Import, importsOf, loadedBy, modulesBelow, ROOT } from '../helpers/imports.ts';

/** The house (ARCHITECTURE.md): which floor a module is on. Imports point down, or stay on their floor. */
const FLOORS: readonly [floor: number, where: RegExp][] = [
  [0, /^src\/wire\//],
  [1, /^src\/(reactor|encoding|options)\//],
  [2, /^src\/connection\/|^workers\//],
  [3, /^src\/(transport|lanes)\//],
  [4, /^src\/(server|doors|client|files|topics|capture)\//],
  [5, /^src\/[\w-]+\.ts$/],
  [6, /^src\/experiment\/(grid|process|traffic)\//],
  [7, /^src\/experiment\/results\//],
  [8, /^src\/experiment\/(simulate|report)\//],
  [9, /^src\/experiment\/measure\//],
  [10, /^src\/experiment\/[^/]*$/],
  [11, /^src\/ops\//],
  [12, /^src\/(cli|page)\/|^bench\/|^demo\//],
];

const MODULES = modulesBelow('src', 'workers', 'bench', 'demo');
const OURS = new Set(MODULES);

/** Modules that run in a browser, with all that they load. */
const PORTABLE = [
  ...MODULES.filter((module) => /^src\/(wire|reactor|connection)\//.test(module)),
  'src/client/client.ts',
  'src/browser.ts',
  'src/page/page.ts',
];

/** Packages that were written for browsers too. */
const PORTABLE_PACKAGES = new Set(['pako', 'fzstd', 'uplot']);

function floorOf(module: string): number | undefined {
  return FLOORS.find(([, where]) => where.test(module))?.[0];
}

function show({ from, to }: Import): string {
  return `${from} imports ${to}`;
}

test('every module has its floor in the house', (t) => {
  t.true(MODULES.length > 50);
  t.deepEqual(
    MODULES.filter((module) => floorOf(module) === undefined),
    [],
  );
});

test('every import of our own names a module that exists', (t) => {
  const own = MODULES.flatMap(importsOf).filter(({ to }) => to.includes('/') && to.endsWith('.ts'));
  t.true(own.length > 100);
  t.deepEqual(own.filter(({ to }) => !existsSync(join(ROOT, to))).map(show), []);
});

test('imports point down', (t) => {
  const upward = MODULES.flatMap(importsOf)
    .filter(({ to }) => OURS.has(to))
    .filter(({ from, to }) => (floorOf(to) as number) > (floorOf(from) as number));
  t.deepEqual(upward.map(show), []);
});

test('no module loads itself by way of others', (t) => {
  const edges = new Map(
    MODULES.map((module) => [
      module,
      importsOf(module).filter(({ to, typeOnly }) => !typeOnly && OURS.has(to)),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (module: string, path: readonly string[]): void => {
    if (path.includes(module)) cycles.push([...path.slice(path.indexOf(module)), module].join(' → '));
    if (done.has(module) || path.includes(module)) return;
    for (const { to } of edges.get(module) ?? []) visit(to, [...path, module]);
    done.add(module);
  };
  for (const module of MODULES) visit(module, []);
  t.deepEqual(cycles, []);
});

test('what runs in a browser loads no module of Node.js, and no package that needs one', (t) => {
  const loaded = [...loadedBy(PORTABLE)].filter((module) => !OURS.has(module));
  t.deepEqual(
    loaded.filter((name) => !PORTABLE_PACKAGES.has(name)),
    [],
  );
  t.deepEqual(
    loaded.filter((name) => name.startsWith('node:') || builtinModules.includes(name)),
    [],
  );
});

test('what runs in a browser names neither Buffer nor process nor another global of Node.js', (t) => {
  const globals =
    /(?<![\w.#'-])(Buffer|process|global|require|__dirname|__filename|setImmediate)\b(?!['"]|\s*:)/;
  const found = [...loadedBy(PORTABLE)]
    .filter((module) => OURS.has(module))
    .flatMap((module) => {
      const line = codeOf(module)
        .split('\n')
        .find((each) => globals.test(each));
      return line === undefined ? [] : [`${module}: ${line.trim()}`];
    });
  t.deepEqual(found, []);
});

test('the two threads share nothing but batches, what a thread is at, what it need not decode and whose that is', (t) => {
  const across = MODULES.flatMap(importsOf).filter(({ typeOnly }) => !typeOnly);
  const shared = ['batch', 'records', 'packed', 'trace', 'dropped', 'parties'].map(
    (name) => `workers/${name}.ts`,
  );
  const toWorkers = across.filter(
    ({ from, to }) => from.startsWith('src/') && to.startsWith('workers/') && !shared.includes(to),
  );
  t.deepEqual(toWorkers.map(show), []);
  const toMain = across.filter(({ from, to }) => from.startsWith('workers/') && to.startsWith('src/lanes/'));
  t.deepEqual(toMain.map(show), []);
  t.deepEqual(shared.flatMap(importsOf).map(show), []);
});

test('a recording knows nothing of the server that it is made in', (t) => {
  const imports = modulesBelow('src/capture').flatMap(importsOf);
  t.true(imports.length > 5);
  t.deepEqual(imports.filter(({ to }) => to.startsWith('src/server/')).map(show), []);
});

test('nothing imports bench or demo but themselves, and nothing but command lines imports the command line', (t) => {
  const imports = MODULES.flatMap(importsOf);
  t.deepEqual(
    imports
      .filter(({ from, to }) => /^(bench|demo)\//.test(to) && from.split('/')[0] !== to.split('/')[0])
      .map(show),
    [],
  );
  t.deepEqual(
    imports
      .filter(({ from, to }) => to.startsWith('src/cli/') && !from.startsWith('src/cli/'))
      // `millrace bench` and `npm run demo` are command lines, too.
      .filter(
        ({ from }) => from !== 'bench/command.ts' && from !== 'demo/main.ts' && from !== 'demo/table.ts',
      )
      .map(show),
    [],
  );
});

test('all timers are those that take any time, however long', (t) => {
  const direct = MODULES.filter(
    (module) => module !== 'src/wire/timers.ts' && !/^(bench|demo)\//.test(module),
  ).filter((module) => /\b(setTimeout|setInterval)\(/.test(codeOf(module)));
  t.deepEqual(direct, []);
});

test('no function is written in an assignment where connections come and go: V8 would keep it, and them, with what is old', (t) => {
  const assigned =
    /[\w)\]!]\.#?\w+ (?:\?\?|\|\|)?= (?:async )?(?:function\b|\w+ =>|\([^()=]*\)(?:: [^=;{]+)? =>)/;
  const where = /^(src\/(wire|reactor|encoding|connection|lanes|server|doors|topics|capture)|workers)\//;
  const found = MODULES.filter((module) => where.test(module)).filter((module) =>
    assigned.test(codeOf(module)),
  );
  t.deepEqual(found, []);
  t.regex('this.#f = (a: number) => a;', assigned);
  t.regex('socket.emit = async () => {', assigned);
});
