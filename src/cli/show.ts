/** Numbers and foreign text as a terminal should get them. */

import { visible } from '../wire/visible.ts';

export { plural } from '../experiment/results/text.ts';
export { bytes, duration } from '../wire/quantities.ts';

/** Any text on one line, with nothing in it that is not seen. */
export function oneLine(text: string): string {
  return visible(
    text
      .trim()
      .replace(/\s*[\r\n\u2028\u2029]+\s*/g, ' ')
      .replaceAll('\t', ' '),
  );
}
