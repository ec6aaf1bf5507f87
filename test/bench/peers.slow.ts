/** Every peer of the benches; one that is not installed is skipped. */

import test from 'ava';
import { allPeers, findPeer } from '../../bench/peers/index.ts';
import { isCounted } from './helper.ts';

for (const peer of [...(await allPeers()), await findPeer('bare router')]) {
  const run = peer.missing?.() === undefined ? test.serial : test.skip;
  run(`${peer.name} answers with the payloads, and its bytes and CPU are counted`, (t) =>
    isCounted(t, peer.name),
  );
}
