/** Compiled with the oldest TypeScript that the README names; never run. */
import { createServer, type Handler, type ServerOptions } from 'millrace';
import { connectOver, type Transport } from 'millrace/browser';
import { type Client, CommandError, connect, type Response } from 'millrace/client';

const hello: Handler = async function* (request) {
  if (request.args.size === 0) throw new CommandError('whom?');
  yield `hello ${request.text('name') ?? 'world'}`;
};
const options: ServerOptions = { commands: { hello }, policy: 'affinity', limits: { maxPayload: 1024 } };
const server = createServer(options);
const address = await server.listen({ port: 0 });
const client: Client = await connect(address, { codecs: 'portable' });
const response: Response = client.call('hello', {
  args: { name: 'river' },
  signal: AbortSignal.timeout(1000),
});
const text: string = await response.text();
console.log(text);
for await (const piece of client.call('hello')) console.log(piece.byteLength);
await client.close();
await server.close();

export const overAnything = (transport: Transport): Promise<Client> => connectOver(transport);
