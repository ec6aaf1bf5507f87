/** Settings on the command line: flags made from their schema, and what flags, variables and a file come to together. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Config, combine, SettingError, type Source, variables } from '../ops/config.ts';
import { readConfigFile } from '../ops/config-file.ts';
import {
  choicesOf,
  factsOf,
  flagOf,
  LIMIT_NAMES,
  SETTING_NAMES,
  SETTINGS,
  type SettingName,
} from '../ops/settings.ts';
import { didYouMean } from '../options/nearest.ts';
import { notEmpty, pairs } from './arguments.ts';
import { UsageError } from './outcome.ts';

/** The flags as they were given, by commander's names; `config` among them. */
export type SettingFlags = Readonly<Record<string, unknown>> & { readonly config?: string };

export interface Given {
  readonly dir: string | undefined;
  readonly flags: SettingFlags;
  readonly env: NodeJS.ProcessEnv;
}

/** What a flag that takes something away is where nobody has given it: commander makes it `true`. */
const NOT_GIVEN = null;

/** A flag for every setting but the folder, which is an argument, and `--config`. */
export function addSettings(command: Command): Command {
  for (const name of SETTING_NAMES) if (name !== 'dir') command.addOption(optionOf(name));
  return command.addOption(
    new Option(
      '--config <file>',
      'settings, in YAML or JSON; flags and MILLRACE_… variables go before it',
    ).argParser(notEmpty),
  );
}

function optionOf(name: SettingName): Option {
  const { what, value, initially, otherwise } = factsOf(name);
  const without = initially ?? otherwise;
  const option = new Option(
    value === undefined ? flagOf(name) : `${flagOf(name)} <${value}>`,
    without === undefined ? what : `${what} (default: ${without})`,
  );
  if (value === undefined) return option.negate ? option.default(NOT_GIVEN) : option;
  if (name === 'limits') return option.argParser(pairs(limitOf));
  if (name === 'dictionaries' || name === 'topics' || name === 'origins')
    return option.argParser((given: string, before: string[] = []) => parsed(name, [...before, given]));
  const choices = choicesOf(name);
  // For help and completion; what else is given is told in the schema's words.
  if (choices !== undefined) option.choices(choices);
  return option.argParser((given: string) => parsed(name, given));
}

/** @throws InvalidArgumentError in the schema's words. */
function parsed<Given extends string | string[]>(name: SettingName, given: Given): Given {
  const result = SETTINGS.shape[name].safeParse(given);
  if (!result.success) throw new InvalidArgumentError(result.error.issues[0].message);
  // The schema comes to it once more, with all other sources.
  return given;
}

function limitOf(given: string, name: string): string {
  const { shape } = SETTINGS.shape.limits.unwrap();
  if (!Object.hasOwn(shape, name))
    throw new InvalidArgumentError(`There is no limit '${name}'${didYouMean(name, LIMIT_NAMES) || '.'}`);
  const result = shape[name as (typeof LIMIT_NAMES)[number]].safeParse(given);
  if (!result.success) throw new InvalidArgumentError(result.error.issues[0].message);
  return given;
}

/** What is in force. @throws UsageError in one line that begins with the place of what cannot be. */
export function readConfig({ dir, flags, env }: Given): Config {
  try {
    const file = flags.config ?? env.MILLRACE_CONFIG;
    const sources = [flagSource(dir, flags), variables(env)];
    if (file !== undefined) sources.push(readConfigFile(file));
    return combine(sources);
  } catch (error) {
    if (error instanceof SettingError) throw new UsageError(error.message);
    throw error;
  }
}

function flagSource(dir: string | undefined, flags: SettingFlags): Source {
  const given = SETTING_NAMES.map((name) => [name, flags[new Option(flagOf(name)).attributeName()]] as const);
  const values = {
    ...Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== NOT_GIVEN)),
    ...(dir !== undefined && { dir }),
  };
  return {
    values,
    placeOf: ([name, limit]) =>
      name === 'dir'
        ? 'argument'
        : flagOf(name as SettingName) + (limit === undefined ? '' : ` ${String(limit)}`),
  };
}
