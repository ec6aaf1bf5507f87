/** Codecs that only experiments and those who ask for them have. */

import test from 'ava';
import { extraCodecs } from '../../src/encoding/extra.ts';
import { isSound } from '../../src/encoding/self-check.ts';
import { dial, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

test('brotli and deflate serve a client that has them, and not one that has not', async (t) => {
  for (const { profile } of extraCodecs.codecs) {
    const text = 'all work and no play makes jack a dull boy\n'.repeat(2000);
    const { address } = await serving(t, { codecs: [extraCodecs], profile, commands: { get: () => text } });
    const able = await dial(t, address, { extraCodecs: [extraCodecs] });
    t.is(await able.call('get').text(), text);
    t.true(able.stats().streams.some((stream) => stream.profile === profile));
    t.true(able.stats().bytesRead < 5000);
    const unable = await dial(t, address);
    t.is(await unable.call('get').text(), text);
    t.false(unable.stats().streams.some((stream) => stream.profile === profile));
    await Promise.all([able.close(), unable.close()]);
  }
});

test('raw deflate passes the check that every codec has to', (t) => {
  t.true(isSound(extraCodecs.codecs.find(({ profile }) => profile === 'deflate')!));
});

test('a brotli window over the limit is refused', (t) => {
  const brotli = extraCodecs.codecs.find(({ profile }) => profile === 'brotli')!;
  const encoder = brotli.createEncoder!({ windowLog: 22 });
  const target = new Uint8Array(1000);
  const length = encoder.encode(new Uint8Array(100), target, 0);
  encoder.close();
  const limits = { maxDecodedSize: 1 << 20, maxDecodedRatio: 1000, maxWindowSize: 1 << 20 };
  const error = t.throws(() => brotli.createDecoder(limits).decode(target.subarray(0, length)));
  t.regex(error.message, /maxWindowSize/);
});
