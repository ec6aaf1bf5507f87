/** Request IDs that come to their end (protocol B4), by as many requests as it takes from where a client begins. */

import type { ExecutionContext } from 'ava';
import { type Client, dataPart } from './client.ts';

/** From 5 to the last, and some past it. */
export const EVERY_ID = 32_766 + 40;

/** `requests` requests, the last of them past 65 535, beside one that stays busy all the while. */
export async function wraps(t: ExecutionContext, client: Client, requests: number): Promise<void> {
  const first = client.nextId();
  const busy = client.start('echo', { data: ['a'], open: true });
  t.deepEqual([first, busy.id], [1, 3]);
  client.skipTo(65_537 - 2 * (requests - 40));
  const used: number[] = [];
  let fed = 'a';
  for (let round = 1; used.length < requests; round++) {
    const batch = Array.from({ length: 64 }, () => client.expect(client.nextId()));
    client.write(...batch.map((exchange) => client.commandBytes(exchange.id, 'echo')));
    for (const exchange of batch) {
      used.push(exchange.id);
      const body = await client.body(exchange);
      if (body.length > 0) t.fail(`request ${exchange.id} got ${body.length} bytes`);
    }
    if (round % 100 !== 1) continue;
    client.write(client.put(1, busy.id, dataPart('b', false)));
    fed += 'b';
  }
  const wrap = used.indexOf(65_535);
  t.deepEqual(used.slice(wrap, wrap + 4), [65_535, 1, 5, 7]);
  client.write(client.put(1, busy.id, dataPart('c', true)));
  t.is(String(await client.body(busy)), `${fed}c`);
  t.deepEqual(client.violations, []);
  t.deepEqual(client.protocolErrors, []);
}
