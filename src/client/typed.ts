/** What a client knows of its server's commands when it is given their type. */

import type { Bytes } from '../wire/bytes.ts';
import type { CallOptions } from './options.ts';

/** Commands that nothing is known of. */
// biome-ignore lint/suspicious/noExplicitAny: they take any arguments.
export type AnyCommands = Readonly<Record<string, { readonly '~input'?: any }>>;

/** Those that every server has, or has with a root folder. */
export type BuiltInCommand =
  | 'echo'
  | 'capabilities'
  | 'ping'
  | 'subscribe'
  | 'publish'
  | 'server.stats'
  | 'files.list'
  | 'files.get'
  | 'files.bundle'
  | 'files.stat';

/** The names that can be called; any, where nothing is known. */
export type CommandName<Commands> = (keyof Commands & string) | BuiltInCommand;

/** A value as it travels: text or bytes. A schema that takes numbers only has to coerce them. */
export type Travels<Value> = unknown extends Value
  ? string | Bytes
  : Extract<Value, string | Bytes> | Extract<Value, undefined>;

/** The arguments of a command whose schema takes `Input`. */
export type ArgumentsOf<Input> = { readonly [Name in keyof Input]: Travels<Input[Name]> };

/** What the schema of a command takes; undefined without one. */
export type InputOf<Commands, Name> = Name extends keyof Commands
  ? Commands[Name] extends { readonly '~input'?: infer Input }
    ? Input
    : undefined
  : undefined;

/** The options of a call whose arguments are known. */
export type TypedOptions<Input, Options = CallOptions> = Omit<Options, 'args'> & { args: ArgumentsOf<Input> };

/** The options of a call: they may be left out where no argument has to be given. */
export type CallArguments<Commands, Name, Options = CallOptions> =
  unknown extends InputOf<Commands, Name>
    ? [options?: Options]
    : [InputOf<Commands, Name>] extends [undefined]
      ? [options?: Options]
      : object extends ArgumentsOf<InputOf<Commands, Name>>
        ? [options?: Partial<TypedOptions<InputOf<Commands, Name>, Options>>]
        : [options: TypedOptions<InputOf<Commands, Name>, Options>];
