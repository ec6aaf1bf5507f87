/** What is in force: flags before variables before the file before defaults, and for every value where it came from. */

import type { z } from 'zod';
import { didYouMean } from '../options/nearest.ts';
import {
  factsOf,
  LIMIT_NAMES,
  SETTING_NAMES,
  SETTINGS,
  type SettingName,
  type Settings,
  variableOf,
} from './settings.ts';

/** A setting that cannot be: one line that begins with its place. */
export class SettingError extends Error {
  override readonly name = 'SettingError';
}

/** Where settings come from. Earlier ones go before later ones. */
export interface Source {
  readonly values: unknown;
  /** Of the setting at `path`: a flag, a variable, or file, line and column. */
  placeOf(path: readonly PropertyKey[]): string;
}

export interface InForce {
  readonly value: unknown;
  readonly place: string;
}

export interface Config {
  readonly settings: Settings;
  /** By name; limits as `limits.maxConnections`. */
  readonly inForce: ReadonlyMap<string, InForce>;
}

/** Variables of ours that are no settings of a server. */
const OTHER_VARIABLES = new Set([
  'MILLRACE_CONFIG',
  'MILLRACE_DEBUG',
  'MILLRACE_FD',
  'MILLRACE_TOKEN',
  'MILLRACE_INDEPENDENT_CLI',
  'MILLRACE_PROCESS',
]);

/** Settings in the environment. @throws SettingError for a name that begins like ours and is none. */
export function variables(env: NodeJS.ProcessEnv): Source {
  const names = new Map(SETTING_NAMES.map((name) => [variableOf(name), name]));
  const values: Record<string, unknown> = {};
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('MILLRACE_') || OTHER_VARIABLES.has(variable)) continue;
    const name = names.get(variable);
    if (name === undefined)
      throw new SettingError(
        `${variable}: there is no such variable${didYouMean(variable, [...names.keys()])}`,
      );
    values[name] = name === 'limits' ? limitsIn(value ?? '', variable) : value;
  }
  return { values, placeOf: ([name]) => variableOf(String(name)) };
}

/** `maxConnections=100,idleTimeout=5000`. */
function limitsIn(value: string, variable: string): Record<string, string> {
  const pairs = value.split(',').map((pair) => pair.trim().split('='));
  if (pairs.some((pair) => pair.length !== 2))
    throw new SettingError(`${variable}: It has to be name=value,name=value.`);
  return Object.fromEntries(pairs);
}

/** @throws SettingError for the first value of the first source that cannot be. */
export function combine(sources: readonly Source[]): Config {
  const inForce = new Map<string, InForce>();
  for (const source of sources) {
    const found = flat(checked(source));
    const ranked = new Map(
      [...found].map(([path, value]) => [path, { value, place: source.placeOf(path.split('.')) }]),
    );
    checkConflicts(ranked);
    for (const [path, each] of ranked) {
      if (!inForce.has(path) && !isRuledOut(path, inForce)) inForce.set(path, each);
    }
  }
  for (const name of SETTING_NAMES) {
    const value = factsOf(name).initially;
    if (value !== undefined && !inForce.has(name) && !isRuledOut(name, inForce))
      inForce.set(name, { value, place: 'default' });
  }
  return { settings: nested(inForce), inForce };
}

function checked({ values, placeOf }: Source): Settings {
  const result = SETTINGS.safeParse(values);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new SettingError(problemOf(issue, placeOf));
}

function problemOf(issue: z.core.$ZodIssue, placeOf: Source['placeOf']): string {
  const inLimits = issue.path[0] === 'limits';
  if (issue.code === 'unrecognized_keys') {
    const [key] = issue.keys;
    const known = inLimits ? LIMIT_NAMES : SETTING_NAMES;
    const what = inLimits ? 'limit' : 'setting';
    return `${placeOf([...issue.path, key])}: there is no ${what} '${key}'${didYouMean(key, known)}`;
  }
  const path = issue.path.join('.');
  const what =
    issue.code === 'invalid_type' && /object/.test(issue.expected)
      ? 'It has to be a mapping.'
      : issue.message;
  return path === '' ? `${placeOf([])}: ${what}` : `${placeOf(issue.path)}: ${path}: ${what}`;
}

/** Settings by path: limits each for itself, so that sources may give some of them each. */
function flat({ limits = {}, ...others }: Settings): Map<string, unknown> {
  const all = [
    ...Object.entries(others),
    ...Object.entries(limits).map(([name, value]) => [`limits.${name}`, value] as const),
  ];
  return new Map(all.filter(([, value]) => value !== undefined));
}

function nested(inForce: ReadonlyMap<string, InForce>): Settings {
  const settings: Record<string, unknown> = {};
  const limits: Record<string, unknown> = {};
  for (const [path, { value }] of inForce) {
    const [name, limit] = path.split('.');
    if (limit === undefined) settings[name] = value;
    else limits[limit] = value;
  }
  return { ...settings, limits } as Settings;
}

const opposed = (a: string, b: string): boolean =>
  factsOf(a as SettingName)?.against?.includes(b) === true ||
  factsOf(b as SettingName)?.against?.includes(a) === true;

/** What a stronger source has said rules out what a weaker one says against it. */
function isRuledOut(path: string, inForce: ReadonlyMap<string, InForce>): boolean {
  return (
    !path.includes('.') && [...inForce.keys()].some((other) => !other.includes('.') && opposed(path, other))
  );
}

/** @throws SettingError when one source contradicts itself. */
function checkConflicts(ranked: ReadonlyMap<string, InForce>): void {
  const names = [...ranked].filter(([path]) => !path.includes('.'));
  for (const [index, [name, { place }]] of names.entries()) {
    const other = names.slice(index + 1).find(([each]) => opposed(name, each));
    if (other !== undefined)
      throw new SettingError(`${other[1].place}: ${other[0]} cannot be used with ${name} (${place})`);
  }
}

/** Names of the settings, limits among them, that differ. */
export function changed(before: Config, after: Config): string[] {
  const all = new Set([...before.inForce.keys(), ...after.inForce.keys()]);
  const shown = (config: Config, path: string) => JSON.stringify(config.inForce.get(path)?.value);
  return [...all].filter((path) => shown(before, path) !== shown(after, path));
}
