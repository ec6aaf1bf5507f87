/** Numbers and foreign text as a terminal should get them. */

import { visible } from '../wire/visible.ts';

export { plural } from '../experiment/results/text.ts';
export { bytes, duration } from '../wire/quantities.ts';

/** Any text on one line, with nothing in it that is not seen. It may be long and of nothing but spaces: each is looked at once. */
export function oneLine(text: string): string {
  const lines = text.split(/[\r\n\u2028\u2029]/).map((line) => line.trim());
  return visible(
    lines
      .filter((line) => line !== '')
      .join(' ')
      .replaceAll('\t', ' '),
  );
}
