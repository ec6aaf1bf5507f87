/** What bombs cost with each implementation; limits.test.ts has the portable ones. */

import test from 'ava';
import { costsNoMore } from './bomb.ts';
import { CODECS } from './helpers.ts';

for (const codec of CODECS.filter(
  ({ profile, implementation }) => profile !== 'identity' && implementation !== 'portable',
))
  test(`${codec.profile}, ${codec.implementation}: a bomb costs no more memory than the limit`, (t) =>
    costsNoMore(t, codec));
