/** Media types of requests and answers. */

import type { IncomingMessage } from 'node:http';

/** Part A of the protocol alone, and with part C (protocol A7). */
export const PART_A = 'application/mercurial-exp-framing-0002';
export const FRAMES = 'application/vnd.millrace.frames';

const NONE: readonly string[] = [];

/** What the body is, without parameters; undefined: it does not say. */
export function contentTypeOf({ headers }: IncomingMessage): string | undefined {
  return headers['content-type']?.split(';', 1)[0].trim().toLowerCase();
}

/** The first of `types` that the client names among what it accepts; wildcards name nothing. */
export function acceptedOf({ headers }: IncomingMessage, types: readonly string[]): string | undefined {
  return weighed(headers.accept).find((name) => types.includes(name));
}

/** The first of `codings` that the client accepts by name; which of these it likes better is not asked. */
export function codingOf<Name extends string>(
  { headers }: IncomingMessage,
  codings: readonly Name[],
): Name | undefined {
  const accept = headers['accept-encoding'];
  const accepted = weighed(typeof accept === 'string' ? accept : undefined);
  return codings.find((name) => accepted.includes(name));
}

/** The names in a header of that kind, those with the weight 0 left out. */
function weighed(header: string | undefined): readonly string[] {
  if (header === undefined) return NONE;
  return header
    .toLowerCase()
    .split(',')
    .map((item) => item.split(';').map((part) => part.trim()))
    .filter(([, ...parameters]) => !parameters.some((each) => /^q=0(?:\.0*)?$/.test(each)))
    .map(([name]) => name);
}
