/** A process that puts a link in the place of a folder and the folder back, as fast as it can. */

import { setImmediate as turn } from 'node:timers/promises';
import { Hand } from './moving-hand.ts';

const hand = new Hand(process.argv[2], process.argv[3]);
process.send?.('ready');
for (;;) {
  for (let i = 0; i < 100; i++) {
    hand.bend();
    hand.straighten();
  }
  await turn();
}
