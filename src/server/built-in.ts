/** The commands of a server: those that every server has, those of its root folder, and its user's. */

import type { CodecRegistry } from '../encoding/registry.ts';
import { fileCommands } from '../files/index.ts';
import type { CommandRequest, Output } from '../reactor/command.ts';
import type { Limits } from '../wire/limits.ts';
import { EXTENSIONS } from '../wire/payloads.ts';
import { CommandTable } from './commands.ts';
import type { CheckedOptions } from './options.ts';

/** A command of the user's takes the place of any but `capabilities`. @throws TypeError when a definition is none. */
export function commandTable(
  options: CheckedOptions,
  limits: () => Limits,
  codecs: CodecRegistry,
): CommandTable {
  const commands = new CommandTable();
  commands.add('echo', { handler: echo, mode: 'ro' });
  commands.add('ping', { handler: () => 'pong', mode: 'ro' });
  const files = options.root === undefined ? {} : fileCommands(options.root);
  for (const [name, definition] of Object.entries({ ...files, ...options.commands })) {
    commands.add(name, definition);
  }
  const profiles = { encode: codecs.encodable(), decode: codecs.profiles() };
  const capabilities = () =>
    JSON.stringify({ commands: commands.names, profiles, limits: limits(), extensions: EXTENSIONS });
  commands.add('capabilities', { handler: capabilities, mode: 'ro' });
  return commands;
}

/** `echo`: the argument `value` first if given, then the command data as it arrives. */
async function* echo(request: CommandRequest): AsyncGenerator<Output> {
  const value = request.args.get('value');
  if (value !== undefined) yield value;
  yield* request.data;
}
