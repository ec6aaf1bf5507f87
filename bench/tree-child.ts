/** Both ends of the tree bench: `serve ROOT POLICY` says its port and stays, `pull PORT FOLDER` fetches and says how it went. */
import { pull } from '../src/files/pull.ts';
import { connect, createServer, type PolicyName } from '../src/index.ts';

export interface TreePull {
  /** From before connecting until the last file was in its place; without the start of Node. */
  readonly seconds: number;
  readonly files: number;
  readonly wireBytes: number;
}

const [mode, first = '', second = ''] = process.argv.slice(2);

if (mode === 'serve') {
  const server = createServer({ root: first, policy: second as PolicyName });
  const address = await server.listen({ host: '127.0.0.1', port: 0 });
  console.log('port' in address ? address.port : 0);
} else {
  const start = performance.now();
  const client = await connect({ host: '127.0.0.1', port: Number(first) });
  const { files, failed } = await pull(client, second);
  const seconds = (performance.now() - start) / 1000;
  if (failed.length > 0)
    throw new Error(`${failed.length} files failed, the first: ${failed[0]!.path}, ${failed[0]!.error}`);
  console.log(JSON.stringify({ seconds, files, wireBytes: client.stats().bytesRead } satisfies TreePull));
  await client.close();
}
