/**
 * What options may be, and errors for all else: one that is misspelt or of the wrong kind changes nothing, or the wrong
 * thing, and nobody is told. Every place that takes options asks here, so that all say it alike.
 */

import { MAX_TIMER_MS } from '../wire/timers.ts';
import { didYouMean } from './nearest.ts';

/** Throws when `value` is not what the option `name` may be. Undefined values are not asked about. */
export type Rule = (value: unknown, name: string) => void;

/** A rule for every option there is: the compiler holds it to the options' type. */
export type Rules<Options> = { readonly [Name in keyof Options]-?: Rule };

/**
 * Holds `options` to `rules`; an option that is undefined is one that was not given. `who` takes them, for the message.
 * @throws TypeError that names the option, what was given and what is allowed.
 */
export function checkOptions(options: unknown, rules: Readonly<Record<string, Rule>>, who: string): void {
  if (!isBag(options)) throw new TypeError(`${who} takes an object with options, not ${shown(options)}`);
  for (const name in options) check(rules, name, options[name], who, name);
}

function check(
  rules: Readonly<Record<string, Rule>>,
  name: string,
  value: unknown,
  who: string,
  path: string,
): void {
  const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
  if (rule === undefined) throw new TypeError(unknownOption(path, name, Object.keys(rules), who));
  if (value !== undefined) rule(value, path);
}

function unknownOption(path: string, name: string, known: readonly string[], who: string): string {
  return `option ${path}: ${who} takes no such option${didYouMean(name, known)}; there are ${known.join(', ')}`;
}

/** The error of an option that is not what it may be. */
export function refuse(name: string, value: unknown, allowed: string): never {
  throw new TypeError(`option ${name}: ${shown(value)} is not allowed, only ${allowed}`);
}

/** A value as a message shows it; long ones in part. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 60)}…` : value}'`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'bigint') return `${value}n`;
  if (Array.isArray(value)) return 'an array';
  if (isObject(value) && Symbol.iterator in value) return 'an iterable';
  return isObject(value) ? 'an object' : String(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Names with values: what is iterated, as a Map is, has none of its own, and they would be passed over. */
function isBag(value: unknown): value is Record<string, unknown> {
  return isObject(value) && !(Symbol.iterator in value);
}

// ------------------------------------------------------------------------------------------------ the rules

/**
 * What {@link Rule} says of a value: `allowed` describes those that are accepted. A bundler may leave out rules that nobody uses.
 * @__NO_SIDE_EFFECTS__
 */
export function rule(allowed: string, accepts: (value: unknown) => boolean): Rule {
  return (value, name) => {
    if (!accepts(value)) refuse(name, value, allowed);
  };
}

export const anything: Rule = () => undefined;
export const boolean = rule('true or false', (value) => typeof value === 'boolean');
export const string = rule('a string', (value) => typeof value === 'string');
export const filledString = rule(
  'a string that is not empty',
  (value) => typeof value === 'string' && value !== '',
);
export const callable = rule('a function', (value) => typeof value === 'function');
export const object = rule('an object', isBag);
export const signal = rule(
  'an AbortSignal',
  (value) =>
    isObject(value) && typeof value.aborted === 'boolean' && typeof value.addEventListener === 'function',
);
export const finite = rule('a number', (value) => Number.isFinite(value));

/**
 * An integer from `least` to `most`.
 * @__NO_SIDE_EFFECTS__
 */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER): Rule {
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
  return rule(
    `an integer ${range}`,
    (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
  );
}

/** A number from `least` to `most`. */
export function numeric(least: number, most: number): Rule {
  const range = most === Number.MAX_VALUE ? `from ${least} on` : `from ${least} to ${most}`;
  return rule(`a number ${range}`, (value) => typeof value === 'number' && value >= least && value <= most);
}

export const count = integer(1);
export const milliseconds = integer(1, MAX_TIMER_MS);
export const millisecondsOr0 = integer(0, MAX_TIMER_MS);

/**
 * One of `names`, or what `or` says.
 * @__NO_SIDE_EFFECTS__
 */
export function oneOf(
  names: readonly string[],
  or?: { what: string; accepts: (value: unknown) => boolean },
): Rule {
  const allowed = names.map((name) => `'${name}'`).join(', ') + (or === undefined ? '' : ` or ${or.what}`);
  return (value, name) => {
    if (names.includes(value as string) || or?.accepts(value)) return;
    refuse(name, value, allowed + (typeof value === 'string' ? didYouMean(value, names) : ''));
  };
}

/** An array, each element held to `element`. */
export function arrayOf(element: Rule, what: string): Rule {
  return (value, name) => {
    if (!Array.isArray(value)) refuse(name, value, `an array of ${what}`);
    for (const [index, each] of (value as unknown[]).entries()) element(each, `${name}.${index}`);
  };
}

/** An object whose own options are held to `rules`; those in `required` have to be there. */
export function nested(rules: Readonly<Record<string, Rule>>, ...required: string[]): Rule {
  return (value, name) => {
    if (!isBag(value)) refuse(name, value, 'an object');
    for (const key in value) check(rules, key, value[key], name, `${name}.${key}`);
    for (const key of required)
      if (value[key] === undefined) throw new TypeError(`option ${name}.${key}: missing`);
  };
}

/** The options that are given: one that is undefined must not hide what holds without it. */
export function given<Options extends object>(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
}

/** Rules for the same options as in `values`, each held to `each`. */
export function same<Values extends object>(values: Values, each: Rule): Rules<Values> {
  return Object.fromEntries(Object.keys(values).map((name) => [name, each])) as Rules<Values>;
}

/** Whether a client can ask for it: URLs have no spaces, no `..`, and other letters than ASCII's only escaped. */
export function isUrlPath(path: string): boolean {
  const url = `http://localhost${path}`;
  return path.startsWith('/') && URL.canParse(url) && new URL(url).pathname === path;
}
