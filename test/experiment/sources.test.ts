/** What an experiment measures: responses from files, lines, generators and captures. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { captureHeader } from '../../src/capture/format.ts';
import { readSources } from '../../src/experiment/traffic/sources.ts';
import { fill, tempFolder } from '../files/helper.ts';

const OPTIONS = { maxBytes: 1 << 20, seed: 1 };

test('a folder is one response per file, by extension, in the same order for the same seed', async (t) => {
  const folder = tempFolder(t);
  fill(folder, { 'a.json': '{}', 'b/c.json': '[1]', 'b/d.txt': 'text', README: 'me' });
  const { workload, cut } = await readSources([folder], OPTIONS);
  t.deepEqual(workload.responses.map(({ command }) => command).sort(), ['.json', '.json', '.txt', 'README']);
  t.false(cut);
  t.is((await readSources([folder], OPTIONS)).workload.sha256, workload.sha256);
  t.not((await readSources([folder], { ...OPTIONS, seed: 2 })).workload.sha256, workload.sha256);
});

test('JSON lines are one response each, and a field may name the command', async (t) => {
  const path = join(tempFolder(t), 'lines.jsonl');
  writeFileSync(path, '{"type":"a","x":1}\n\n{"type":"b"}\n{"type":"a"}');
  const plain = await readSources([path], OPTIONS);
  t.deepEqual(
    plain.workload.responses.map(({ bytes }) => Buffer.from(bytes).toString()),
    ['{"type":"a","x":1}', '{"type":"b"}', '{"type":"a"}'],
  );
  const named = await readSources([path], { ...OPTIONS, commandField: 'type' });
  t.deepEqual(
    named.workload.responses.map(({ command }) => command),
    ['a', 'b', 'a'],
  );
  await t.throwsAsync(readSources([path], { ...OPTIONS, commandField: 'kind' }), {
    message: `source ${path}: line 1 has no text in its field 'kind'`,
  });
});

test('a line of JSON ends at its line feed, whatever separators its texts have', async (t) => {
  const path = join(tempFolder(t), 'lines.jsonl');
  const lines = ['{"a":"one\u2028two"}', '{"b":"ünï\u0085"}'];
  writeFileSync(path, `${lines[0]}\n${lines[1]}\r\n`);
  const { workload } = await readSources([path], OPTIONS);
  t.deepEqual(
    workload.responses.map(({ bytes }) => Buffer.from(bytes).toString()),
    lines,
  );
});

test('a file that is not text is no file of lines', async (t) => {
  const path = join(tempFolder(t), 'image.png');
  writeFileSync(path, Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0a, 0xff, 0x0a]));
  await t.throwsAsync(readSources([path], OPTIONS), {
    message: `source ${path}: line 1 is not text in UTF-8`,
  });
});

test('a byte order mark before the first line is no part of it, nor is the carriage return of its end', async (t) => {
  const path = join(tempFolder(t), 'lines.jsonl');
  writeFileSync(path, '\ufeff{"type":"a"}\r\n\r\n{"type":"b"}\r\n');
  const { workload } = await readSources([path], { ...OPTIONS, commandField: 'type' });
  t.deepEqual(
    workload.responses.map(({ command, bytes }) => [command, Buffer.from(bytes).toString()]),
    [
      ['a', '{"type":"a"}'],
      ['b', '{"type":"b"}'],
    ],
  );
});

test('a line, or a captured response, that is larger than all that is taken is left out, and those after it are not', async (t) => {
  const folder = tempFolder(t);
  const lines = join(folder, 'lines.jsonl');
  writeFileSync(lines, `"a"\n"${'x'.repeat(200_000)}"\n"b"\n`);
  const capture = join(folder, 'day.capture');
  const captured = ['a', 'x'.repeat(200_000), 'b'].map((body, i) =>
    JSON.stringify({
      ...{ at: i, connection: 0, command: 'get', args: {}, pieces: [[0, body.length]], wire: 1 },
      body: Buffer.from(body).toString('base64'),
    }),
  );
  writeFileSync(capture, [captureHeader(new Date()), ...captured].join('\n'));
  for (const [path, left] of [
    [lines, `${lines}: line 2`],
    [capture, `${capture}: a response of 'get'`],
  ]) {
    const { workload, skipped } = await readSources([path], { ...OPTIONS, maxBytes: 100_000 });
    t.is(workload.responses.length, 2);
    t.deepEqual(skipped, [
      { path: left, error: 'larger than the 100000 bytes that are taken of its source' },
    ]);
  }
});

test('a JSON document of many lines is no file of responses', async (t) => {
  const path = join(tempFolder(t), 'export.har');
  for (const [document, opening] of [
    [{ log: { entries: [1, 2] } }, '{'],
    [[{ a: 1 }, { a: 2 }], '['],
  ] as const) {
    writeFileSync(path, JSON.stringify(document, null, 1));
    await t.throwsAsync(readSources([path], OPTIONS), {
      message: new RegExp(`line 1 is '\\${opening}': each response has to be a line of its own; jq `),
    });
  }
});

test('a JSON document of one line is no file of one response', async (t) => {
  const dir = tempFolder(t);
  const har = { log: { entries: [{ response: { content: { text: '{}' } } }] } };
  for (const document of [[{ a: 1 }, { a: 2 }], har]) {
    const path = join(dir, 'document.json');
    writeFileSync(path, JSON.stringify(document));
    await t.throwsAsync(readSources([path], OPTIONS), {
      message: /document\.json: all of it is one line: each response has to be a line of its own; jq /,
    });
    // Responses may be such documents.
    writeFileSync(path, `${JSON.stringify(document)}\n`.repeat(2));
    t.is((await readSources([path], OPTIONS)).workload.responses.length, 2);
  }
  writeFileSync(join(dir, 'one.jsonl'), '{"a":1}\n');
  t.is((await readSources([join(dir, 'one.jsonl')], OPTIONS)).workload.responses.length, 1);
});

test('a generator makes the same traffic for the same seed and stops at the sample size', async (t) => {
  const { workload, cut } = await readSources(['generate:mixed'], OPTIONS);
  t.is((await readSources(['generate:mixed'], OPTIONS)).workload.sha256, workload.sha256);
  t.true(workload.bytes <= 1 << 20 && workload.bytes > 1_000_000);
  t.true(cut);
  t.deepEqual([...new Set(workload.responses.map(({ command }) => command))].sort(), [
    'json200',
    'json4k',
    'json900',
  ]);
});

test('sources that do not exist, are empty or have no such generator are named', async (t) => {
  const folder = tempFolder(t);
  await t.throwsAsync(readSources([join(folder, 'none')], OPTIONS), {
    message: /^source .*none: no such file$/,
  });
  await t.throwsAsync(readSources([folder], OPTIONS), { message: /no response with any bytes/ });
  await t.throwsAsync(readSources(['generate:x'], OPTIONS), {
    message: /^source generate:x: no such generator/,
  });
});
