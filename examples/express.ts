/** Doors in an Express server: what is below one path is millrace's, the rest is Express's. */

import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import express from 'express';
import { connect, createServer } from 'millrace';

const app = express();
app.get('/hello', (_request, response) => void response.send('hello from Express'));
const http = createHttpServer(app);

const server = createServer({ commands: { hello: () => 'hello from millrace' } });
await server.attach(http, { path: '/millrace' });
http.listen(0, '127.0.0.1');
await once(http, 'listening');
const { port } = http.address() as { port: number };

console.log(await (await fetch(`http://127.0.0.1:${port}/hello`)).text());
console.log(await (await fetch(`http://127.0.0.1:${port}/millrace/rpc/hello`, { method: 'POST' })).text());
const client = await connect(`ws://127.0.0.1:${port}/millrace`);
console.log(await client.call('hello').text(), 'over a WebSocket');
await client.close();
await server.close();
http.closeAllConnections();
http.close();

// prints:
// hello from Express
// hello from millrace
// hello from millrace over a WebSocket
