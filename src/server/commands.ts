/** What a server's commands are made of. */

import type { HandlerModule } from '../../workers/calls.ts';
import { MAX_HANDLERS } from '../../workers/records.ts';
import { CONTEXTS, type Contexts } from '../lanes/stream-kind.ts';
import {
  anything,
  boolean,
  callable,
  filledString,
  nested,
  oneOf,
  type Rules,
  rule,
  shown,
} from '../options/rules.ts';
import { type StandardSchema, schema } from '../options/schema.ts';
import type { Handler } from '../reactor/command.ts';
import { asError } from '../wire/thrown.ts';
import type { CommandMode } from './authorize.ts';
import { CommandFigures, type CommandRow } from './command-figures.ts';
import type { Run, ServedRequest } from './request.ts';

/** Rules that hold wherever the handler runs. */
export interface CommandRules<Schema extends StandardSchema = StandardSchema> {
  /**
   * Holds the arguments to a schema before the handler runs, on the main thread, wherever that is: arguments that it does
   * not take fail the request with the code `invalid-argument`. It is given an object of text, or of bytes for what is no
   * UTF-8; the handler gets what it makes of it as `request.input`.
   */
  readonly args?: Schema;
  /** What belongs together under the policy `affinity`; without it, the command's name. */
  readonly affinityKey?: (args: ReadonlyMap<string, Uint8Array>) => string | undefined;
  /** Responses stay out of every shared context (protocol D). */
  readonly sensitive?: boolean;
  /** Whether the streams of its responses keep their context; default: the server's `contexts`. */
  readonly contexts?: Contexts;
  /** What the authorize hook is told of the command; default `rw`: it may change state. */
  readonly mode?: CommandMode;
  /** What the authorize hook is told as `paths`: the files that the arguments name, as they really are. */
  readonly realPaths?: (args: ReadonlyMap<string, Uint8Array>) => Promise<readonly string[]>;
}

/** A command whose handler runs on the main thread. */
export interface MainCommand extends CommandRules {
  readonly handler: Handler;
}

/** A command whose handler runs in the lanes: the export of a module, or with `options` what that export makes. */
export interface LaneCommand<Schema extends StandardSchema = StandardSchema> extends CommandRules<Schema> {
  /** The module's URL, such as `new URL('handlers.js', import.meta.url)`. */
  readonly module: URL | string;
  /** What it exports that is the handler; default `default`. */
  readonly export?: string;
  /** Structured-clonable; given to the export, which returns a Handler or a record of Handlers by command. */
  readonly options?: unknown;
}

const COMMON: Rules<CommandRules> = {
  args: schema,
  affinityKey: callable,
  sensitive: boolean,
  contexts: oneOf(CONTEXTS),
  mode: oneOf(['ro', 'rw']),
  realPaths: callable,
};

const ON_MAIN: Rules<MainCommand> = { ...COMMON, handler: callable };

const IN_LANES: Rules<LaneCommand> = {
  ...COMMON,
  // What begins with a dot would be looked for beside our own modules.
  module: rule(
    "a URL, such as new URL('handlers.js', import.meta.url)",
    (value) => (typeof value === 'string' && !value.startsWith('.')) || value instanceof URL,
  ),
  export: filledString,
  options: anything,
};

/** @throws TypeError that names the command, and what its definition has wrong. */
function checkDefinition(name: string, definition: unknown): void {
  const who = `command '${name}'`;
  if (typeof definition !== 'object' || definition === null)
    throw new TypeError(
      `${who} is neither a function nor names a handler or a module, but ${shown(definition)}`,
    );
  const { handler, module } = definition as Partial<MainCommand & LaneCommand>;
  if (handler !== undefined && module !== undefined)
    throw new TypeError(`${who} names a handler and a module: it is one or the other`);
  const rules =
    handler !== undefined ? ON_MAIN : module !== undefined ? IN_LANES : { ...IN_LANES, ...ON_MAIN };
  nested(rules)(definition, `commands.${name}`);
  if (handler === undefined && module === undefined)
    throw new TypeError(`${who} is neither a function nor names a handler or a module`);
  checkClones((definition as Partial<LaneCommand>).options, `commands.${name}.options`);
}

