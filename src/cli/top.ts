/** `millrace top`: what a server does just now, from its metrics. */

import type { ReadStream, WriteStream } from 'node:tty';
import type { Command } from 'commander';
import type { TopFigures } from '../ops/top-figures.ts';
import { visibleJson } from '../wire/visible.ts';
import { parseTarget, showTarget, type Target, wholeNumber } from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, Stopped, stopSignal } from './outcome.ts';
import { addToken, type ReachOptions, reachOptions } from './reach.ts';
import { addClientTls } from './tls.ts';
import { topLines } from './top-view.ts';
import { Watch } from './top-watch.ts';

const EXAMPLES = `
The address is that of --admin, or of a server with --metrics. On a terminal it goes on until q is pressed; elsewhere, and with
--once, it prints once, of what has come to pass within one interval. With --json a line is one JSON object.

Examples:
  millrace top 127.0.0.1:7712
  millrace top 127.0.0.1:7712 --once --json`;

/** What a terminal has that does not say. */
const USUAL_SIZE = { columns: 80, rows: 24 };

interface TopCommandOptions extends ReachOptions {
  interval: number;
  once?: boolean;
  json?: boolean;
}

export function addTop(program: Command, io: Io): void {
  const command = program
    .command('top')
    .description('watch what a server does: throughput, workers, the slowest commands, errors')
    .argument('<address>', 'HOST:PORT or unix:PATH', parseTarget)
    .option('--interval <ms>', 'between two looks', wholeNumber(100, 60_000), 1000)
    .option('--once', 'print once and end')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action((target: Target, options: TopCommandOptions) => top(target, options, io));
  addToken(addClientTls(command));
}

async function top(target: Target, options: TopCommandOptions, io: Io): Promise<void> {
  const reach = await reachOptions(options, target, io);
  const { signal, release } = stopSignal(undefined, io.signals);
  const quit = new AbortController();
  const watch = new Watch(target, reach, options.interval, AbortSignal.any([signal, quit.signal]));
  const screen = io.stdout as WriteStream;
  try {
    await watch.begin();
    if (screen.isTTY && !options.once && !options.json) await show(watch, target, screen, quit, io);
    else print(await watch.next(), target, options, io);
  } finally {
    release();
  }
}

function print(figures: TopFigures, target: Target, { json }: TopCommandOptions, io: Io): void {
  if (json) return io.print(visibleJson(figures));
  const look = { ...USUAL_SIZE, rows: Number.POSITIVE_INFINITY, isColored: false };
  for (const line of topLines(figures, showTarget(target), look)) io.print(line);
}

// ------------------------------------------------------------------------------------------- on a terminal

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const END_OF_LINE = '\u001b[K';
const END_OF_SCREEN = '\u001b[J';

/** Until q, Ctrl-C or a signal. A server that cannot be reached is asked again. */
async function show(
  watch: Watch,
  target: Target,
  screen: WriteStream,
  quit: AbortController,
  io: Io,
): Promise<void> {
  const name = showTarget(target);
  let figures: TopFigures | undefined;
  let problem: string | undefined;
  const draw = () => {
    const { columns = USUAL_SIZE.columns, rows = USUAL_SIZE.rows } = screen;
    const look = { columns, rows: rows - 1, isColored: !io.env.NO_COLOR, hint: 'q quits' };
    const lines =
      figures === undefined ? [`millrace ${name}: one moment …`] : topLines(figures, name, look, problem);
    screen.write(`${HOME}${lines.map((line) => `${line}${END_OF_LINE}\r\n`).join('')}${END_OF_SCREEN}`);
  };
  const release = onQuitKey(io.stdin as ReadStream, () => quit.abort());
  screen.write(ENTER);
  screen.on('resize', draw);
  try {
    while (!quit.signal.aborted) {
      draw();
      await watch.next().then(
        (now) => {
          figures = now;
          problem = undefined;
        },
        (error) => {
          if (error instanceof Stopped) throw error;
          problem = messageOf(error);
        },
      );
    }
  } finally {
    screen.off('resize', draw);
    release();
    screen.write(LEAVE);
  }
}

/** q, Q and Ctrl-C. */
const QUIT_KEYS: readonly number[] = [0x71, 0x51, 0x03];

/** Calls `quit` at q and Ctrl-C, which makes no signal while the terminal hands over each key. @returns how to stop that. */
function onQuitKey(stdin: ReadStream, quit: () => void): () => void {
  if (!stdin.isTTY) return () => undefined;
  const onKeys = (keys: Uint8Array) => {
    if (keys.some((key) => QUIT_KEYS.includes(key))) quit();
  };
  stdin.setRawMode(true).on('data', onKeys).resume();
  return () => void stdin.off('data', onKeys).setRawMode(false).pause();
}
