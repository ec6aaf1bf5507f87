/** Dictionaries with every level, window and kind of data, and against the zstd command; dictionary.test.ts has a few. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CORPORA, type CorpusName, corpus } from '../../bench/corpora.ts';
import { compressSamples } from '../../src/encoding/dictionary/samples.ts';
import { trainDictionary } from '../../src/encoding/dictionary/train.ts';
import { comesBack, damagedAgree, decodePortably } from './dictionary-helpers.ts';
import { concat, noise, text } from './helpers.ts';

const HAS_ZSTD = spawnSync('zstd', ['--version']).status === 0;
/** A test of the zstd command; where there is none, a line says so. */
const zstdTest = HAS_ZSTD ? test : test.skip;
if (!HAS_ZSTD) test('the zstd command is missing: what is compared with it was skipped', (t) => t.pass());

const JSONS = corpus('json', 600);
const SENT = JSONS.slice(400);
const DICTIONARIES = [1024, 16_384, 112_640].map((size) => trainDictionary(JSONS.slice(0, 400), { size }));
/** More than a block. */
const LONG = concat(SENT);

for (const dictionary of DICTIONARIES) {
  for (const contexts of ['kept', 'none'] as const) {
    const name = `with a dictionary of ${dictionary.length} bytes, contexts ${contexts}`;

    test(`every level comes back ${name}`, (t) => {
      const frames = [...SENT.slice(0, 30), text(3000), noise(500), new Uint8Array(2000), LONG];
      for (let level = 1; level <= 22; level++) comesBack(dictionary, frames, { level, contexts });
      t.pass();
    });

    test(`every window comes back ${name}`, (t) => {
      const frames = [SENT[0]!, text(5000), LONG, SENT[1]!, noise(70_000), text(300_000), LONG];
      for (let windowLog = 10; windowLog <= 23; windowLog++) {
        for (const level of [1, 5]) comesBack(dictionary, frames, { level, windowLog, contexts });
      }
      t.pass();
    });

    test(`every size of response comes back ${name}`, (t) => {
      const frames = Array.from({ length: 300 }, (_, size) => LONG.subarray(7 * size, 8 * size + 1));
      for (const level of [1, 3, 12]) comesBack(dictionary, frames, { level, contexts });
      t.pass();
    });
  }
}

test('damaged dictionaries of every size are refused, or do what node:zlib makes of them', (t) => {
  for (const dictionary of DICTIONARIES) t.true(damagedAgree(dictionary, SENT.slice(0, 9), 3000) > 50);
});

zstdTest('what zstd -D makes with our dictionary comes back, and what it decodes is what we decode', (t) => {
  inFolder((folder) => {
    const [dictionary] = DICTIONARIES;
    const file = join(folder, 'dictionary');
    writeFileSync(file, dictionary!);
    const plain = join(folder, 'plain');
    for (const level of [1, 3, 19]) {
      for (const frame of [...SENT.slice(0, 10), text(300_000), new Uint8Array(0)]) {
        writeFileSync(plain, frame);
        const args = ['-q', '-c', '-D', file, `-${level}`, plain];
        const packed = execFileSync('zstd', args, { maxBuffer: 1 << 24 });
        t.true(decodePortably(dictionary!, [packed])[0]!.equals(frame));
      }
    }
  });
});

for (const name of Object.keys(CORPORA) as CorpusName[]) {
  zstdTest(`a dictionary of ours is as good as the zstd command's: ${name}`, (t) => asGoodAsZstd(t, name));
}

/** Trains both on one half, and sends the other. */
function asGoodAsZstd(t: ExecutionContext, name: CorpusName): void {
  const all = corpus(name, name === 'dashboards' ? 600 : 2400, 5);
  const training = all.filter((_, i) => i % 2 === 0);
  const sent = all.filter((_, i) => i % 2 === 1);
  for (const size of [4096, 16_384, 65_536]) {
    const ours = trainDictionary(training, { size });
    const theirs = inFolder((folder) => zstdTrained(folder, training, size));
    for (const level of [1, 3, 9]) {
      for (const contexts of ['none', 'kept'] as const) {
        const bytes = (dictionary: Uint8Array) => compressSamples(dictionary, sent, level, contexts);
        const share = bytes(theirs) / bytes(ours);
        t.true(
          share >= 0.97,
          `${size} bytes, level ${level}, contexts ${contexts}: ${share.toFixed(3)} of its ratio`,
        );
      }
    }
  }
}

function zstdTrained(folder: string, samples: readonly Uint8Array[], size: number): Uint8Array {
  const from = join(folder, 'samples');
  mkdirSync(from);
  for (const [i, sample] of samples.entries()) writeFileSync(join(from, `${i}`), sample);
  const to = join(folder, 'trained');
  execFileSync('zstd', ['-q', '--train', '-r', from, `--maxdict=${size}`, '-o', to], { stdio: 'ignore' });
  return readFileSync(to);
}

function inFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-dictionary-'));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
