/** What the dictionaries of an experiment cost to send, and what they bring. */

import { dictionaryFile, dictionaryName } from '../grid/cell.ts';
import type { TrainedDictionary } from '../results/dictionaries.ts';
import type { Results } from '../results/results.ts';
import { inBytes, short } from '../results/text.ts';
import { escapeHtml, htmlTable } from './html.ts';

const COLUMNS = [
  'dictionary',
  'bytes to send',
  'no contexts, bytes/response',
  'sending saved after',
  'first ten responses, bytes each',
  'kept contexts, bytes/response',
  'sending saved after',
];

/** As HTML; nothing where there are none. */
export function dictionarySection({ dictionaries = [], setup, untrained }: Results): string {
  const note = untrained === undefined ? '' : `<p>${escapeHtml(untrained)}</p>`;
  if (dictionaries.length === 0) return note;
  const { training } = setup;
  const rows = [withoutRow(dictionaries[0]), ...dictionaries.map((each) => rowOf(each, setup.responses))];
  const files = dictionaries.map(({ size }) => dictionaryFile(size)).join(', ');
  return `<h2>Dictionaries</h2>
${htmlTable(COLUMNS, rows)}
<p>Trained on ${short(training?.responses ?? 0)} other responses of the same sources (${inBytes(training?.bytes ?? 0)}), tried on these
with zstd level 3. A client is sent a dictionary once per connection, or once for all where it keeps it; the columns “saved
after” count responses of one connection. A dictionary is public: every client can read pieces of the responses that it was
trained on.</p>
<p class="quiet">Beside this report: ${escapeHtml(files)}</p>
${note}`;
}

/** As HTML: how the traffic was parted; nothing where it was not. */
export function dictionaryMethod({ training, timed }: Results['setup']): string {
  if (training === undefined) return '';
  const pace = timed ? ' Requests of the capture come when they came, but only those of that half.' : '';
  return `<p>With dictionaries in the grid one half of the responses, chosen by the seed, trains them, and all settings are tried on the
other; what is the same is in the same half.${pace} Clients hold the dictionary before the first response: ratios are
without what it takes to send, and the recommendations count that once for each connection.</p>`;
}

function withoutRow({ benefit: { without } }: TrainedDictionary): string[] {
  const { none, cold, kept } = without;
  return ['none', '–', short(none.bytes), '–', short(cold.bytes), short(kept.bytes), '–'];
}

function rowOf({ size, bytes, benefit }: TrainedDictionary, responses: number): string[] {
  const { none, cold, kept } = benefit.with;
  const paid = (after: number | undefined) =>
    after === undefined ? `not within ${short(responses)}` : `${short(after)} responses`;
  return [
    dictionaryName(size),
    short(bytes),
    short(none.bytes),
    paid(benefit.paidAfter.none),
    short(cold.bytes),
    short(kept.bytes),
    paid(benefit.paidAfter.kept),
  ];
}
