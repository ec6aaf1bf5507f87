/** The portable decoder of zstd with every window and level; zstd.test.ts has a few. */

import test from 'ava';
import { decodersAgree, slides } from './zstd-helpers.ts';

for (const windowLog of [10, 11, 15, 17, 19, 20, 23]) {
  test(`the portable decoder slides a window of 2^${windowLog} over long streams`, (t) => {
    for (const cut of [700, 32_768, 150_000]) slides(t, { level: 1, windowLog }, cut);
    for (const cut of [32_768, 150_000]) slides(t, { level: 19, windowLog }, cut);
  });
}

test('portable and native decoders agree on any data at any level', (t) => {
  t.notThrows(() => decodersAgree(19, 500));
});
