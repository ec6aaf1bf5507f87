/** A tree of thousands of small files pulled over one connection, against `rsync -z` and `tar | zstd -3`. */
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { runModule } from '../../src/experiment/process/run.ts';
import type { PullResult } from '../../src/files/pull.ts';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { compareTrees, makeTree } from '../files.ts';
import { startModule } from '../proc.ts';
import { type Pull, RsyncDaemon, tarZstd, versionOf } from '../rsync.ts';
import { memoryFolder, Scratch } from '../scratch.ts';
import { pairedRatio, spread } from '../stats.ts';

const FILES = 6000;

const CHECKOUT = join(import.meta.dirname, '..', '..');
/** Our server for one tree. */
const SERVER = join(import.meta.dirname, '..', 'tree-server.ts');

export const tree: Bench = {
  name: 'tree',
  describe: `a tree of ${FILES} small files against rsync -z and tar | zstd -3`,
  async run(context) {
    const memory = memoryFolder();
    using scratch = new Scratch(memory);
    return await measure(context, scratch.path, memory !== undefined);
  },
};

const RSYNC = 'rsync -az';
const TAR = 'tar | zstd -3';
const OURS = 'millrace pull';

/** The command as it is published, where the build is newer than the source; else the source. */
function millrace(): string {
  const built = join(CHECKOUT, 'dist', 'src', 'cli', 'millrace.js');
  const changed = (file: string) => statSync(file).mtimeMs;
  const sources = ['src', 'workers'].flatMap((folder) =>
    readdirSync(join(CHECKOUT, folder), { recursive: true, withFileTypes: true }).map(
      ({ parentPath, name }) => join(parentPath, name),
    ),
  );
  if (existsSync(built) && Math.max(...sources.map(changed)) < changed(built)) return built;
  return join(CHECKOUT, 'src', 'cli', 'millrace.ts');
}

async function measure(
  { quick, seed, progress }: BenchContext,
  scratch: string,
  inMemory: boolean,
): Promise<Result> {
  const original = join(scratch, 'tree');
  const command = millrace();
  mkdirSync(original);
  const bytes = makeTree(original, FILES, seed);
  const rounds = quick ? 3 : 7;
  const [rsync, tar, zstd] = await Promise.all(['rsync', 'tar', 'zstd'].map(versionOf));
  using shared = await startModule(SERVER, [original, 'shared']);
  using single = await startModule(SERVER, [original, 'single']);
  using daemon = rsync ? await RsyncDaemon.start(original, scratch) : undefined;

  const pullFrom =
    (port: string) =>
    async (copy: string): Promise<Pull> => {
      const start = performance.now();
      const output = await runModule(command, ['pull', `127.0.0.1:${port}`, copy, '--json']);
      const { wireBytes = Number.NaN } = JSON.parse(output) as PullResult;
      return { seconds: (performance.now() - start) / 1000, wireBytes };
    };
  const ways: [string, (copy: string) => Promise<Pull>][] = [
    [OURS, pullFrom(shared.said)],
    [`${OURS}, one stream`, pullFrom(single.said)],
  ];
  if (daemon) ways.push([RSYNC, (copy) => daemon.pull(copy)]);
  if (tar && zstd) ways.push([TAR, () => tarZstd(original)]);

  const pulls = new Map<string, Pull[]>(ways.map(([name]) => [name, []]));
  let done = 0;
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of ways) {
      const copy = join(scratch, `copy-${done}`);
      progress(done++, rounds * ways.length, name);
      pulls.get(name)!.push(await run(copy));
      if (name === TAR) continue;
      compareTrees(original, copy);
      // A disk must not have to delete while others are measured.
      if (inMemory) rmSync(copy, { recursive: true });
    }
  }
  const of = (name: string, pick: (pull: Pull) => number) => pulls.get(name)?.map(pick);
  const seconds = (pull: Pull) => pull.seconds;
  const wire = (pull: Pull) => pull.wireBytes;
  const against = (id: string, name: string, pick: (pull: Pull) => number) => {
    const theirs = of(name, pick);
    if (theirs === undefined) return figure(id, null);
    const ratio = pairedRatio(of(OURS, pick)!, theirs);
    return figure(id, ratio.median, ratio);
  };
  const how = `${command.endsWith('.ts') ? 'from source' : 'as built'}, ${inMemory ? 'files in memory' : `files in ${scratch}`}`;
  return {
    bench: 'tree',
    summary: `${FILES} files of source text, ${(bytes / 2 ** 20).toFixed(1)} MiB, seed ${seed}; millrace ${how}. ${[rsync, tar, zstd].filter((each) => each).join('; ')}.`,
    payloads: [],
    tables: [
      {
        title: 'The whole tree, to an empty folder',
        columns: ['how', 'wire bytes', 'ratio', 'wall s', 'min', 'max'],
        rows: [...pulls.keys()].map((name) => {
          const wall = spread(of(name, seconds)!);
          const received = spread(of(name, wire)!).median;
          return [name, received, bytes / received, wall.median, wall.min, wall.max];
        }),
        note: 'Wall time of the whole client process, the start of Node included. tar | zstd is packing alone: nothing is sent and nothing is unpacked.',
      },
    ],
    charts: [],
    figures: [against('tree.bytes_vs_tar_zstd', TAR, wire), against('tree.wall_vs_rsync', RSYNC, seconds)],
    skipped: [
      ...(daemon ? [] : ['rsync -z: rsync is not installed']),
      ...(tar && zstd ? [] : [`${TAR}: ${tar ? 'zstd' : 'tar'} is not installed`]),
    ],
    raw: Object.fromEntries(pulls),
  };
}
