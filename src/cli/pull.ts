/** `millrace pull`: fetches what a server serves, and only what is not there yet. */

import type { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import type { Client } from '../client/client.ts';
import type { Pool } from '../client/pool.ts';
import { shownPath } from '../files/paths.ts';
import type { PullProgress, PullResult } from '../files/pull.ts';
import { MAX_TIMER_MS } from '../wire/timers.ts';
import { visibleJson } from '../wire/visible.ts';
import { notEmpty, parseServer, SERVER, type ServerTarget, wholeNumber } from './arguments.ts';
import { makeBar } from './bar.ts';
import { EXIT_FAILED, type Io } from './io.ts';
import { stopSignal } from './outcome.ts';
import { addReach, endAfter, plainHint, type Reach, type ReachOptions, reachOptions } from './reach.ts';
import { bytes, duration, plural } from './show.ts';

const EXAMPLES = `
What is there already, as long and as old as the server's, is left alone. A file appears only when it is whole.
The exit code is 1 when a file could not be had, or the server had to leave something out of its listing.

Examples:
  millrace pull 127.0.0.1:7711 ./copy
  millrace pull docs.example:7711 ./copy --path guide/images
  millrace pull docs.example:7711 ./copy --tls
  millrace pull unix:/run/millrace.sock ./copy --json`;

interface PullCommandOptions extends ReachOptions {
  path?: string;
  inFlight: number;
  json?: boolean;
  retry: number;
}

/** Milliseconds until the first try to connect again. */
const RETRY_AFTER_MS = 250;

/** Lines about single files that are printed; the others are counted. */
const MAX_FAILURE_LINES = 20;

export function addPull(program: Command, io: Io): void {
  const command = program
    .command('pull')
    .description('fetch what a server serves into a folder')
    .argument('<address>', SERVER, parseServer)
    .argument('<dest>', 'the folder; made where it is missing', notEmpty)
    .option('--path <path>', 'fetch only this part of the tree, to the same path below DEST')
    .option('--in-flight <n>', 'requests in flight at a time', wholeNumber(1, 10_000), 64)
    .option(
      '--retry <n>',
      'connect again when the connection is lost, up to so many times in a row',
      wholeNumber(0, 1000),
      0,
    )
    .option('--json', 'print one JSON object instead')
    .addHelpText('after', EXAMPLES)
    .action((target: ServerTarget, dest: string, options: PullCommandOptions) =>
      pullCommand(target, dest, options, io),
    );
  addReach(command);
}

async function pullCommand(
  target: ServerTarget,
  dest: string,
  options: PullCommandOptions,
  io: Io,
): Promise<void> {
  const reach = await reachOptions(options, target, io);
  const { pull } = await import('../files/pull.ts');
  const client = await connectTo(target, reach, options.retry).catch((error) => {
    throw plainHint(error, options);
  });
  const { signal, release } = stopSignal(undefined, io.signals);
  const meter = await makeMeter(!options.json && io.stderr.isTTY === true, io);
  const startedAtMs = performance.now();
  let progress: Readonly<PullProgress> | undefined;
  try {
    const { path, inFlight } = options;
    const onProgress = (now: Readonly<PullProgress>) => {
      progress = now;
      meter.update(now);
    };
    const result = await pull(client, dest, { path, inFlight, signal, onProgress, retries: options.retry });
    meter.stop();
    const seconds = (performance.now() - startedAtMs) / 1000;
    if (options.json) io.print(visibleJson({ ...result, seconds }));
    else printResult(result, seconds, io);
    if (result.failed.length > 0) io.exitCode = EXIT_FAILED;
    await client.close();
  } catch (error) {
    meter.stop();
    await endAfter(error, client);
    throw explained(plainHint(error, options), progress);
  } finally {
    release();
    client.destroy();
  }
}

/** A client, or with `retries` a pool of one connection, which is made again when it is lost. */
async function connectTo(target: ServerTarget, reach: Reach, retries: number): Promise<Client | Pool> {
  if (retries === 0) return (await import('../client/connect.ts')).connect(target, reach);
  const { connectPool } = await import('../client/connect-pool.ts');
  return connectPool(target, {
    connect: reach,
    minBackoffMs: RETRY_AFTER_MS,
    circuitFailures: retries + 1,
    maxWaitMs: MAX_TIMER_MS,
  });
}

function printResult(result: PullResult, seconds: number, io: Io): void {
  const { files, skipped, failed, wireBytes = 0, notes } = result;
  for (const note of notes) io.complain(note);
  for (const { path, error } of failed.slice(0, MAX_FAILURE_LINES)) {
    // The server's own messages end in the path already.
    io.complain(path === '' || error.endsWith(shownPath(path)) ? error : `${path}: ${error}`);
  }
  const unsaid = failed.length - MAX_FAILURE_LINES;
  if (unsaid > 0) io.complain(`and ${unsaid} more`);
  const parts = [
    `${plural(files, 'file')}, ${bytes(result.bytes)} (${bytes(wireBytes)} on the wire) in ${duration(seconds)}`,
  ];
  if (skipped > 0) parts.push(`${skipped} already there`);
  if (failed.length > 0) parts.push(`${failed.length} failed`);
  io.print(parts.join(', '));
}

/** What happened, and what there is to show for it. */
function explained(error: unknown, progress: Readonly<PullProgress> | undefined): unknown {
  if (progress === undefined || !(error instanceof Error)) return error;
  const { files, totalFiles } = progress;
  error.message += `; ${files} of ${plural(totalFiles, 'file')} came, the same command fetches the rest`;
  return error;
}

interface Meter {
  update(progress: Readonly<PullProgress>): void;
  stop(): void;
}

/** A bar on the terminal, or nothing. */
async function makeMeter(isWanted: boolean, io: Io): Promise<Meter> {
  if (!isWanted) return { update: () => {}, stop: () => {} };
  const bar = await makeBar(
    '{bar} {percentage}% │ {done} of {all} │ {files} of {totalFiles} files │ {rate}/s │ {left} left',
    io,
  );
  return new BarMeter(bar);
}

/** Milliseconds between two looks at the progress: it may change thousands of times in a second. */
const BAR_INTERVAL_MS = 50;

class BarMeter implements Meter {
  readonly #bar: SingleBar;
  #startedAtMs: number | undefined;
  #shownAtMs = 0;

  constructor(bar: SingleBar) {
    this.#bar = bar;
  }

  update(progress: Readonly<PullProgress>): void {
    const nowMs = performance.now();
    if (nowMs - this.#shownAtMs < BAR_INTERVAL_MS) return;
    this.#shownAtMs = nowMs;
    const payload = this.#payload(progress);
    if (this.#startedAtMs !== undefined) this.#bar.update(progress.bytes, payload);
    else {
      this.#startedAtMs = nowMs;
      this.#bar.start(progress.totalBytes, progress.bytes, payload);
    }
  }

  stop(): void {
    this.#bar.stop();
  }

  #payload({ files, totalFiles, bytes: done, totalBytes }: Readonly<PullProgress>): object {
    const seconds = (performance.now() - (this.#startedAtMs ?? performance.now())) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    return {
      files,
      totalFiles,
      done: bytes(done),
      all: bytes(totalBytes),
      rate: bytes(rate),
      left: duration((totalBytes - done) / rate),
    };
  }
}
