import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { createServer } from '../../src/index.ts';
import { ROOT } from '../helpers/imports.ts';
import { blocks, README } from '../helpers/readme.ts';
import { reference, settingsReference } from '../helpers/reference.ts';

test('the sample on the first screen runs as it stands and prints what it says', async (t) => {
  const [sample] = blocks('ts');
  t.regex(sample, /^import \{ connect, createServer \} from 'millrace';$/m);
  const folder = mkdtempSync(join(tmpdir(), 'millrace-readme-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // The package itself may not have been built yet: the sample gets its source.
  const source = pathToFileURL(join(ROOT, 'src/index.ts')).href;
  const file = join(folder, 'sample.ts');
  writeFileSync(file, sample.replace("'millrace'", `'${source}'`));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { cwd: folder });
  t.is(stdout, 'hello river\n');
  t.is(stderr, '');
});

test('docs/options.md is what the docstrings say; npm run reference makes it', (t) => {
  t.is(readFileSync(join(ROOT, 'docs/options.md'), 'utf8'), reference());
  t.is(readFileSync(join(ROOT, 'docs/settings.md'), 'utf8'), settingsReference());
  for (const [, text] of reference().matchAll(/^\| `\w+` \| (.*) \|$/gm)) t.not(text, '');
});

test('every npm script that the README names exists', (t) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const named = [...README.matchAll(/\bnpm (?:run (\w+)|(test))\b/g)].map(([, run, plain]) => run ?? plain);
  t.true(named.length >= 2);
  for (const name of named) t.true(name in scripts, name);
});

test('every file that the README links to exists', (t) => {
  const links = [...README.matchAll(/\]\(([^)#]+)\)/g)]
    .map(([, link]) => link)
    .filter((link) => !link.includes('://'));
  t.true(links.length >= 3);
  t.deepEqual(
    links.filter((link) => !existsSync(join(ROOT, link))),
    [],
  );
});

test('every server option in the table of the README is one', (t) => {
  const table = README.slice(README.indexOf('| server option |')).split('\n\n')[0];
  const names = table
    .split('\n')
    .slice(2)
    .flatMap((row) => [...row.split('|')[1].matchAll(/`(\w+)`/g)].map(([, name]) => name));
  t.true(names.length >= 7);
  for (const name of names) {
    // A value of the wrong type is refused with the option's name, an unknown option as one.
    const error = t.throws(() => createServer({ [name]: Symbol('wrong') } as never), undefined, name);
    t.true(error.message.startsWith(`option ${name}: `), `${name}: ${error.message}`);
  }
});
