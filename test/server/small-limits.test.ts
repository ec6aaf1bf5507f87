// Every limit at the least that it may be, and ordinary use by a client that knows nothing of it: it is told, or keeps to it, or
// fails one request, but its connection stays.
import ava, { type ExecutionContext } from 'ava';
import { type Client, cached, DEFAULT_LIMITS, type Limits } from '../../src/index.ts';
import { dial, failure, servingOnSharedLanes } from '../helpers/serving.ts';

const test = ava;
const serving = servingOnSharedLanes(ava);

const BYTES = Uint8Array.from({ length: 1000 }, (_, i) => i % 7);
const DICTIONARY = new URL('../fixtures/mill.dict', import.meta.url).pathname;

/** Ordinary use; each resolves with what it should: BYTES. */
const USES: Record<string, (client: Client) => Promise<Uint8Array>> = {
  arguments: (client) => client.call('named', { args: { size: '1000', other: 'x' } }).bytes(),
  upload: (client) => client.call('echo', { data: BYTES.slice() }).bytes(),
  'upload in pieces': (client) =>
    client.call('echo', { data: [new Uint8Array(0), BYTES.slice(0, 1), BYTES.slice(1)] }).bytes(),
  'uploads at once': async (client) => {
    const all = Array.from({ length: 8 }, () => client.call('echo', { data: BYTES.slice() }).bytes());
    const ends = await Promise.allSettled(all);
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return all[7];
  },
  download: (client) => client.call('whole').bytes(),
  'cached output': (client) => client.call('kept').bytes(),
  cancel: async (client) => {
    for await (const _ of client.call('whole')) break;
    return client.call('whole').bytes();
  },
  publish: async (client) => {
    await client.publish('news', BYTES.slice());
    return BYTES;
  },
};

/** What lasts so long is over. */
const TIMES: readonly (keyof Limits)[] = ['idleTimeout', 'frameTimeout', 'commandTimeout', 'openingTimeout'];
/** Below 256 there is no room for what every client has to say; {@link connect} tells. */
const LEAST: Partial<Record<keyof Limits, number[]>> = {
  maxPayload: [256],
  maxMessage: [61_440],
  maxRequestHead: [1000],
  // With 1 an upload takes a thousand round trips.
  maxRequestData: [256],
  maxConnectionData: [256],
  maxBufferedOutput: [256],
  maxDecodedSize: [1, 256, 600],
  maxWindowSize: [1, 2 ** 15, 2 ** 20],
  maxIncomingStreams: [1, 2],
  maxStreamBegins: [1, 2],
};

/** Of what is left of a limit no call is to be expected, but its own failure, which says why. */
async function uses(t: ExecutionContext, client: Client, limit: string, where: string): Promise<void> {
  for (const [name, use] of Object.entries(USES)) {
    const end = await use(client).catch((error: Error) => error);
    if (end instanceof Error) t.regex(end.message, new RegExp(`^${limit}: `), `${name} ${where}`);
    else t.is(Buffer.compare(end, BYTES), 0, `${name} ${where}`);
    t.is(client.state, 'open', `after ${name} ${where}: ${client.closeReason}`);
  }
}

for (const limit of Object.keys(DEFAULT_LIMITS).filter((each) => !TIMES.includes(each as keyof Limits)))
  for (const least of LEAST[limit as keyof Limits] ?? [1])
    test(`a server's ${limit} of ${least} ends no connection of an honest client`, async (t) => {
      // However slow this machine is: nobody is silent for so long that he is pinged.
      const keepAliveInterval = 0;
      const { server, port, reports } = await serving(t, {
        keepAliveInterval,
        limits: { [limit]: least },
        dictionaries: [{ file: DICTIONARY, commands: ['whole'] }],
        commands: {
          named: (request) => BYTES.slice(0, Number(request.text('size'))),
          echo: async function* (request) {
            for await (const piece of request.data) yield piece;
          },
          whole: () => BYTES.slice(),
          kept: () => cached('key', () => BYTES.slice()),
        },
      });
      server.topic('news');
      for (const encodeData of ['zstd-8mb', 'zlib', 'zstd-dict', undefined])
        for (const where of [{ port }, `ws://127.0.0.1:${port}/`])
          await uses(
            t,
            await dial(t, where, { encodeData, keepAliveInterval }),
            limit,
            `${encodeData} ${typeof where}`,
          );
      t.deepEqual(
        reports.filter(({ error }) => (error as Error).name === 'ProtocolError'),
        [],
      );
    });

test('a server that takes smaller frames than its own settings have says why nobody can connect', async (t) => {
  const { port } = await serving(t, { limits: { maxPayload: 255 } });
  t.regex((await failure(dial(t, { port }))).message, /^minFrameSize: a maxFrameSize of 255, under 256/);
});
