/**
 * Emulated cores: threads held to a share of a core by Linux's cgroups, so that a machine of two cores shows what a
 * dozen do. A thread that may run 1 ms of every 10 ms is a core a tenth as fast.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const PERIOD_US = 10_000;
export const QUOTA_US = 1_000;

const PREFIX = 'millrace-bench-';

/** A folder of the `cpu` controller, in which groups can perhaps be made. */
export interface CpuFolder {
  readonly version: 1 | 2;
  readonly path: string;
  /** The group that this process is in: where its threads go back to. */
  readonly home: string;
}

/**
 * Where groups could be made, the likeliest first: beside or above the group that this process is in, for in version 2
 * a group with processes of its own has no groups with a `cpu` controller below it.
 * @param mounts text of /proc/mounts.
 * @param groups text of /proc/self/cgroup.
 */
export function cpuFolders(mounts: string, groups: string): CpuFolder[] {
  const found: CpuFolder[] = [];
  for (const line of mounts.split('\n')) {
    const [, at, type, options = ''] = line.split(' ');
    if (at === undefined) continue;
    if (type === 'cgroup' && options.split(',').includes('cpu')) {
      const own = /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1] ?? '/';
      // Inside a container the path may be one of outside, of which nothing is to be seen.
      const home = existsSync(join(at, own)) ? join(at, own) : at;
      found.push({ version: 1, path: home, home });
    } else if (type === 'cgroup2') {
      const own = /^0::(.*)$/m.exec(groups)?.[1] ?? '/';
      const home = existsSync(join(at, own)) ? join(at, own) : at;
      for (let path = home; path.startsWith(at); path = dirname(path)) {
        if (givesCpu(path)) found.push({ version: 2, path, home });
      }
    }
  }
  return found;
}

/** Whether groups below a folder of version 2 can be held to a share. */
function givesCpu(path: string): boolean {
  return readText(join(path, 'cgroup.subtree_control')).split(/\s/).includes('cpu');
}

/** The threads of one process, each on an emulated core of its own; free again, and the groups gone, when disposed of. */
export class EmulatedCores implements Disposable {
  readonly #folder: CpuFolder;
  readonly #path: string;
  readonly #cores: string[] = [];
  readonly #release = () => this.#letGo();
  #pid: number | undefined;

  private constructor(folder: CpuFolder, path: string) {
    this.#folder = folder;
    this.#path = path;
    process.once('exit', this.#release);
  }

  /**
   * Has a group ready in the first of `folders` that lets us, and says why when none does.
   * What a run that was killed has left there goes first.
   */
  static prepare(folders = hereFolders()): EmulatedCores | string {
    let why = 'this system has no cgroup with a cpu controller';
    for (const folder of folders) {
      try {
        sweep(folder.path);
        const path = join(folder.path, `${PREFIX}${process.pid}-${EmulatedCores.#made++}`);
        mkdirSync(path);
        const cores = new EmulatedCores(folder, path);
        try {
          cores.#makeCore();
          return cores;
        } catch (error) {
          cores[Symbol.dispose]();
          throw error;
        }
      } catch (error) {
        why = `no right to make a cgroup in ${folder.path} (${(error as NodeJS.ErrnoException).code ?? error})`;
      }
    }
    return why;
  }

  static #made = 0;

  /** Holds each of the threads of the process `pid` to an emulated core. */
  hold(pid: number, threads: readonly number[]): void {
    this.#pid = pid;
    // In version 2 threads move within their process's group alone.
    if (this.#folder.version === 2) writeFileSync(join(this.#path, 'cgroup.procs'), `${pid}`);
    for (const [i, thread] of threads.entries()) {
      const core = this.#cores[i] ?? this.#makeCore();
      writeFileSync(join(core, this.#folder.version === 1 ? 'tasks' : 'cgroup.threads'), `${thread}`);
    }
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#release);
    this.#letGo();
  }

  #makeCore(): string {
    const core = join(this.#path, `core-${this.#cores.length}`);
    mkdirSync(core);
    this.#cores.push(core);
    if (this.#folder.version === 1) {
      writeFileSync(join(core, 'cpu.cfs_period_us'), `${PERIOD_US}`);
      writeFileSync(join(core, 'cpu.cfs_quota_us'), `${QUOTA_US}`);
    } else {
      writeFileSync(join(core, 'cgroup.type'), 'threaded');
      if (this.#cores.length === 1) writeFileSync(join(this.#path, 'cgroup.subtree_control'), '+cpu');
      writeFileSync(join(core, 'cpu.max'), `${QUOTA_US} ${PERIOD_US}`);
    }
    return core;
  }

  /** Without waiting, for it is the last thing that a process does: a group goes only when no thread is in it. */
  #letGo(): void {
    if (this.#pid !== undefined && this.#folder.version === 2) {
      attempt(() => writeFileSync(join(this.#folder.home, 'cgroup.procs'), `${this.#pid}`));
    }
    removeGroup(this.#path, this.#folder.home);
  }
}

function hereFolders(): CpuFolder[] {
  return cpuFolders(readText('/proc/mounts'), readText('/proc/self/cgroup'));
}

/** Removes what processes that are gone have left. */
function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) removeGroup(join(folder, name), folder);
  }
}

/** A group and the cores in it; threads that are still in one go `home` first. */
function removeGroup(path: string, home: string): void {
  for (const name of attempt(() => readdirSync(path)) ?? []) {
    if (!name.startsWith('core-')) continue;
    const core = join(path, name);
    for (const thread of readText(join(core, 'tasks')).split('\n')) {
      if (thread !== '') attempt(() => writeFileSync(join(home, 'tasks'), thread));
    }
    attempt(() => rmdirSync(core));
  }
  attempt(() => rmdirSync(path));
}

/** A thread may end at any moment, and what is left of a group is removed by the next run. */
function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

function readText(path: string): string {
  return attempt(() => readFileSync(path, 'utf8')) ?? '';
}

/** Threads that a Node.js process has by itself, by the name that the system knows them by; the others are workers. */
export interface Threads {
  readonly pid: number;
  readonly main: number;
  readonly workers: readonly number[];
}

/** By the names that Node.js gives its threads. @param proc where the system shows the process, `/proc/PID`. */
export function threadsOf(pid: number, proc = `/proc/${pid}`): Threads {
  const workers = readdirSync(join(proc, 'task'))
    .filter((id) => readText(join(proc, 'task', id, 'comm')).trim() === 'WorkerThread')
    .map(Number)
    .sort((a, b) => a - b);
  return { pid, main: pid, workers };
}
