/** What a bomb costs, in a process of its own. */

import { execFileSync } from 'node:child_process';
import type { ExecutionContext } from 'ava';
import type { Codec } from '../../src/encoding/codec.ts';

/** Decodes 512 MiB (zstd) or 32 MiB (zlib) of zeros under the default limits. */
const SCRIPT = `
(async () => {
  const { CODECS, LIMITS, zstdBomb } = await import('./helpers.ts');
  const zlib = require('node:zlib');
  const { PROFILE: profile, IMPLEMENTATION: implementation } = process.env;
  const codec = CODECS.find((c) => c.profile === profile && c.implementation === implementation);
  const bomb = profile === 'zlib' ? zlib.deflateSync(new Uint8Array(32 << 20)) : zstdBomb(4096);
  const mebibytes = () => process.resourceUsage().maxRSS >> 10;
  const warm = codec.createDecoder(LIMITS);
  try { warm.decode(bomb.subarray(0, 100)) } catch {}
  const before = mebibytes();
  let message = '';
  try {
    codec.createDecoder({ ...LIMITS, maxDecodedRatio: Infinity }).decode(bomb);
  } catch (error) {
    message = String(error);
  }
  console.log(JSON.stringify({ before, after: mebibytes(), message }));
})();
`;

export function costsNoMore(t: ExecutionContext, { profile, implementation }: Codec): void {
  const { before, after, message } = JSON.parse(
    execFileSync(process.execPath, ['-e', SCRIPT], {
      encoding: 'utf8',
      env: { ...process.env, PROFILE: profile, IMPLEMENTATION: implementation, NODE_NO_WARNINGS: '1' },
      cwd: import.meta.dirname,
    }),
  );
  t.regex(message, /^DecodeError: maxDecodedSize/);
  // Mebibytes; the limit is one of them, a window of 128 KiB and the runtime's own noise are the rest.
  t.true(after - before < 24, `${before} MiB grew to ${after} MiB`);
}
