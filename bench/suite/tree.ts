/** A tree of thousands of small files pulled over one connection, against `rsync -z` and `tar | zstd -3`. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { compareTrees, makeTree } from '../files.ts';
import { type Pull, RsyncDaemon, tarZstd, versionOf } from '../rsync.ts';
import { spread } from '../stats.ts';

const FILES = 6000;

interface Row {
  readonly name: string;
  readonly pulls: Pull[];
}

export const tree: Bench = {
  name: 'tree',
  describe: `a tree of ${FILES} small files against rsync -z and tar | zstd -3`,
  async run(context) {
    const scratch = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
    // An rsync daemon that root starts reads as nobody.
    chmodSync(scratch, 0o755);
    try {
      return await measure(context, scratch);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  },
};

async function measure({ quick, seed, progress }: BenchContext, scratch: string): Promise<Result> {
  const original = join(scratch, 'tree');
  mkdirSync(original);
  const bytes = makeTree(original, FILES, seed);
  const rounds = quick ? 3 : 7;
  const rows: Row[] = [];
  const skipped: string[] = [];
  const [rsync, tar, zstd] = await Promise.all(['rsync', 'tar', 'zstd'].map(versionOf));

  if (rsync) {
    using daemon = await RsyncDaemon.start(original, scratch);
    const row: Row = { name: 'rsync -az', pulls: [] };
    for (let round = 0; round < rounds; round++) {
      progress(round, 2 * rounds, 'rsync -z');
      row.pulls.push(await daemon.pull(join(scratch, 'copy')));
      compareTrees(original, join(scratch, 'copy'));
    }
    rows.push(row);
  } else skipped.push('rsync -z: rsync is not installed');

  if (tar && zstd) {
    const row: Row = { name: 'tar | zstd -3', pulls: [] };
    for (let round = 0; round < rounds; round++) {
      progress(rounds + round, 2 * rounds, 'tar | zstd -3');
      row.pulls.push(await tarZstd(original));
    }
    rows.push(row);
  } else skipped.push(`tar | zstd -3: ${tar ? 'zstd' : 'tar'} is not installed`);

  return {
    bench: 'tree',
    summary: `${FILES} files of source text, ${(bytes / 2 ** 20).toFixed(1)} MiB, seed ${seed}. ${[rsync, tar, zstd].filter((each) => each).join('; ')}.`,
    payloads: [],
    tables: [
      {
        title: 'The whole tree, to an empty folder',
        columns: ['how', 'wire bytes', 'ratio', 'wall s', 'min', 'max'],
        rows: rows.map(({ name, pulls }) => {
          const wall = spread(pulls.map(({ seconds }) => seconds));
          const wire = spread(pulls.map(({ wireBytes }) => wireBytes)).median;
          return [name, wire, bytes / wire, wall.median, wall.min, wall.max];
        }),
        note: 'tar | zstd is packing alone: nothing is sent and nothing is unpacked.',
      },
    ],
    charts: [],
    figures: [figure('tree.bytes_vs_tar_zstd', null), figure('tree.wall_vs_rsync', null)],
    skipped,
    raw: rows,
  };
}
