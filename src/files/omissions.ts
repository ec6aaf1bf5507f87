/** What a listing has left out, and how it says so. */

import { type Output, TextOutput } from '../reactor/command.ts';
import { CommandError } from '../wire/errors.ts';
import { shownPath } from './paths.ts';

/** One thing that is there and not listed; as a line of files.list it stands behind the entries. */
export interface Omission {
  /** Where it is, as far as that can be said in text; empty for all those that are only counted. */
  readonly path: string;
  /** Why; one line for people. */
  readonly omitted: string;
}

/** How many are named; further ones are counted. */
const MAX_NAMED = 10_000;

export class Omissions {
  readonly #asLines: boolean;
  readonly #named: Omission[] = [];
  #count = 0;

  /** @throws CommandError when `form`, the argument `omitted` of files.list, is none. */
  constructor(form: string | undefined) {
    if (form !== undefined && form !== 'lines')
      throw new CommandError(`omitted can only be lines: ${shownPath(form)}`, { code: 'invalid-argument' });
    this.#asLines = form === 'lines';
  }

  readonly add = (path: string, why: string): void => {
    if (++this.#count <= MAX_NAMED) this.#named.push({ path, omitted: why });
  };

  /** The lines, JSON in pieces of about `pieceSize` characters or one by one for people. */
  *output(pieceSize: number): Generator<Output, void, void> {
    let lines = '';
    for (const omission of this.#all()) {
      if (!this.#asLines) yield forPeople(omission);
      else lines += `${JSON.stringify(omission)}\n`;
      if (lines.length < pieceSize) continue;
      yield lines;
      lines = '';
    }
    if (lines !== '') yield lines;
  }

  *#all(): Generator<Omission, void, void> {
    yield* this.#named;
    const unnamed = this.#count - this.#named.length;
    if (unnamed > 0) yield { path: '', omitted: `${unnamed} more were left out` };
  }
}

function forPeople({ path, omitted }: Omission): TextOutput {
  const text = path === '' ? omitted : `${omitted}: ${shownPath(path)}`;
  return new TextOutput({ format: '%s', labels: [], args: [`left out: ${text}\n`] });
}
