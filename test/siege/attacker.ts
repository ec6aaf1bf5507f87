/** Mounts one attack, over and over, until it is told to stop. Other machines attack: this one has the lowest priority. */

import { setPriority } from 'node:os';
import { attackNamed } from './attacks.ts';
import { answer } from './child.ts';
import { Peers } from './peers.ts';

const [name, port, kind] = process.argv.slice(2);
setPriority(10);
const peers = new Peers(Number(port), kind === 'tls');
const attack = attackNamed(name);

answer({
  ready: () => true,
  begin: () => {
    attack.mount(peers).catch(() => undefined);
  },
  end: () => {
    peers.leave();
  },
});
