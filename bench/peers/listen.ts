/** Listening on a free loopback port, once for all peers. */
import type { AddressInfo, Server } from 'node:net';

export async function listen(server: Pick<Server, 'listen' | 'once' | 'address'>): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}
