/** What fast-check makes for several tests. */

import fc from 'fast-check';

const PAST_HALVES = 0x800;

/** Any character: a code point that is no half of a pair. fast-check has such a unit, `binary`, which takes it 2.4 s of CPU to make. */
export const character = fc
  .oneof(fc.integer({ min: 0, max: 0x7f }), fc.integer({ min: 0, max: 0x10ffff - PAST_HALVES }))
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + PAST_HALVES));
