/** A peer under load, as all benches measure it. */

import type { ExecutionContext } from 'ava';
import { makePayloads, type PAYLOAD_NAMES } from '../../bench/payloads.ts';
import { type Measurement, Rig } from '../../bench/proc.ts';

const MIB = 1024 * 1024;

const IN_FLIGHT = 10;

/** A window with so many requests that those which began or ended outside of it, and their bytes, are few among them. */
async function measured(rig: Rig): Promise<Measurement> {
  for (let seconds = 0.3; ; seconds *= 2) {
    const window = await rig.measure({ kind: 'closed', inFlight: IN_FLIGHT }, seconds, 0.1);
    if (window.requests >= 10 * IN_FLIGHT) return window;
  }
}

export async function isCounted(
  t: ExecutionContext<unknown>,
  peer: string,
  name: (typeof PAYLOAD_NAMES)[number] = 'json900',
): Promise<void> {
  await using rig = await Rig.start({ peer, payloads: { name, seed: 1 } });
  const closed = await measured(rig);
  t.true(closed.wireBytes > 100);
  t.true(closed.cpu.total > 0);
  const open = await rig.measure({ kind: 'open', rate: 100, seed: 1 }, 0.3, 0.1);
  t.true(open.latency.count > 0);
}

/** The seed decides the bytes, and no payload comes twice within 8 MiB. */
export function checkPayloads(t: ExecutionContext<unknown>, name: (typeof PAYLOAD_NAMES)[number]): void {
  const payloads = makePayloads({ name, seed: 7 });
  t.is(makePayloads({ name, seed: 7 }).sha256, payloads.sha256);
  t.not(makePayloads({ name, seed: 8 }).sha256, payloads.sha256);
  t.true(payloads.bytes >= 16 * MIB);
  const seen = new Set<string>();
  for (let i = 0; i < payloads.count; i++) seen.add(payloads.get(i).toString('latin1'));
  t.is(seen.size, payloads.count);
}
