/** Commands with the types of their arguments, from which a client's types are made. */

import type { SchemaInput, SchemaOutput, StandardSchema } from '../options/schema.ts';
import type { Handler } from '../reactor/command.ts';
import type { CommandDefinition, CommandRules, LaneCommand } from './commands.ts';

/** A definition whose handler gets what `Schema` makes of the arguments. */
export type DefinitionOf<Schema> =
  | Handler
  | (CommandRules<Schema & StandardSchema> & { readonly handler: Handler<SchemaOutput<Schema>> })
  | LaneCommand<Schema & StandardSchema>;

/** The commands of a server as its clients know them: `connect<typeof commands>()`. */
export type DefinedCommands<Schemas> = {
  readonly [Name in keyof Schemas]: CommandDefinition & { readonly '~input'?: SchemaInput<Schemas[Name]> };
};

/**
 * Gives `commands` as they are, with a type for clients: their names, and the arguments that each takes by its schema.
 * Handlers on the main thread get `request.input` typed; one in a lane says `CommandRequest<Input>` itself.
 */
export function defineCommands<Schemas extends Record<string, unknown>>(
  commands: {
    readonly [Name in keyof Schemas]: DefinitionOf<Schemas[Name]>;
  },
): DefinedCommands<Schemas> {
  return commands as DefinedCommands<Schemas>;
}
