import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { ROOT } from '../helpers/imports.ts';

/** The files of the tarball, without those that a build makes. */
async function packed(): Promise<string[]> {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  // npm says on standard error what it does; a cache of the user's may not be writable.
  const { stdout } = await promisify(execFile)('npm', args, { cwd: ROOT, maxBuffer: 16 << 20 });
  const [{ files }] = Object.values(JSON.parse(stdout)) as { files: { path: string }[] }[];
  return files.map(({ path }) => path);
}

/** What a document links to in the package itself, as paths from its root; samples in code are none. */
function linksOf(document: string): string[] {
  const text = readFileSync(join(ROOT, document), 'utf8').replace(/^```.*?^```/gms, '');
  return [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
    .map(([, link]) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
    .map((link) => normalize(join(dirname(document), link)));
}

test('every link of a document in the tarball leads to something in the tarball', async (t) => {
  const files = await packed();
  const documents = files.filter((path) => path.endsWith('.md'));
  for (const name of ['README', 'ARCHITECTURE', 'CHANGELOG', 'SECURITY'])
    t.true(documents.includes(`${name}.md`));
  const broken = documents.flatMap((document) =>
    linksOf(document)
      .filter((to) => !files.some((path) => path === to || path.startsWith(`${to.replace(/\/$/, '')}/`)))
      .map((to) => `${document} → ${to}`),
  );
  t.deepEqual(broken, []);
  t.true(linksOf('README.md').length > 5);
});

test('what package.json names is built from a source that is there', async (t) => {
  const { bin, exports, sideEffects } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const built = [
    ...Object.values(bin),
    ...Object.values(exports).flatMap((each) =>
      typeof each === 'string' ? [] : Object.values(each as object),
    ),
    ...sideEffects.filter((path: string) => !path.includes('*')),
  ] as string[];
  t.true(built.length > 6);
  for (const path of built) {
    // Bundles, each of all that an entry is made of (npm run build:browser).
    if (path.startsWith('./dist/browser/')) continue;
    const source = path.replace(/^(\.\/)?dist\//, '').replace(/(\.d\.ts|\.js)$/, '.ts');
    t.true(readFileSync(join(ROOT, source), 'utf8').length > 0, path);
  }
});
