/** Doors in a Fastify server: what is below one path is millrace's, the rest is Fastify's. */

import fastify from 'fastify';
import { connect, createServer } from 'millrace';

const app = fastify();
app.get('/hello', async () => 'hello from Fastify');

const server = createServer({ commands: { hello: () => 'hello from millrace' } });
await server.attach(app.server, { path: '/millrace' });
// Before Fastify itself closes, which waits until all WebSockets are gone.
app.addHook('preClose', () => server.close());
const address = await app.listen({ host: '127.0.0.1', port: 0 });

console.log(await (await fetch(`${address}/hello`)).text());
console.log(await (await fetch(`${address}/millrace/rpc/hello`, { method: 'POST' })).text());
const client = await connect(`${address.replace('http', 'ws')}/millrace`);
console.log(await client.call('hello').text(), 'over a WebSocket');
await client.close();
await app.close();

// prints:
// hello from Fastify
// hello from millrace
// hello from millrace over a WebSocket
