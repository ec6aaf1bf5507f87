/** A server with one command, and a client that calls it. */

import { connect, createServer } from 'millrace';

const server = createServer({
  commands: {
    hello: async function* (request) {
      yield `hello ${request.text('name') ?? 'world'}`;
    },
  },
});
const address = await server.listen({ port: 0 });

const client = await connect(address);
console.log(await client.call('hello').text());
console.log(await client.call('hello', { args: { name: 'river' } }).text());
await client.close();
await server.close();

// prints:
// hello world
// hello river
