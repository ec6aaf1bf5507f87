/** `millrace call`: one command, its response on standard output. */

import type { Command } from 'commander';
import { visibleLines } from '../wire/visible.ts';
import { pairs, parseServer, SERVER, type ServerTarget, wholeNumber } from './arguments.ts';
import { readData } from './data.ts';
import type { Io } from './io.ts';
import { stopSignal } from './outcome.ts';
import { addReach, dial, endAfter, plainHint, type ReachOptions, reachOptions } from './reach.ts';

const EXAMPLES = `
The response goes to standard output as it comes; lines that the server has for people go to standard error.

Examples:
  millrace call 127.0.0.1:7711 capabilities
  millrace call 127.0.0.1:7711 files.get path=readme.txt offset=100 length=20
  tar c . | millrace call unix:/run/millrace.sock echo --data - > copy.tar
  millrace call hg.example:7711 capabilities --plain`;

/** Commander gives an empty array where there are none. */
type CallArguments = Record<string, string> | [];

interface CallCommandOptions extends ReachOptions {
  data?: string;
  deadline?: number;
  sensitive?: boolean;
}

export function addCall(program: Command, io: Io): void {
  const call = program
    .command('call')
    .description('run one command of a server')
    .argument('<address>', SERVER, parseServer)
    .argument('<command>', "the command's name")
    .argument('[name=value...]', 'its arguments', pairs(String))
    .option('--data <file>', 'send this file as command data, - for standard input')
    .option(
      '--deadline <ms>',
      'let the server give up after so many milliseconds',
      wholeNumber(0, 2 ** 31 - 1),
    )
    .option('--sensitive', 'keep the response out of every shared compression context')
    .addHelpText('after', EXAMPLES)
    .action((target: ServerTarget, command: string, args: CallArguments, options: CallCommandOptions) =>
      callCommand(target, command, args, options, io),
    );
  addReach(call, ['deadline', 'sensitive']);
}

async function callCommand(
  target: ServerTarget,
  command: string,
  args: CallArguments,
  options: CallCommandOptions,
  io: Io,
): Promise<void> {
  const reach = await reachOptions(options, target, io);
  const data = options.data === undefined ? undefined : readData(options.data, io);
  const client = await dial(target, reach, options);
  const { signal, release } = stopSignal(undefined, io.signals);
  // The response is for that output alone, and may be one that never ends.
  const isOutputGone = io.onOutputGone(() => client.destroy());
  try {
    const response = client.call(command, {
      args: Array.isArray(args) ? {} : args,
      data,
      signal,
      deadlineMs: options.deadline,
      sensitive: options.sensitive,
      onText: (text) => void io.stderr.write(visibleLines(text)),
    });
    for await (const chunk of response) await io.write(chunk);
    await client.close();
  } catch (error) {
    await endAfter(error, client);
    if (!isOutputGone()) throw plainHint(error, options);
  } finally {
    release();
    client.destroy();
    io.stdin.destroy();
  }
}
