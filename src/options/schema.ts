/** Schemas of a command's arguments: anything that follows standardschema.dev, such as zod, valibot or arktype. */

import { kindOf } from '../wire/bytes.ts';
import { CommandError } from '../wire/errors.ts';
import { rule } from './rules.ts';

/** A schema by the contract of standardschema.dev, version 1. */
// biome-ignore lint/suspicious/noExplicitAny: of what is not known yet, both ways must fit.
export interface StandardSchema<Input = any, Output = any> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a schema says of a value. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** One thing that is wrong with a value, and where. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

export const schema = rule('a Standard Schema, such as of zod', (value) => {
  const standard = (value as Partial<StandardSchema> | null)?.['~standard'];
  return typeof standard?.validate === 'function' && standard.version === 1;
});

const MAX_ISSUES = 5;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * What `by` makes of a command's arguments; text where they are UTF-8, else bytes.
 * @throws CommandError, code `invalid-argument`, when it takes them not; whatever the schema throws.
 */
export async function inputOf(by: StandardSchema, args: ReadonlyMap<string, Uint8Array>): Promise<unknown> {
  const values = Object.fromEntries([...args].map(([name, value]) => [name, textOrBytes(value)]));
  const result: unknown = await by['~standard'].validate(values);
  const { issues, value } = checkResult(result);
  if (issues === undefined) return value;
  const what = issues.slice(0, MAX_ISSUES).map(describe).join('; ');
  throw new CommandError(what === '' ? 'invalid argument' : `invalid argument: ${what}`, {
    code: 'invalid-argument',
  });
}

/** @throws TypeError for what is no result: `false`, such as a predicate gives, must not pass for a yes. */
function checkResult(result: unknown): { issues?: readonly SchemaIssue[]; value?: unknown } {
  if (typeof result !== 'object' || result === null)
    throw new TypeError(`the schema gave ${kindOf(result)} instead of a result`);
  const { issues } = result as { issues?: unknown };
  if (issues === undefined ? 'value' in result : Array.isArray(issues)) return result;
  throw new TypeError('the schema gave an object with neither a value nor an array of issues');
}

function textOrBytes(value: Uint8Array): string | Uint8Array {
  try {
    return utf8.decode(value);
  } catch {
    return value;
  }
}

function describe({ message, path = [] }: SchemaIssue): string {
  const keys = path.map((part) => String(typeof part === 'object' ? part.key : part));
  return keys.length === 0 ? String(message) : `${keys.join('.')}: ${message}`;
}

/** What a schema takes; without one: undefined. */
// biome-ignore lint/suspicious/noExplicitAny: of what is not known yet, both ways must fit.
export type SchemaInput<Schema> = Schema extends StandardSchema<infer Input, any> ? Input : undefined;
/** What a schema gives; without one: undefined. */
// biome-ignore lint/suspicious/noExplicitAny: of what is not known yet, both ways must fit.
export type SchemaOutput<Schema> = Schema extends StandardSchema<any, infer Output> ? Output : undefined;
