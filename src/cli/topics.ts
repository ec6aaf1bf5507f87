/** `millrace subscribe` and `millrace publish`: topics on the command line. */

import { type Command, Option } from 'commander';
import type { Client } from '../client/client.ts';
import type { TopicGap, TopicMessage } from '../wire/topic-records.ts';
import { visibleJson } from '../wire/visible.ts';
import { notEmpty, parseServer, SERVER, type ServerTarget, wholeNumber } from './arguments.ts';
import { readData } from './data.ts';
import type { Io } from './io.ts';
import { stopSignal } from './outcome.ts';
import { addReach, dial, endAfter, plainHint, type ReachOptions, reachOptions } from './reach.ts';
import { oneLine, plural } from './show.ts';

const SUBSCRIBE_EXAMPLES = `
One line for each message, with spaces for its line ends; what is no text is shown as well as may be. With --json a line is
{"sequence":7,"text":"…"}, with "base64" instead where it is no text, and {"lost":3,"sequence":11} where messages were lost.

Examples:
  millrace subscribe 127.0.0.1:7711 prices
  millrace subscribe 127.0.0.1:7711 prices --json --after 1200`;

const PUBLISH_EXAMPLES = `
The message is what --data names, or standard input, to its end. Its number in the topic is printed.

Examples:
  echo hello | millrace publish 127.0.0.1:7711 prices
  millrace publish 127.0.0.1:7711 prices --data today.json`;

interface SubscribeCommandOptions extends ReachOptions {
  json?: boolean;
  after?: number;
  slow?: 'skip' | 'cancel';
}

interface PublishCommandOptions extends ReachOptions {
  data: string;
}

export function addSubscribe(program: Command, io: Io): void {
  const subscribe = program
    .command('subscribe')
    .description('print the messages of a topic as they come')
    .argument('<address>', SERVER, parseServer)
    .argument('<topic>', "the topic's name", notEmpty)
    .option('--json', 'print JSON, with the number of each message')
    .option(
      '--after <n>',
      'begin after the message of this number, as far as the topic has it',
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    )
    .addOption(
      new Option('--slow <what>', 'what is to happen when messages come faster than they are taken').choices([
        'skip',
        'cancel',
      ]),
    )
    .addHelpText('after', SUBSCRIBE_EXAMPLES)
    .action((target: ServerTarget, topic: string, options: SubscribeCommandOptions) =>
      subscribeCommand(target, topic, options, io),
    );
  addReach(subscribe);
}

export function addPublish(program: Command, io: Io): void {
  const publish = program
    .command('publish')
    .description('publish a message to a topic')
    .argument('<address>', SERVER, parseServer)
    .argument('<topic>', "the topic's name", notEmpty)
    .option('--data <file>', 'the message: a file, or - for standard input', '-')
    .addHelpText('after', PUBLISH_EXAMPLES)
    .action((target: ServerTarget, topic: string, options: PublishCommandOptions) =>
      publishCommand(target, topic, options, io),
    );
  addReach(publish);
}

async function subscribeCommand(
  target: ServerTarget,
  topic: string,
  options: SubscribeCommandOptions,
  io: Io,
): Promise<void> {
  const { json = false, after, slow } = options;
  const reach = await reachOptions(options, target, io);
  const client = await dial(target, reach, options);
  const { signal, release } = stopSignal(undefined, io.signals);
  const isOutputGone = io.onOutputGone(() => client.destroy());
  const onGap = (gap: TopicGap) => tellGap(gap, json, io);
  try {
    for await (const message of client.subscribe(topic, { after, slow, signal, onGap }))
      await io.write(`${json ? jsonOf(message) : textOf(message)}\n`);
    await client.close();
  } catch (error) {
    await endAfter(error, client);
    if (!isOutputGone()) throw plainHint(error, options);
  } finally {
    release();
    client.destroy();
  }
}

function tellGap({ lost, sequence }: TopicGap, json: boolean, io: Io): void {
  if (json) io.stdout.write(`${JSON.stringify({ lost, sequence })}\n`);
  else io.complain(`${plural(lost, 'message')} lost before number ${sequence}`);
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf({ data }: TopicMessage): string {
  return oneLine(Buffer.from(data.buffer, data.byteOffset, data.length).toString());
}

function jsonOf({ sequence, data }: TopicMessage): string {
  try {
    return visibleJson({ sequence, text: strictUtf8.decode(data) });
  } catch {
    return JSON.stringify({ sequence, base64: Buffer.from(data).toString('base64') });
  }
}

async function publishCommand(
  target: ServerTarget,
  topic: string,
  options: PublishCommandOptions,
  io: Io,
): Promise<void> {
  const reach = await reachOptions(options, target, io);
  const { signal, release } = stopSignal(undefined, io.signals);
  const stopReading = () => io.stdin.destroy();
  signal.addEventListener('abort', stopReading, { once: true });
  let client: Client | undefined;
  try {
    client = await dial(target, reach, options, signal);
    const data = await begunWith(readData(options.data, io));
    io.print(oneLine(await client.call('publish', { args: { topic }, data, signal }).text()));
    await client.close();
  } catch (error) {
    signal.throwIfAborted();
    await endAfter(error, client);
    throw error;
  } finally {
    release();
    client?.destroy();
    io.stdin.destroy();
  }
}

/** Bytes of a message that are read before any is sent: a server does not wait for one that comes slowly. */
const READ_AHEAD = 1 << 20;

/** The same pieces, when all of them are at hand, or so many that the rest had better be sent as it is read. */
async function begunWith(pieces: AsyncGenerator<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const first: Uint8Array[] = [];
  let length = 0;
  while (length <= READ_AHEAD) {
    const { value, done } = await pieces.next();
    if (done) break;
    first.push(value);
    length += value.length;
  }
  return (async function* () {
    yield* first;
    yield* pieces;
  })();
}
