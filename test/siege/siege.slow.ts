/** The siege, shortly: what innocents get under each attack. How long anything took is said, and not judged. */

import test from 'ava';
import { ATTACKS, besiege } from './siege.ts';

for (const { name } of ATTACKS) {
  test.serial(`innocents are served under attack: ${name}`, async (t) => {
    // It comes to an end only when innocents have been served under the attack.
    const figures = await besiege(name, { seconds: 2, restSeconds: 0 });
    t.log(JSON.stringify(figures));
    t.is(figures.failures, 0);
  });
}