/** @throws TypeError for what no worker can be given: each would die of it, again and again. */
function checkClones(options: unknown, where: string): void {
  try {
    structuredClone(options);
  } catch (error) {
    throw new TypeError(`option ${where}: they cannot be cloned for a worker: ${asError(error).message}`);
  }
}

/** A command: its handler, the same with rules, or a module that runs in the lanes. */
export type CommandDefinition = Handler | MainCommand | LaneCommand;

/** A command as the server keeps it. */
export interface Command extends CommandRules {
  readonly name: string;
  readonly mode: CommandMode;
  /** Undefined for commands that run in lanes. */
  readonly handler: Handler | undefined;
  /** What runs it in place of a handler; its response goes where that sends it. */
  readonly makeRun?: (request: ServedRequest) => Run;
  /** The run's response is encoded as a handler's is. */
  readonly encoded?: boolean;
  /** Index of the lanes' handler module; −1 for commands on the main thread. */
  readonly laneHandler: number;
  readonly figures: CommandFigures;
}

/** All commands of a server, and the modules that its lanes have to know. */
export class CommandTable {
  readonly #commands = new Map<string, Command>();
  /** Of requests for commands that there are none of. */
  readonly unknown = new CommandFigures('(unknown)');
  readonly modules: (HandlerModule & { readonly commands: string[] })[] = [];
  /** Places in {@link modules}, by export and module, then by options. */
  readonly #indices = new Map<string, Map<unknown, number>>();

  /** @throws TypeError when a definition is none; RangeError when it is one module too many for the lanes. */
  add(name: string, definition: CommandDefinition): void {
    if (name === '') throw new TypeError('a command has no name');
    if (!name.isWellFormed()) throw new TypeError(`the name of command '${name}' is not UTF-8`);
    if (typeof definition === 'function') {
      const figures = new CommandFigures(name);
      this.#commands.set(name, { name, handler: definition, laneHandler: -1, mode: 'rw', figures });
      return;
    }
    checkDefinition(name, definition);
    const { args, affinityKey, sensitive, contexts, mode = 'rw', realPaths } = definition;
    const figures = new CommandFigures(name);
    const rules = { name, args, affinityKey, sensitive, contexts, mode, realPaths, figures };
    if ('module' in definition && definition.module !== undefined)
      this.#commands.set(name, { ...rules, handler: undefined, laneHandler: this.#module(name, definition) });
    else
      this.#commands.set(name, { ...rules, handler: (definition as MainCommand).handler, laneHandler: -1 });
  }

  /** Adds a command of the server's own that `makeRun` runs, on this thread. */
  addRun(
    name: string,
    mode: CommandMode,
    makeRun: Command['makeRun'],
    { encoded }: Pick<Command, 'encoded'> = {},
  ): void {
    const figures = new CommandFigures(name);
    this.#commands.set(name, { name, mode, makeRun, encoded, handler: undefined, laneHandler: -1, figures });
  }

  get(name: string): Command | undefined {
    return this.#commands.get(name);
  }

  /** Figures of all commands, those of requests for none of them last. */
  get rows(): CommandRow[] {
    return [...this.#commands.values(), { figures: this.unknown }].map(({ figures }) => figures.row);
  }

  get names(): string[] {
    return [...this.#commands.keys()].sort();
  }

  /** Several commands may come from one module: it is loaded once per lane. */
  #module(command: string, definition: LaneCommand): number {
    const { options } = definition;
    const place = { module: String(definition.module), export: definition.export ?? 'default', options };
    const module = { ...place, commands: [command] };
    const name = `${module.export} ${module.module}`;
    const byOptions = this.#indices.get(name) ?? new Map<unknown, number>();
    const known = byOptions.get(options);
    if (known !== undefined) {
      this.modules[known].commands.push(command);
      return known;
    }
    if (this.modules.length === MAX_HANDLERS)
      throw new RangeError(
        `at most ${MAX_HANDLERS} modules, exports or options can be in the lanes' commands`,
      );
    this.#indices.set(name, byOptions.set(options, this.modules.length));
    return this.modules.push(module) - 1;
  }
}
