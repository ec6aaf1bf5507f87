/** The commands that `GET /rpc` tells of, and the fields that their arguments are asked for by. */

import { JSON_TYPE } from '../doors/rpc-arguments.ts';

/** One argument. */
export interface Field {
  readonly name: string;
  readonly kind: 'text' | 'number' | 'choice';
  readonly required: boolean;
  /** What it is for. */
  readonly hint: string;
  /** What it may be, where these are few. */
  readonly choices: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly step?: number;
}

export interface Operation {
  readonly name: string;
  /** It may change state. */
  readonly changes: boolean;
  /** Undefined: what it takes is not known. */
  readonly fields: readonly Field[] | undefined;
}

interface Schema {
  readonly type?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly description?: string;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

interface Document {
  readonly paths: Readonly<
    Record<
      string,
      {
        readonly post: {
          readonly operationId: string;
          readonly 'x-mode': string;
          readonly requestBody: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
        };
      }
    >
  >;
}

/** Of the document that `GET /rpc` answers with. */
export function operationsIn({ paths }: Document): Operation[] {
  return Object.values(paths).map(({ post }) => ({
    name: post.operationId,
    changes: post['x-mode'] !== 'ro',
    fields: fieldsOf(post.requestBody.content[JSON_TYPE]?.schema ?? {}),
  }));
}

function fieldsOf({ properties, required = [] }: Schema): Field[] | undefined {
  if (properties === undefined) return undefined;
  return Object.entries(properties).map(([name, schema]) => fieldOf(name, schema, required.includes(name)));
}

function fieldOf(name: string, schema: Schema, required: boolean): Field {
  const { type, description = '', default: initially, minimum: min, maximum: max } = schema;
  const hint =
    initially === undefined ? description : `${description} (${show(initially)} without it)`.trim();
  const choices = choicesOf(schema);
  if (choices.length > 0) return { name, kind: 'choice', required, hint, choices };
  if (type !== 'number' && type !== 'integer') return { name, kind: 'text', required, hint, choices };
  // Standard schemas say the bounds of what JavaScript can count where they have none of their own.
  const bound = (value?: number) => (Math.abs(value ?? 0) >= Number.MAX_SAFE_INTEGER ? undefined : value);
  const step = type === 'integer' ? 1 : undefined;
  return { name, kind: 'number', required, hint, choices, min: bound(min), max: bound(max), step };
}

function choicesOf({ type, enum: names, const: only }: Schema): string[] {
  if (only !== undefined) return [show(only)];
  if (names !== undefined) return names.map(show);
  return type === 'boolean' ? ['true', 'false'] : [];
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Arguments as lines `name=value`. @throws Error that says which line is none. */
export function argumentsIn(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      if (at < 1) throw new Error(`'${line}' is no argument: name=value`);
      return [line.slice(0, at).trim(), line.slice(at + 1)];
    }),
  );
}
