/** Media types of requests and answers. */

import type { IncomingMessage } from 'node:http';

/** Part A of the protocol alone, and with part C (protocol A7). */
export const PART_A = 'application/mercurial-exp-framing-0002';
export const FRAMES = 'application/vnd.millrace.frames';

/** What a client says of names, in its order: how much it likes each, 0 … 1. */
type Weights = ReadonlyMap<string, number>;

const NONE: Weights = new Map();
/** Stands for what is not named. */
const ANY = '*';
const IDENTITY = 'identity';

/** Clients say the same in every request: what was taken apart last is kept. */
class Weighed {
  #header: string | undefined;
  #weights = NONE;

  of(header: string | undefined): Weights {
    if (header !== this.#header) this.#weights = header === undefined ? NONE : weightsIn(header);
    this.#header = header;
    return this.#weights;
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
  for (const [name, weight] of accepts.of(headers.accept))
    if (weight > 0 && types.includes(name)) return name;
  return undefined;
}

/**
 * What the client likes best of `ours`, which are the best first; undefined: the bytes as they are (RFC 9110 section 12.5.3).
 * Who takes any is given the last, which everybody knows.
 */
export function codingOf<Name extends string>(req: IncomingMessage, ours: readonly Name[]): Name | undefined {
  const weights = acceptedCodings(req);
  const named = ours.filter((name) => (weights.get(name) ?? 0) > 0);
  const most = Math.max(0, ...named.map((name) => weights.get(name) ?? 0));
  const best =
    named.find((name) => weights.get(name) === most) ?? ours.findLast((name) => !weights.has(name));
  const weight = most > 0 ? most : (weights.get(ANY) ?? 0);
  return weight > 0 && weight >= (weights.get(IDENTITY) ?? 0) ? best : undefined;
}

/** Whether the client takes bytes as they are: everybody does who does not say that they do not. */
export function takesIdentity(req: IncomingMessage): boolean {
  const weights = acceptedCodings(req);
  return weights.get(IDENTITY) !== 0 && (weights.get(ANY) !== 0 || weights.has(IDENTITY));
}

function acceptedCodings({ headers }: IncomingMessage): Weights {
  const accept = headers['accept-encoding'];
  return codings.of(typeof accept === 'string' ? accept : undefined);
}

function weightsIn(header: string): Weights {
  const items = header.toLowerCase().split(',');
  return new Map(
    items.map((item) => {
      const [name, ...parameters] = item.split(';').map((part) => part.trim());
      const weight = parameters.find((each) => each.startsWith('q='));
      return [name, weight === undefined ? 1 : Number(weight.slice(2)) || 0];
    }),
  );
}
