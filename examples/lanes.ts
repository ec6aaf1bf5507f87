/** Handlers that run in the lanes: their bytes go straight into a lane's encoder, and only finished frames cross threads. */

import { connect, createServer } from 'millrace';

const module = new URL('lanes-handlers.ts', import.meta.url);

const server = createServer({
  workers: 2,
  commands: {
    count: { module, export: 'count' },
    where: { module, export: 'where' },
  },
});
const client = await connect(await server.listen({ port: 0 }));

const numbers = await client.call('count', { args: { to: '100000' } }).text();
const { bytesRead } = client.stats();
console.log(`${numbers.split('\n').length - 1} lines, ${numbers.length} bytes`);
console.log(`compressed on the way: ${bytesRead < numbers.length / 2}`);
console.log(`on the main thread: ${await client.call('where').text()}`);
await client.close();
await server.close();

// prints:
// 100000 lines, 588895 bytes
// compressed on the way: true
// on the main thread: false
