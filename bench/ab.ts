/** Another revision of this repository in a work tree of its own, and its benches in turns with ours. */

import { execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../src/experiment/process/run.ts';
import { parseReport } from './compare.ts';
import type { Report } from './report.ts';
import { Scratch } from './scratch.ts';

const HERE = join(import.meta.dirname, '..');

/** A revision, checked out and built; gone when disposed of, and at the latest when the process exits. */
export class WorkTree implements Disposable {
  readonly path: string;
  readonly commit: string;
  readonly #scratch = new Scratch();
  readonly #remove = () => this.#forget();

  private constructor(commit: string) {
    this.commit = commit;
    this.path = join(this.#scratch.path, 'tree');
    // Before the folder's own: what is left is no work tree any more.
    process.prependOnceListener('exit', this.#remove);
  }

  /** @throws Error when there is no such revision, or it does not build. */
  static async of(revision: string): Promise<WorkTree> {
    const hash = await git(
      'rev-parse',
      '--verify',
      '--quiet',
      '--end-of-options',
      `${revision}^{commit}`,
    ).catch(() => {
      throw new Error(`there is no revision ${revision}`);
    });
    const tree = new WorkTree(hash.trim());
    try {
      await git('worktree', 'add', '--detach', tree.path, tree.commit);
      await tree.#build();
      return tree;
    } catch (error) {
      tree[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#remove);
    this.#forget();
    this.#scratch[Symbol.dispose]();
  }

  /** With the packages that are installed here, where it needs the same. */
  async #build(): Promise<void> {
    const lock = (root: string) => readFileSync(join(root, 'package-lock.json'), 'utf8');
    if (lock(HERE) === lock(this.path))
      symlinkSync(join(HERE, 'node_modules'), join(this.path, 'node_modules'));
    else await npm(this.path, 'ci', '--ignore-scripts', '--no-audit', '--no-fund');
    await npm(this.path, 'run', '--silent', 'build');
  }

  #forget(): void {
    // It may not have come to be.
    if (!existsSync(this.path)) return;
    const worktree = (...args: string[]) =>
      execFileSync('git', ['-C', HERE, 'worktree', ...args], { stdio: 'ignore' });
    try {
      // Twice: also where it is still locked, for Ctrl-C came as it was made.
      worktree('remove', '--force', '--force', this.path);
    } catch {
      rmSync(this.path, { recursive: true, force: true });
      worktree('prune');
    }
  }
}

function git(...args: string[]): Promise<string> {
  return runCommand('git', ['-C', HERE, ...args]);
}

function npm(folder: string, ...args: string[]): Promise<string> {
  return runCommand('npm', ['--prefix', folder, ...args]);
}

export interface Turn {
  readonly bench: string;
  readonly quick: boolean;
  readonly seed: number;
}

/** One bench of the checkout at `root`, as its own command line runs it. @throws Error when there is no report. */
export async function benchOf(root: string, { bench, quick, seed }: Turn): Promise<Report> {
  using scratch = new Scratch();
  const json = join(scratch.path, 'report.json');
  const args = ['--no-warnings', join(root, 'bench/main.ts'), bench, '--seed', `${seed}`, '--json', json];
  const options: SpawnOptions = { stdio: ['ignore', 'ignore', 'inherit'] };
  const child = spawn(process.execPath, quick ? [...args, '--quick'] : args, options);
  // Not to be killed, as processes are that hear nothing: it has children and groups to clear up.
  const stop = () => void child.kill('SIGTERM');
  process.once('exit', stop);
  try {
    const [code] = await once(child, 'exit');
    if (!existsSync(json)) throw new Error(`bench ${bench} ended with ${code}`);
    return parseReport(readFileSync(json, 'utf8'));
  } finally {
    process.off('exit', stop);
  }
}
