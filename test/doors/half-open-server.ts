/** A server in a process of its own, which has descriptors of its own: says its port, then its figures whenever it is asked. */

import { createServer } from '../../src/index.ts';

const server = createServer({
  workers: 1,
  maxConnections: 12_000,
  limits: { openingTimeout: Number(process.argv[2]) },
  onError: () => undefined,
});
const { port } = (await server.listen()) as { port: number };
process.on('message', async () => {
  const { connections, connectionTotals } = await server.stats();
  process.send?.({ connections, opened: connectionTotals.opened, rss: process.memoryUsage.rss() });
});
process.once('disconnect', () => process.exit());
process.send?.({ port });
