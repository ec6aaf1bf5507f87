/** A gateway before two servers: a pool of connections, calls that move on when one of the servers goes away. */

import { connect, connectPool, createServer } from 'millrace';

function backend(name: string) {
  return createServer({ workers: 1, commands: { who: { mode: 'ro', handler: () => name } } });
}

const one = backend('one');
const two = backend('two');
const addresses = [await one.listen({ port: 0 }), await two.listen({ port: 0 })];

const pool = connectPool(addresses, { size: 2, balance: 'round-robin' });
const gateway = createServer({
  workers: 1,
  commands: {
    // Marked idempotent: it may be sent again when its connection is lost. What never ran is sent again anyway.
    who: (request) => pool.call('who', { idempotent: true, signal: request.signal }),
  },
});
const client = await connect(await gateway.listen({ port: 0 }));

const ask = async () =>
  new Set(await Promise.all(Array.from({ length: 20 }, () => client.call('who').text())));
// Until both are connected, one answers for both.
let answers = await ask();
while (answers.size < 2) answers = await ask();
console.log([...answers].sort().join(' and '));
await one.close();
console.log([...(await ask())].join(' and '));
await client.close();
await gateway.close();
await pool.close();
await two.close();

// prints:
// one and two
// two
