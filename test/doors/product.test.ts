// Whatever a response is made of, its bytes are the same at every door.

import { readFileSync } from 'node:fs';
import ava, { type ExecutionContext } from 'ava';
import { connect as connectBrowser } from '../../src/browser.ts';
import type { Client } from '../../src/index.ts';
import { commands, on, THREADS } from '../helpers/commands.ts';
import { concat, digest, sample } from '../helpers/samples.ts';
import { dial, servingOnSharedLanes } from '../helpers/serving.ts';
import { ask } from './helper.ts';

const serving = servingOnSharedLanes(ava);

const test = ava.serial;

/** On both sides of what the code treats in different ways. */
const SIZES = [0, 1, 64, 1023, 1024, 8193, 16_385, 32_768, 32_769, 70_000];

type Call = (command: string, args: Record<string, string>, data?: Uint8Array) => Promise<Uint8Array>;

const byClient =
  (client: Client): Call =>
  (command, args, data) =>
    client.call(command, { args, data }).bytes();

const byHttp =
  (port: number): Call =>
  async (command, args, data) => {
    const headers = data && { 'content-type': 'application/octet-stream' };
    return (await ask(port, `/rpc/${command}?${new URLSearchParams(args)}`, { headers, body: data })).body;
  };

async function browser(t: ExecutionContext, url: string): Promise<Client> {
  const client = await connectBrowser(url, { encodeData: 'zlib' });
  t.teardown(() => client.destroy());
  return client;
}

/** A command, its arguments and data, and what comes of them, for each size. */
function* features(thread: (typeof THREADS)[number], size: number) {
  const text = String(size);
  const whole = sample(size, 1);
  yield [on(thread, 'sample'), { size: text, piece: text }, whole] as const;
  yield [on(thread, 'sample'), { size: text, piece: '5000', pace: '' }, whole] as const;
  yield [on(thread, 'shared'), { size: text, key: `${thread} ${size}` }, whole] as const;
  const parts = [sample(size, 11), sample(70_000, 12), sample(size, 13), sample(10, 14), sample(size, 15)];
  yield [
    on(thread, 'mixed'),
    { before: text, between: text, after: text, key: thread },
    concat(parts),
  ] as const;
  yield ['echo', {}, whole, whole] as const;
}

for (const profile of ['zstd-8mb', 'zlib', 'identity']) {
  test(`${profile}: responses and uploads of all sizes and kinds are the same at every door`, async (t) => {
    const dictionaries = [{ bytes: readFileSync(new URL('../fixtures/mill.dict', import.meta.url)) }];
    const options = { profile, commands: commands(), ...(profile === 'zstd-8mb' && { dictionaries }) };
    const { address, port } = await serving(t, options);
    const url = `ws://127.0.0.1:${port}/`;
    const small = { limits: { maxPayload: 300 }, requestWindow: 3000, connectionWindow: 9000 };
    const doors: Record<string, Call> = {
      frames: byClient(await dial(t, address, { encodeData: profile })),
      'small frames and windows': byClient(await dial(t, address, small)),
      plain: byClient(await dial(t, address, { plain: true })),
      WebSocket: byClient(await dial(t, url, { encodeData: profile })),
      'plain WebSocket': byClient(await dial(t, url, { plain: true })),
      browser: byClient(await browser(t, url)),
      rpc: byHttp(port),
    };
    const each = async ([door, call]: [string, Call]) => {
      for (const size of SIZES)
        for (const thread of THREADS)
          for (const [command, args, expected, data] of features(thread, size))
            if (digest(await call(command, args, data)) !== digest(expected))
              t.fail(`${door}: ${command} of ${size} bytes`);
    };
    await Promise.all(Object.entries(doors).map(each));
    t.pass();
  });
}
