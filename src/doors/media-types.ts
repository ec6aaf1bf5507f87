/** Media types of requests and answers. */

import type { IncomingMessage } from 'node:http';

/** Part A of the protocol alone, and with part C (protocol A7). */
export const PART_A = 'application/mercurial-exp-framing-0002';
export const FRAMES = 'application/vnd.millrace.frames';

const NONE: readonly string[] = [];

/** Clients say the same in every request: what was taken apart last is kept. */
class Weighed {
  #header: string | undefined;
  #names = NONE;

  /** The names in `header`, those with the weight 0 left out. */
  of(header: string | undefined): readonly string[] {
    if (header !== this.#header) this.#names = header === undefined ? NONE : namesIn(header);
    this.#header = header;
    return this.#names;
  }
}

const accepts = new Weighed();
const codings = new Weighed();

/** What the body is, without parameters; undefined: it does not say. */
export function contentTypeOf({ headers }: IncomingMessage): string | undefined {
  return headers['content-type']?.split(';', 1)[0].trim().toLowerCase();
}

/** The first of `types` that the client names among what it accepts; wildcards name nothing. */
export function acceptedOf({ headers }: IncomingMessage, types: readonly string[]): string | undefined {
  return accepts.of(headers.accept).find((name) => types.includes(name));
}

/** The first of `ours` that the client accepts by name; which of these it likes better is not asked. */
export function codingOf<Name extends string>(
  { headers }: IncomingMessage,
  ours: readonly Name[],
): Name | undefined {
  const accept = headers['accept-encoding'];
  const accepted = codings.of(typeof accept === 'string' ? accept : undefined);
  return ours.find((name) => accepted.includes(name));
}

function namesIn(header: string): readonly string[] {
  return header
    .toLowerCase()
    .split(',')
    .map((item) => item.split(';').map((part) => part.trim()))
    .filter(([, ...parameters]) => !parameters.some((each) => /^q=0(?:\.0*)?$/.test(each)))
    .map(([name]) => name);
}
