/** `rsync -z` of a tree from an rsync daemon over a loopback connection, and `tar | zstd -3` of the same tree. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../src/experiment/process/run.ts';
import { track } from '../src/experiment/process/track.ts';
import { freePort, untilListens } from './peers/listen.ts';

export interface Pull {
  readonly seconds: number;
  /** Received by the client. */
  readonly wireBytes: number;
}

export class RsyncDaemon implements Disposable {
  readonly #process: ChildProcess;
  readonly #port: number;

  private constructor(process: ChildProcess, port: number) {
    this.#process = process;
    this.#port = port;
  }

  /** @param scratch a directory for its configuration. */
  static async start(tree: string, scratch: string): Promise<RsyncDaemon> {
    const port = await freePort();
    const configuration = join(scratch, 'rsyncd.conf');
    writeFileSync(configuration, `use chroot = no\n[tree]\npath = ${tree}\nread only = yes\n`);
    const flags = [
      '--daemon',
      '--no-detach',
      '--address=127.0.0.1',
      `--port=${port}`,
      `--config=${configuration}`,
    ];
    const daemon = track(spawn('rsync', flags, { stdio: 'ignore' }));
    await untilListens(daemon, port);
    return new RsyncDaemon(daemon, port);
  }

  async pull(target: string): Promise<Pull> {
    const start = performance.now();
    const output = await runCommand('rsync', [
      '-az',
      '--stats',
      `rsync://127.0.0.1:${this.#port}/tree/`,
      target,
    ]);
    const seconds = (performance.now() - start) / 1000;
    const wireBytes = Number(/Total bytes received: ([\d,]+)/.exec(output)?.[1]?.replaceAll(',', ''));
    return { seconds, wireBytes };
  }

  [Symbol.dispose](): void {
    this.#process.kill('SIGKILL');
  }
}

/** Packed as one stream, in the order of the names. */
export async function tarZstd(tree: string): Promise<Pull> {
  const start = performance.now();
  const script = 'tar --sort=name --owner=0 --group=0 --mtime=@0 -C "$0" -c . | zstd -3 -q -c | wc -c';
  const wireBytes = Number(await runCommand('sh', ['-c', script, tree]));
  return { seconds: (performance.now() - start) / 1000, wireBytes };
}

/** The first line of a program's version; undefined if it is not there. */
export async function versionOf(program: string): Promise<string | undefined> {
  return runCommand(program, ['--version']).then(
    (output) => output.trim().split('\n')[0]?.trim().replace(/\s+/g, ' '),
    () => undefined,
  );
}
