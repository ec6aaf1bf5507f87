/** The bytes of a response have no boundaries. Messages do: records() keeps them, in both directions. */

import { connect, createServer, records } from 'millrace';

const server = createServer({
  commands: {
    countdown: () => records(['three', 'two', 'one']),
    lengths: async function* (request) {
      for await (const message of records(request.data, { maxBytes: 1000 })) yield `${message.length} `;
    },
  },
});
const client = await connect(await server.listen({ port: 0 }));

for await (const message of records(client.call('countdown'), { maxBytes: 1000 }))
  console.log(new TextDecoder().decode(message));
console.log(await client.call('lengths', { data: records(['a', 'bc', new Uint8Array(500)]) }).text());
await client.close();
await server.close();

// prints:
// three
// two
// one
// 1 2 500
