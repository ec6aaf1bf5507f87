/** A peer under load, as all benches measure it. */

import type { ExecutionContext } from 'ava';
import { Rig } from '../../bench/proc.ts';

export async function isCounted(t: ExecutionContext<unknown>, peer: string): Promise<void> {
  await using rig = await Rig.start({ peer, payloads: { name: 'json900', seed: 1 } });
  const closed = await rig.measure({ kind: 'closed', inFlight: 10 }, 0.3, 0.1);
  t.true(closed.requests > 0);
  t.true(closed.wireBytes > 100);
  t.true(closed.cpu.total > 0);
  const open = await rig.measure({ kind: 'open', rate: 100, seed: 1 }, 0.3, 0.1);
  t.true(open.latency.count > 0);
}
