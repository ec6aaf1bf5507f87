/** The commands of a server: those that every server has, those of its root folder, and its user's. */

import type { CodecRegistry } from '../encoding/registry.ts';
import { fileCommands } from '../files/index.ts';
import type { CommandRequest, Handler, Output } from '../reactor/command.ts';
import type { Topics } from '../topics/topics.ts';
import { CommandError } from '../wire/errors.ts';
import type { Limits } from '../wire/limits.ts';
import { EXTENSIONS } from '../wire/payloads.ts';
import { CommandTable } from './commands.ts';
import type { ServerDictionaries } from './dictionaries.ts';
import { LIVE_COMMAND, type LiveFeed } from './live-figures.ts';
import type { CheckedOptions } from './options.ts';

/** A command of the user's takes the place of any but `capabilities`. @throws TypeError when a definition is none. */
export function commandTable(
  options: CheckedOptions,
  limits: () => Limits,
  codecs: CodecRegistry,
  topics: Topics,
  dictionaries: ServerDictionaries,
  live: LiveFeed,
): CommandTable {
  const commands = new CommandTable();
  commands.addRun('subscribe', 'ro', topics.subscribe);
  commands.add('publish', { handler: topics.publish, mode: 'rw' });
  if (options.http.page !== false) commands.addRun(LIVE_COMMAND, 'ro', live.watch, { encoded: true });
  commands.add('echo', { handler: echo, mode: 'ro' });
  commands.add('ping', { handler: () => 'pong', mode: 'ro' });
  const files = options.root === undefined ? {} : fileCommands(options.root);
  for (const [name, definition] of Object.entries({ ...files, ...options.commands })) {
    commands.add(name, definition);
  }
  const profiles = { encode: codecs.encodable(), decode: codecs.profiles() };
  const capabilities = () =>
    JSON.stringify({ commands: commands.names, profiles, limits: limits(), extensions: EXTENSIONS });
  // Plain, for who asks has none yet.
  if (dictionaries.byId.size > 0)
    commands.add('dictionary', { handler: dictionaryOf(dictionaries), mode: 'ro', sensitive: true });
  commands.add('capabilities', { handler: capabilities, mode: 'ro' });
  return commands;
}

/** `dictionary`: the bytes of the one that the argument `id` names (protocol C9). */
function dictionaryOf({ byId }: ServerDictionaries): Handler {
  return (request) => {
    const dictionary = byId.get(request.text('id') ?? '');
    if (dictionary === undefined)
      throw new CommandError('there is no such dictionary', { code: 'not-found' });
    return dictionary.bytes;
  };
}

/** `echo`: the argument `value` first if given, then the command data as it arrives. */
async function* echo(request: CommandRequest): AsyncGenerator<Output> {
  const value = request.args.get('value');
  if (value !== undefined) yield value;
  yield* request.data;
}
