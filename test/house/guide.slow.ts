/**
 * The pages of the guide, done as a reader does them: files are written where a block's first line names one, blocks of shell run
 * one after the other in one shell, and what a block of text says has to be printed in that order; … stands for anything.
 * Only `npm install` is not run (test/package/installed.slow.ts does that): `millrace` is this checkout.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import { MILLRACE } from '../cli/helper.ts';
import { ROOT } from '../helpers/imports.ts';
import { Watch } from '../helpers/serving.ts';

const PRELOADED = new URL('../helpers/from-source.ts', import.meta.url).href;

interface Block {
  readonly language: string;
  readonly code: string;
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({ language, code }));
}

/** A shell in a folder below the checkout, where packages are found as beside an installed one. */
class Reader {
  readonly #folder: string;
  readonly #places: ReadonlyMap<string, string>;
  readonly #shell: ChildProcess;
  readonly #watch = new Watch();
  #printed = '';
  /** What is printed up to here has been read. */
  #at = 0;
  #code: number | null | undefined;
  #steps = 0;
  /** Where the shell is, for files go there. */
  #dir: string;

  private constructor(folder: string, places: ReadonlyMap<string, string>) {
    this.#folder = folder;
    this.#dir = folder;
    this.#places = places;
    const path = [join(folder, '.bin'), join(ROOT, 'node_modules/.bin'), process.env.PATH].join(delimiter);
    const env = { ...process.env, PATH: path, NO_COLOR: '1', npm_config_update_notifier: 'false' };
    this.#shell = spawn('bash', ['-m', '-euo', 'pipefail'], { cwd: folder, env, detached: true });
    for (const stream of [this.#shell.stdout, this.#shell.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#printed += text;
        this.#watch.changed();
      });
    this.#shell.once('exit', (code) => {
      this.#code = code;
      this.#watch.changed();
    });
  }

  static async open(t: ExecutionContext): Promise<Reader> {
    const folder = mkdtempSync(join(ROOT, 'node_modules/.millrace-guide-'));
    mkdirSync(join(folder, '.bin'));
    const program = (name: string, lines: string) => {
      writeFileSync(join(folder, '.bin', name), `#!/bin/bash\n${lines}\n`);
      chmodSync(join(folder, '.bin', name), 0o755);
    };
    program('node', `exec ${process.execPath} --no-warnings --import ${PRELOADED} "$@"`);
    program('npx', `shift; exec ${process.execPath} ${MILLRACE} "$@"`);
    program('npm', `[ "$1" = install ] && exit 0; PATH=\${PATH#*:}; exec npm "$@"`);
    const places = new Map<string, string>();
    for (const port of ['7711', '7712', '7713']) places.set(port, String(await freePort()));
    const reader = new Reader(folder, places);
    t.teardown(() => reader.#close());
    return reader;
  }

  async does({ language, code }: Block): Promise<void> {
    const placed = this.#placed(code);
    if (language === 'sh') await this.#run(placed);
    else if (language === 'text') await this.#expect(placed);
    else {
      const [, name] = /^(?:\/\/|#) ([\w.-]+)$/m.exec(placed.split('\n', 1)[0]) ?? [];
      if (name !== undefined) writeFileSync(join(this.#dir, name), placed);
    }
  }

  /** Ports that are free here. */
  #placed(text: string): string {
    return text.replace(/\b771[123]\b/g, (port) => this.#places.get(port) as string);
  }

  async #run(code: string): Promise<void> {
    const step = ++this.#steps;
    const [file, done] = [join(this.#folder, `.step${step}`), `step ${step} is done in`];
    writeFileSync(file, code);
    this.#at = this.#printed.length;
    // What it runs must not read what the shell is to run next.
    this.#shell.stdin?.write(`. ${file} < /dev/null\necho "${done} $PWD"\n`);
    const [, dir] = await this.#until(new RegExp(`^${done} (.*)$`, 'm'));
    this.#dir = dir;
  }

  async #expect(text: string): Promise<void> {
    for (const line of text.trim().split('\n')) {
      const pattern = line.split('…').map((part) => part.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
      const found = await this.#until(new RegExp(pattern.join('.*')));
      this.#at = found.index + found[0].length;
    }
  }

  async #until(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#watch.until(() => {
      const found = pattern.exec(this.#printed.slice(this.#at));
      if (found !== null) return Object.assign(found, { index: this.#at + found.index });
      if (this.#code === undefined) return undefined;
      throw new Error(`the shell ended with ${this.#code}, and printed no ${pattern}:\n${this.#printed}`);
    });
  }

  async #close(): Promise<void> {
    // It and all that it has begun, which hold its output open as long as they live.
    const { pid } = this.#shell;
    if (pid !== undefined && this.#code === undefined) {
      const gone = once(this.#shell, 'close');
      spawn('pkill', ['-KILL', '-s', String(pid)]);
      await gone;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

for (const page of ['tutorial.md', 'choosing.md', 'operations.md', 'migration.md']) {
  test.serial(`docs/${page} does what it says`, async (t) => {
    const reader = await Reader.open(t);
    const blocks = blocksOf(page);
    t.true(blocks.some(({ language }) => language === 'sh'));
    for (const block of blocks) await reader.does(block);
  });
}
