import test from 'ava';
import { makePayloads, PAYLOAD_NAMES } from '../../bench/payloads.ts';
import { checkPayloads } from './helper.ts';

for (const name of PAYLOAD_NAMES) {
  test(`${name}: the seed decides the bytes, and no payload comes twice within 8 MiB`, (t) =>
    checkPayloads(t, name));
}

test('a pool for more streams is larger by as much', (t) => {
  t.true(makePayloads({ name: 'text32k', seed: 1, streams: 2 }).bytes >= 32 * 2 ** 20);
});
