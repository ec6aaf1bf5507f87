/**
 * What a setting may be. Each kind takes the value as a file has it and as text, for flags and variables have nothing else,
 * and says in one sentence what it has to be.
 */

import { z } from 'zod';
import { isOrigin } from '../doors/origin.ts';
import { nearest } from '../options/nearest.ts';
import { sizeOf } from '../options/sizes.ts';
import { isTopicName } from '../topics/options.ts';

const hasToBe = (what: string) => ({ error: `It has to be ${what}.` });

/** Whole numbers from `min` to `max`. */
export function whole(min: number, max = Number.MAX_SAFE_INTEGER) {
  const told = hasToBe(`a whole number from ${min} to ${max}`);
  const written = z
    .string()
    .regex(/^-?\d+$/)
    .transform(Number);
  return z.union([z.number(), written], told).pipe(z.int(told).min(min, told).max(max, told));
}

/** Bytes: a number, or text with K, M or G for powers of 1 024. */
export function bytes(min = 0) {
  const told = hasToBe('a number of bytes, such as 65536, 64K or 1G');
  return z
    .union([z.number(), z.string().transform(sizeOf)], told)
    .pipe(z.int(told).min(min, min === 0 ? told : hasToBe(`at least ${min} bytes`)));
}

/** Text that says something. */
export const text = z.string({ error: 'It has to be text.' }).min(1, { error: 'It must not be empty.' });

/** Where Redis is. */
export const redisUrl = z
  .string(hasToBe('a URL that begins with redis:// or rediss://'))
  .regex(/^rediss?:\/\/./, hasToBe('a URL that begins with redis:// or rediss://'));

/** On or off. */
export const toggle = z.union(
  [z.boolean(), z.enum(['true', 'false']).transform((word) => word === 'true')],
  hasToBe('true or false'),
);

/** One of some names. */
export function oneOf<const Name extends string>(names: readonly Name[]) {
  return z.enum(names, {
    error: ({ input }) => {
      const near = typeof input === 'string' ? nearest(input, names) : undefined;
      return `It has to be one of ${names.join(', ')}${near === undefined ? '' : `; did you mean '${near}'?`}`;
    },
  });
}

/** HOST:PORT, [IPV6]:PORT or :PORT, which is on this machine alone; as { host, port }. */
export const place = z.union(
  [
    text.transform((value, context) => {
      const [, v6, name, digits] = /^(?:\[([^\]]+)\]|([^:[\]/]*)):(\d{1,5})$/.exec(value) ?? [];
      const port = Number(digits);
      if (digits !== undefined && port <= 65_535) return { host: v6 ?? (name || '127.0.0.1'), port };
      context.addIssue({ code: 'custom', message: 'It has to be HOST:PORT.' });
      return z.NEVER;
    }),
  ],
  hasToBe('HOST:PORT'),
);

/** A list of `each`, or one text with `;` between them; `what` it has to be. */
function severalOf<Each extends z.ZodType<unknown, string>>(each: Each, what: string) {
  const fromText = z
    .string()
    .transform((value) => value.split(';'))
    .pipe(z.array(each));
  return z.union([z.array(each), fromText], hasToBe(what));
}

/** `FILE` or `FILE=COMMAND,COMMAND`; as { file, commands }. */
const dictionary = text.transform((value, context) => {
  const at = value.lastIndexOf('=');
  const file = at < 0 ? value : value.slice(0, at);
  const commands = at < 0 ? undefined : value.slice(at + 1).split(',');
  if (file !== '' && !commands?.includes('')) return { file, ...(commands && { commands }) };
  context.addIssue({ code: 'custom', message: 'It has to be FILE or FILE=COMMAND,COMMAND.' });
  return z.NEVER;
});

export const dictionaries = severalOf(
  dictionary,
  'FILE or FILE=COMMAND,COMMAND, several with ; between them, or a list',
);

const origin = text.refine(isOrigin, 'It has to be an origin, such as https://app.example, or *.');

export const origins = severalOf(
  origin,
  'an origin, such as https://app.example, or *; several have ; between them, or are a list',
);

/** `NAME` or `NAME=MESSAGES`; as { name, history }. A name with `=` in it has its number: else a mistake in that is a name. */
const topic = text.transform((value, context) => {
  const at = value.lastIndexOf('=');
  const name = at < 0 ? value : value.slice(0, at);
  const history = at < 0 ? '0' : value.slice(at + 1);
  const isNumber = /^\d+$/.test(history) && Number.isSafeInteger(Number(history));
  if (isNumber && isTopicName(name)) return { name, history: Number(history) };
  context.addIssue({ code: 'custom', message: 'It has to be NAME or NAME=MESSAGES.' });
  return z.NEVER;
});

export const topics = severalOf(
  topic,
  'NAME or NAME=MESSAGES, a name of 1 to 255 bytes; several have ; between them, or are a list',
).superRefine((all, context) => {
  const names = all.map(({ name }) => name);
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  if (twice !== undefined) context.addIssue({ code: 'custom', message: `'${twice}' is given twice.` });
});
