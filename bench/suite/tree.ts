/** A tree of thousands of small files pulled over one connection, against `rsync -z` and `tar | zstd -3`. */
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { runModule } from '../../src/experiment/process/run.ts';
import type { PullResult } from '../../src/files/pull.ts';
import type { Bench, BenchContext, Result } from '../bench.ts';
import { figure } from '../figures.ts';
import { changeSome, compareTrees, makeTree } from '../files.ts';
import { startModule } from '../proc.ts';
import { type Pull, RsyncDaemon, tarZstd, versionOf } from '../rsync.ts';
import { memoryFolder, Scratch } from '../scratch.ts';
import { pairedRatio, type Spread, spread } from '../stats.ts';

const FILES = 6000;
/** Of so many files one is another than the server's, where some have changed. */
const CHANGED_OF = 100;

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

/** What a pull finds, one after the other in each round; the first is into a folder that is not there. */
const PHASES = {
  empty: 'The whole tree, to an empty folder',
  same: 'The same again, nothing changed',
  some: `Again, one file of ${CHANGED_OF} changed`,
} as const;
type Phase = keyof typeof PHASES;

/** The pulls of each phase, by who did them. */
type Pulls = Record<Phase, Map<string, Pull[]>>;

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

  const pulls: Pulls = { empty: new Map(), same: new Map(), some: new Map() };
  const add = (phase: Phase, name: string, pull: Pull) =>
    pulls[phase].set(name, [...(pulls[phase].get(name) ?? []), pull]);
  let done = 0;
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of ways) {
      const copy = join(scratch, `copy-${done}`);
      progress(done++, rounds * ways.length, name);
      add('empty', name, await run(copy));
      if (name === TAR) continue;
      add('same', name, await run(copy));
      changeSome(copy, CHANGED_OF);
      add('some', name, await run(copy));
      compareTrees(original, copy);
      // A disk must not have to delete while others are measured.
      if (inMemory) rmSync(copy, { recursive: true });
    }
  }
  const seconds = (pull: Pull) => pull.seconds;
  const wire = (pull: Pull) => pull.wireBytes;
  const against = (phase: Phase, name: string, pick: (pull: Pull) => number) => {
    const theirs = pulls[phase].get(name);
    return theirs && pairedRatio(pulls[phase].get(OURS)!.map(pick), theirs.map(pick));
  };
  const shown = (id: string, ratio: Spread | undefined) => figure(id, ratio?.median ?? null, ratio);
  const [same, some] = [against('same', RSYNC, seconds), against('some', RSYNC, seconds)];
  const how = `${command.endsWith('.ts') ? 'from source' : 'as built'}, ${inMemory ? 'files in memory' : `files in ${scratch}`}`;
  return {
    bench: 'tree',
    summary: `${FILES} files of source text, ${(bytes / 2 ** 20).toFixed(1)} MiB, seed ${seed}; millrace ${how}. ${[rsync, tar, zstd].filter((each) => each).join('; ')}.`,
    payloads: [],
    tables: (Object.keys(PHASES) as Phase[]).map((phase) => ({
      title: PHASES[phase],
      columns: ['how', 'wire bytes', 'ratio', 'wall s', 'min', 'max'],
      rows: [...pulls[phase]].map(([name, of]) => {
        const wall = spread(of.map(seconds));
        const received = spread(of.map(wire)).median;
        return [name, received, bytes / received, wall.median, wall.min, wall.max];
      }),
      note: 'Wall time of the whole client process, the start of Node included. tar | zstd is packing alone: nothing is sent and nothing is unpacked.',
    })),
    charts: [],
    figures: [
      shown('tree.bytes_vs_tar_zstd', against('empty', TAR, wire)),
      shown('tree.wall_vs_rsync', against('empty', RSYNC, seconds)),
      // Both have to be quick.
      shown('tree.again_vs_rsync', same && some && same.median > some.median ? same : some),
    ],
    skipped: [
      ...(daemon ? [] : ['rsync -z: rsync is not installed']),
      ...(tar && zstd ? [] : [`${TAR}: ${tar ? 'zstd' : 'tar'} is not installed`]),
    ],
    raw: Object.fromEntries(Object.entries(pulls).map(([phase, of]) => [phase, Object.fromEntries(of)])),
  };
}
