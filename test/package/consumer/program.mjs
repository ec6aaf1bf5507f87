/** What a user's first program does: a server with a command here and one in a lane, and a client with each kind of codecs. */
import { createServer } from 'millrace';
import { connect } from 'millrace/client';

const server = createServer({
  workers: 1,
  onError: console.error,
  commands: {
    hello: async function* (request) {
      yield `hello ${request.text('name')}`;
    },
    where: { module: new URL('lane.mjs', import.meta.url) },
  },
});
const address = await server.listen();
const said = {};
for (const codecs of ['native', 'portable']) {
  const client = await connect(address, { codecs });
  said[codecs] = await client.call('hello', { args: { name: 'river' } }).text();
  said.lane = await client.call('where').text();
  await client.close();
}
said.lanes = (await server.stats()).lanes.length;
await server.close();
console.log(JSON.stringify(said));
