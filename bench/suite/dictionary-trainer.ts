/** What a dictionary of ours is worth against one of the zstd command, and what the portable decoder takes with one. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDictionary } from '../../src/encoding/dictionary/format.ts';
import { compressSamples } from '../../src/encoding/dictionary/samples.ts';
import { trainDictionary } from '../../src/encoding/dictionary/train.ts';
import { portableDictionaryDecoder } from '../../src/encoding/portable.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { CORPORA, type CorpusName, corpus } from '../corpora.ts';
import { figure } from '../figures.ts';
import { spread } from '../stats.ts';

const SIZE = 16 << 10;
const LEVEL = 3;
const USES = ['none', 'kept'] as const;
/** 900-byte records that the portable decoder is measured on. */
const RECORDS = 2000;

export const dictionaryTrainer: Bench = {
  name: 'dictionary-trainer',
  describe: "our trainer against the zstd command's, and the portable decoder with a dictionary",
  async run(context): Promise<Result> {
    const trainer = againstZstd(context);
    const micros = spread(browserMicros(context));
    return {
      bench: 'dictionary-trainer',
      summary: `Dictionaries of ${SIZE} bytes, trained on one half, the other half compressed at level ${LEVEL}.`,
      payloads: [],
      tables: [
        {
          title: 'Bytes per response',
          columns: [
            'corpus',
            'none: zstd',
            'none: ours',
            'kept: zstd',
            'kept: ours',
            'worst of ours over theirs',
          ],
          rows: trainer.rows,
        },
        {
          title: `Portable decoder, ${RECORDS} records of 900 bytes, no context`,
          columns: ['', 'CPU µs per record', 'least', 'most'],
          rows: [['with a dictionary', micros.median, micros.min, micros.max].map(rounded)],
        },
      ],
      charts: [],
      figures: [
        figure('dict.trainer_vs_zstd', trainer.worst),
        figure('dict.browser_us', micros.median, micros),
      ],
      skipped: trainer.worst === null ? ['dict.trainer_vs_zstd: there is no zstd command here'] : [],
      raw: { trainer, micros },
    };
  },
};

function rounded(value: string | number): string | number {
  return typeof value === 'number' ? Number(value.toFixed(2)) : value;
}

/** The worst corpus decides, kept and without a context. */
function againstZstd({ quick, seed, progress }: BenchContext): {
  worst: number | null;
  rows: (string | number)[][];
} {
  if (spawnSync('zstd', ['--version']).status !== 0) return { worst: null, rows: [] };
  let worst = Number.POSITIVE_INFINITY;
  const names = Object.keys(CORPORA) as CorpusName[];
  const rows = names.map((name, i) => {
    progress(i, names.length, name);
    const all = corpus(name, quick ? 1000 : 3000, seed);
    const training = all.filter((_, i) => i % 2 === 0);
    const sent = all.filter((_, i) => i % 2 === 1);
    const [theirs, ours] = [zstdTrained(training), trainDictionary(training, { size: SIZE, level: LEVEL })];
    const pairs = USES.map((use) =>
      [theirs, ours].map((each) => compressSamples(each, sent, LEVEL, use) / sent.length),
    );
    const least = Math.min(...pairs.map(([their, our]) => their / our));
    worst = Math.min(worst, least);
    return [name, ...pairs.flat().map((bytes) => Number(bytes.toFixed(1))), Number(least.toFixed(3))];
  });
  return { worst, rows };
}

function zstdTrained(samples: readonly Uint8Array[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  try {
    const from = join(folder, 'samples');
    mkdirSync(from);
    for (const [i, sample] of samples.entries()) writeFileSync(join(from, `${i}`), sample);
    const to = join(folder, 'trained');
    execFileSync('zstd', ['-q', '--train', '-r', from, `--maxdict=${SIZE}`, '-o', to], { stdio: 'ignore' });
    return readFileSync(to);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** CPU of one record, in each round after the first, in which the code is compiled. */
function browserMicros({ quick, seed }: BenchContext): number[] {
  const all = corpus('json', 2 * RECORDS, seed);
  const dictionary = trainDictionary(all.slice(0, RECORDS), { size: SIZE, level: LEVEL });
  const payloads: Uint8Array[] = [];
  compressSamples(dictionary, all.slice(RECORDS), LEVEL, 'none', (payload) => payloads.push(payload.slice()));
  const decoder = portableDictionaryDecoder(DEFAULT_LIMITS, parseDictionary(dictionary));
  const round = () => {
    const before = process.cpuUsage();
    for (const payload of payloads) decoder.decode(payload);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / payloads.length;
  };
  round();
  return Array.from({ length: quick ? 5 : 15 }, round);
}
