import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { corpus } from '../../bench/corpora.ts';
import { parseDictionary } from '../../src/encoding/dictionary/format.ts';
import { createServer } from '../../src/index.ts';
import { tempFolder } from '../files/helper.ts';
import { millrace } from './helper.ts';

/** JSON lines of two commands, and of a third that has too few. */
function traffic(folder: string): string {
  const lines = [
    ...corpus('json', 90).map((bytes) => `{"type":"order",${bytes.toString().slice(1)}`),
    ...corpus('ticks', 160).map((bytes) => bytes.toString()),
    '{"type":"rare","value":12345678}',
  ];
  const path = join(folder, 'replies.jsonl');
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

test('dictionary train writes a dictionary and says what it brings on responses that it has not seen', async (t) => {
  const folder = tempFolder(t);
  const out = join(folder, 'replies.dict');
  const { code, out: said } = await millrace(
    'dictionary',
    'train',
    traffic(folder),
    '--out',
    out,
    '--size',
    '4K',
  );
  t.is(code, 0);
  const bytes = readFileSync(out);
  t.is(bytes.length, 4096);
  t.notThrows(() => parseDictionary(bytes));
  t.deepEqual(readdirSync(folder).sort(), ['replies.dict', 'replies.jsonl']);
  for (const row of ['no context', 'first ten responses', 'kept context']) {
    const [, ...numbers] =
      new RegExp(`^${row} +([\\d.]+) +([\\d.]+) +([\\d.]+) +([\\d.]+) +([\\d.]+)`, 'm').exec(said) ?? [];
    const [bytesWithout, , , bytesWith, ratioWith] = numbers.map(Number);
    t.true(bytesWith! < bytesWithout! && ratioWith! > 2, `${row}: ${numbers}`);
  }
  t.regex(said, /has paid for itself, in responses of one connection: after \d+ without contexts/);
  t.true(said.includes(`millrace serve DIR --dictionary ${out}`));
});

test('the same traffic and seed give the same dictionary, another seed holds other responses out', async (t) => {
  const folder = tempFolder(t);
  const source = traffic(folder);
  const trained = async (seed: string) => {
    const out = join(folder, `${seed}.dict`);
    const { out: said } = await millrace(
      'dictionary',
      'train',
      source,
      '--out',
      out,
      '--size',
      '2K',
      '--seed',
      seed,
      '--json',
    );
    const [{ trainedOn, heldOut }] = JSON.parse(said);
    t.is(trainedOn + heldOut, 251);
    return readFileSync(out).toString('hex');
  };
  const first = await trained('7');
  t.is(await trained('7'), first);
  t.not(await trained('8'), first);
});

test('dictionary train --per-command makes one for each, and says for which there is too little', async (t) => {
  const folder = tempFolder(t);
  const out = join(folder, 'replies.dict');
  const args = ['--out', out, '--size', '2K', '--per-command', '--command-field', 'type'];
  const { code, out: said, err } = await millrace('dictionary', 'train', traffic(folder), ...args);
  t.is(code, 0);
  t.deepEqual(readdirSync(folder).sort(), ['replies.jsonl', 'replies.order.dict', 'replies.tick.dict']);
  // `serve` has no such commands.
  const [, option] = /^createServer\(\{ dictionaries: (.*) \}\)$/m.exec(said)!;
  const files = ['order', 'tick'].map((command) => ({
    file: join(folder, `replies.${command}.dict`),
    commands: [command],
  }));
  t.deepEqual(JSON.parse(option!), files);
  t.regex(err, /no dictionary for 'rare': a dictionary needs at least 5 samples/);
});

test('of more commands than a server has dictionaries for, what is printed has those that save most', async (t) => {
  const folder = tempFolder(t);
  const source = join(folder, 'replies.jsonl');
  const frequent = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const names = [...frequent, 'rare', ...frequent, 'seldom', ...frequent];
  const lines = corpus('ticks', 20 * names.length).map(
    (bytes, i) => `{"command":"${names[i % names.length]}",${bytes.toString().slice(1)}`,
  );
  writeFileSync(source, lines.join('\n'));
  const args = [
    '--out',
    join(folder, 'x.dict'),
    '--size',
    '1K',
    '--per-command',
    '--command-field',
    'command',
  ];
  const { out: said } = await millrace('dictionary', 'train', source, ...args);
  t.is(readdirSync(folder).length, 1 + 9);
  t.regex(said, /A server has dictionaries for 7 commands of their own at most\. With those that save most:/);
  const [, option] = /^createServer\(\{ dictionaries: (.*) \}\)$/m.exec(said)!;
  const dictionaries = JSON.parse(option!) as { file: string; commands: string[] }[];
  t.deepEqual(dictionaries.map(({ commands }) => commands[0]).sort(), frequent);
  const commands = Object.fromEntries([...frequent, 'rare'].map((name) => [name, () => name]));
  const server = createServer({ dictionaries, commands, workers: 1 });
  await t.notThrowsAsync(server.close());
});

test('what dictionary train prints can be pasted: commands that serve has, and any name of a file', async (t) => {
  const folder = tempFolder(t);
  const source = join(folder, 'own commands.jsonl');
  const lines = corpus('ticks', 60).map(
    (bytes, i) => `{"at":"files.${i % 2 ? 'get' : 'stat'}",${bytes.toString().slice(1)}`,
  );
  writeFileSync(source, lines.join('\n'));
  const out = join(folder, "it's mine.dict");
  const train = (...flags: string[]) => millrace('dictionary', 'train', source, '--out', out, ...flags);
  const quoted = (word: string) => `--dictionary '${word.replaceAll("'", "'\\''")}'`;
  t.true((await train()).out.endsWith(`\nmillrace serve DIR ${quoted(out)}\n`));
  const { out: said } = await train('--per-command', '--command-field', 'at');
  const flags = ['get', 'stat'].map((name) =>
    quoted(join(folder, `it's mine.files.${name}.dict=files.${name}`)),
  );
  for (const flag of flags) t.true(said.includes(flag), said);
});

test('a folder is trained by what its files are, each kind with a file of its name', async (t) => {
  const folder = tempFolder(t);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  for (const [i, bytes] of corpus('dashboards', 16).entries()) writeFileSync(join(tree, `${i}.html`), bytes);
  const out = join(folder, 'tree.dict');
  const { code, out: said } = await millrace('dictionary', 'train', tree, '--per-command', '--out', out);
  t.is(code, 0);
  t.deepEqual(readdirSync(folder).sort(), ['tree', 'tree.html.dict']);
  t.false(said.includes('millrace serve'));
});

test('dictionary train says in one line what cannot be, and leaves what was there', async (t) => {
  const folder = tempFolder(t);
  const source = traffic(folder);
  const out = join(folder, 'old.dict');
  writeFileSync(out, 'as it was');
  const fails = async (args: string[], code: number, message: RegExp) => {
    const ended = await millrace('dictionary', 'train', ...args);
    t.is(ended.code, code, args.join(' '));
    t.regex(ended.err, message);
    t.is(ended.err.trim().split('\n').length, 1);
  };
  await fails([source], 2, /--out <file>/);
  await fails([source, '--out', folder], 2, /: not a file/);
  await fails([source, '--out', join(folder, 'none', 'x')], 2, /there is no folder/);
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await fails([source, '--out', fifo], 2, /fifo: not a file/);
  t.true(statSync(fifo).isFIFO());
  await fails([source, '--out', out, '--size', '100'], 2, /from 1K to 1M/);
  await fails([join(folder, 'missing'), '--out', out], 1, /missing/);
  const few = join(folder, 'few.jsonl');
  writeFileSync(few, Array.from({ length: 5 }, (_, i) => `{"a line of no great length":${i}}`).join('\n'));
  await fails([few, '--out', out], 1, /at least 5 samples/);
  t.is(readFileSync(out, 'utf8'), 'as it was');
});

test('dictionary show says what is in one, as JSON too, and refuses what is none', async (t) => {
  const folder = tempFolder(t);
  const out = join(folder, 'a.dict');
  await millrace('dictionary', 'train', traffic(folder), '--out', out, '--size', '2K');
  const hash = execFileSync('sha256sum', [out]).toString().slice(0, 32);
  const { out: text, code } = await millrace('dictionary', 'show', out);
  t.is(code, 0);
  t.true(text.includes(hash));
  t.regex(text, /2048 bytes: \d+ of tables, \d+ of content/);
  t.regex(text, /^literals +256 /m);
  const facts = JSON.parse((await millrace('dictionary', 'show', out, '--json')).out);
  t.is(facts.id, hash);
  t.is(facts.tableBytes + facts.contentBytes, 2048);
  t.is(facts.matchLengths.symbols, 53);

  const damaged = readFileSync(out);
  damaged.fill(255, 8, 40);
  writeFileSync(join(folder, 'damaged'), damaged);
  writeFileSync(join(folder, 'large'), new Uint8Array((1 << 20) + 1));
  mkdirSync(join(folder, 'sub'));
  for (const [name, message] of [
    ['damaged', /damaged: damaged dictionary: /],
    ['large', /at most 1048576 bytes/],
    ['replies.jsonl', /not a zstd dictionary/],
    ['missing', /missing: no such file/],
    ['sub', /sub: not a file/],
  ] as const) {
    const ended = await millrace('dictionary', 'show', join(folder, name));
    t.is(ended.code, 1, name);
    t.regex(ended.err, message);
  }
  t.false(existsSync(join(folder, 'missing')));
});
