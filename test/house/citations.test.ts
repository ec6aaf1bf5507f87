/**
 * What comments, test titles and documents refer to is in the repository: sections of docs/protocol.md, cited in one way
 * (`protocol A6`, `protocol B2, B3`), files, and headings of other documents.
 */

import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import test from 'ava';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { modulesBelow, ROOT } from '../helpers/imports.ts';
import { LABELS, RULES } from '../helpers/protocol.ts';

/** This file has to name what it looks for. */
const SELF = 'test/house/citations.test.ts';
const FOLDERS = ['src', 'workers', 'bench', 'test', 'docs'];

const MODULES = modulesBelow(...FOLDERS).filter((module) => module !== SELF);
const DOCUMENTS = [...readdirSync(ROOT), ...FOLDERS.flatMap((folder) => filesBelow(folder))].filter((name) =>
  name.endsWith('.md'),
);
const NAMES = new Set(
  [...FOLDERS.flatMap((folder) => filesBelow(folder)), ...DOCUMENTS].map((path) => basename(path)),
);

function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map(
    (name) => `${folder}/${name}`,
  );
}

/** What a file says to people: a document all, a module its comments and the titles of its tests. */
function proseOf(file: string): string {
  const text = readFileSync(join(ROOT, file), 'utf8');
  if (file.endsWith('.md')) return text;
  const spoken = /\/\*[\s\S]*?\*\/|\/\/.*$|\btest(?:\.\w+)*\(\s*(['"`]).*?\1/gm;
  return [...text.matchAll(spoken)].map(([each]) => each).join('\n');
}

const PROSE: readonly (readonly [file: string, prose: string])[] = [...MODULES, ...DOCUMENTS].map((file) => [
  file,
  proseOf(file),
]);

/** `file: match` for every match of `pattern` in what all files say. */
function found(pattern: RegExp, except: readonly string[] = []): string[] {
  return PROSE.filter(([file]) => !except.includes(file)).flatMap(([file, prose]) =>
    [...prose.matchAll(pattern)].map(([match]) => `${file}: ${match}`),
  );
}

const LABEL = /[A-D]\d{1,2}|B-[a-z]+|[A-D](?![\w-])/;
const LIST = `(?:${LABEL.source})(?:(?:, | and |–)(?:${LABEL.source}))*`;
const CITATION = new RegExp(`\\bprotocol (?:${LIST})`, 'g');
/** A label, or a part's letter in the place of one. */
const BARE = /(?<![\w-])(?:[ABC]\d{1,2}|B-(?:limits|profiles))(?![\w-])|\([A-D](?=\)|, |: )/g;

test('every cited section of the protocol exists', (t) => {
  const sections = new Set([...LABELS, ...RULES]);
  const cited = PROSE.flatMap(([file, prose]) => {
    const citations = file === 'docs/protocol.md' ? [...prose.matchAll(BARE)] : [...prose.matchAll(CITATION)];
    return citations.flatMap(([citation]) =>
      [...citation.matchAll(new RegExp(`(?<![\\w-])(?:${LABEL.source})`, 'g'))].map(([label]) => ({
        file,
        label,
      })),
    );
  });
  t.true(cited.length > 200);
  t.deepEqual(
    cited.filter(({ label }) => !sections.has(label)),
    [],
  );
});

test('a section of the protocol is cited as one', (t) => {
  const bare = PROSE.filter(([file]) => file !== 'docs/protocol.md').flatMap(([file, prose]) =>
    [...prose.replace(CITATION, '').matchAll(BARE)].map(([label]) => `${file}: ${label}`),
  );
  t.deepEqual(bare, []);
});

test('nothing refers to documents, tickets or folders outside of the repository', (t) => {
  t.deepEqual(found(/\bdesign(?:\.md|: "| §)|\bissue #?\d+|(?<![\w/])shared\/|(?<!\w)\/work\//gi), []);
  t.deepEqual(found(/(?<!docs\/)\bprotocol\.md\b/g), []);
});

/** Whether a path as prose writes it, or the name of a file alone, is one of ours. */
function isOurs(path: string, file: string): boolean {
  if (!path.includes('/')) return NAMES.has(path);
  return ['', 'src', dirname(file)].some((folder) => existsSync(join(ROOT, folder, path)));
}

test('every file that a comment or a document names exists', (t) => {
  let checked = 0;
  const missing = PROSE.flatMap(([file, prose]) =>
    [...prose.matchAll(/(?<![\w./*{},-])[\w][\w./-]*(?<!\.d)\.(?:ts|md)\b/g)]
      .filter(([path]) => {
        checked++;
        return !isOurs(path, file);
      })
      .map(([path]) => `${file}: ${path}`),
  );
  t.true(checked > 50);
  t.deepEqual(missing, []);
});

/** `a/{b,c}.ts` as its two paths. */
function alternatives(pattern: string): string[] {
  const [whole, list] = /\{([^}]*)\}/.exec(pattern) ?? [];
  if (whole === undefined) return [pattern];
  return list.split(',').flatMap((each) => alternatives(pattern.replace(whole, each)));
}

test('every path and pattern of ours that a document has in a code span exists', (t) => {
  const paths = DOCUMENTS.flatMap((file) =>
    [...proseOf(file).matchAll(/`([^`\n]+)`/g)].flatMap(([, span]) =>
      [...span.matchAll(/(?<![\w/.-])(?:src|workers|bench|test|docs)\/[\w./{},*-]*/g)]
        .flatMap(([pattern]) => alternatives(pattern))
        .map((path) => ({ file, path })),
    ),
  );
  t.true(paths.length > 20);
  t.deepEqual(
    paths.filter(({ path }) => globSync(path, { cwd: ROOT }).length === 0),
    [],
  );
});

test('every limit is in the table of SECURITY.md', (t) => {
  const text = readFileSync(join(ROOT, 'SECURITY.md'), 'utf8');
  const table = text.slice(text.indexOf('| `limits.` |')).split('\n\n', 1)[0];
  const named = [...table.matchAll(/^\|([^|]*)\|/gm)].flatMap(([, cell]) =>
    [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name),
  );
  t.deepEqual(named.sort(), Object.keys(DEFAULT_LIMITS).sort());
});

test('every owner of a state is a class or a type of ours', (t) => {
  const owners = readFileSync(join(ROOT, 'docs/owners.md'), 'utf8');
  const code = modulesBelow('src', 'workers').map((module) => readFileSync(join(ROOT, module), 'utf8'));
  const declared = new Set(
    [...code.join('\n').matchAll(/\b(?:class|interface|type) (\w+)/g)].map(([, name]) => name),
  );
  const named = [...owners.matchAll(/`([A-Z]\w+)`/g)].map(([, name]) => name);
  t.true(named.length > 80);
  t.deepEqual(
    named.filter((name) => !declared.has(name)),
    [],
  );
});

/** A heading's anchor, as forges make it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

test('every link of a document leads to a file and a heading that exist', (t) => {
  const links = DOCUMENTS.flatMap((file) =>
    [...proseOf(file).matchAll(/\]\(([^)\s]+)\)/g)]
      .filter(([, link]) => !link.includes('://'))
      .map(([, link]) => ({ file, link })),
  );
  t.true(links.length > 10);
  const broken = links.filter(({ file, link }) => {
    const [path, anchor] = link.split('#');
    const target = path === '' ? file : join(dirname(file), path);
    if (!existsSync(join(ROOT, target))) return true;
    if (anchor === undefined) return false;
    const headings = readFileSync(join(ROOT, target), 'utf8').matchAll(/^#+ (.*)$/gm);
    return ![...headings].some(([, heading]) => anchorOf(heading) === anchor);
  });
  t.deepEqual(broken, []);
});
