/** Topics (protocol C10): what subscribers are given, in every profile, and what hostile peers and slow ones are. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import {
  type Client,
  CommandError,
  connectPool,
  createServer,
  ProtocolError,
  type Server,
  type Subscription,
  type TopicGap,
  type TopicMessage,
} from '../../src/index.ts';
import { FrameType } from '../../src/wire/frame.ts';
import { encodeArgumentHead, encodeUtf8 } from '../../src/wire/payloads.ts';
import { gapRecords, messageRecord, positionRecord, TopicReader } from '../../src/wire/topic-records.ts';
import { Wire } from '../doors/helper.ts';
import { millRecord } from '../helpers/mill.ts';
import { frame, HELLO, onCommand, RawPeer } from '../helpers/raw-peer.ts';
import {
  dial,
  failure,
  impostor,
  LONG,
  PATIENT_POOL,
  serving,
  servingOnSharedLanes,
} from '../helpers/serving.ts';
import { Client as IndependentClient } from '../independent/client.ts';
import { play } from './model.ts';

const onSharedLanes = servingOnSharedLanes(test);

const text = ({ data }: TopicMessage) => Buffer.from(data).toString();

/** The first `count` messages of a subscription. */
async function take(subscription: Subscription, count: number): Promise<TopicMessage[]> {
  const messages: TopicMessage[] = [];
  if (count === 0) return messages;
  for await (const message of subscription) if (messages.push(message) === count) break;
  return messages;
}

/** Resolves once so many are subscribed. */
async function subscribed(server: Server, topic: string, count: number): Promise<void> {
  const found = async () => (await server.stats()).topics.find((row) => row.topic === topic);
  while ((await found())?.subscribers !== count) await turn();
}

test('a message reaches every subscriber, whatever it decodes, and is encoded once for each profile', async (t) => {
  const { server, address } = await onSharedLanes(t);
  const topic = server.topic('prices');
  const kinds = [
    {},
    {},
    {},
    { codecs: 'portable' },
    { profiles: ['zlib'] },
    { profiles: [] },
    { plain: true },
  ];
  const clients = await Promise.all(kinds.map((kind) => dial(t, address, kind as object)));
  const taken = clients.map((client) => take(client.subscribe('prices'), 50));
  await subscribed(server, 'prices', kinds.length);
  const published = Array.from({ length: 50 }, (_, i) => `price ${i} ${'of much '.repeat(i)}`);
  for (const message of published) topic.publish(message);
  for (const messages of await Promise.all(taken)) {
    t.deepEqual(messages.map(text), published);
    t.deepEqual(
      messages.map(({ sequence }) => sequence),
      published.map((_, i) => i + 1),
    );
    t.true(messages.every((message) => !('lost' in message)));
  }
  t.is((await server.stats()).topics[0].encodes, 2 * published.length);
  // Who cannot cancel stays until the connection is gone.
  await subscribed(server, 'prices', 1);
  clients.at(-1)?.destroy();
  await subscribed(server, 'prices', 0);
});

test('whatever happens to a topic, nobody misses a message unannounced', async (t) => {
  for (const seed of [3, 5]) {
    const { read } = await play(t, seed, 100);
    t.true(read > 0);
  }
});

test('each payload decodes by node:zlib, fzstd and pako, and all that travels is as the protocol says', async (t) => {
  const { server, port } = await onSharedLanes(t, { workers: 1 });
  const topic = server.topic('t', { history: 3, epoch: { messages: 4 } });
  for (const contentEncodings of [['zstd-8mb'], ['zlib']]) {
    topic.publish('before');
    const client = await IndependentClient.connect(port, {
      settings: { contentEncodings, extensions: [] },
    } as object);
    const before = topic.sequence;
    const exchange = client.start('subscribe', {
      args: [
        ['topic', 't'],
        ['after', String(before - 1)],
      ],
    });
    await subscribed(server, 't', 1);
    const messages = Array.from({ length: 30 }, (_, i) =>
      encodeUtf8(`message ${i} `.repeat(1 + (i % 3) * 4000)),
    );
    for (const message of messages) {
      topic.publish(message);
      await turn();
    }
    const expected = [
      positionRecord(before),
      messageRecord(encodeUtf8('before')),
      ...messages.map(messageRecord),
    ];
    const total = expected.reduce((sum, { length }) => sum + length, 0);
    while (exchange.body.length < total) await client.settle(1);
    t.is(Buffer.compare(exchange.body, Buffer.concat(expected)), 0);
    t.deepEqual(client.violations, []);
    client.close();
    await subscribed(server, 't', 0);
  }
});

test('a subscriber goes on with the dictionary of subscribe once it holds it, and misses nothing in between', async (t) => {
  const dictionary = new Uint8Array(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
  const dictionaries = [{ bytes: dictionary, commands: ['subscribe'] }];
  const { server, address } = await onSharedLanes(t, { dictionaries });
  const topic = server.topic('mills', { epoch: { messages: 5 } });
  const client = await dial(t, address);
  const messages: string[] = [];
  const reading = (async () => {
    for await (const message of client.subscribe('mills')) messages.push(text(message));
  })();
  await subscribed(server, 'mills', 1);
  const profiles = () => client.stats().streams.map(({ profile }) => profile);
  let count = 0;
  const publish = async () => {
    topic.publish(millRecord(count++));
    await turn();
  };
  for (let i = 0; i < 12; i++) await publish();
  while (client.stats().dictionaries.length === 0) await client.ping();
  // A second one, from now on, comes in the middle of epochs and is given messages alone.
  const late = take(client.subscribe('mills'), 20);
  await subscribed(server, 'mills', 2);
  while (!profiles().includes('zstd-dict') || count < 60) await publish();
  topic.close();
  await reading;
  t.deepEqual(
    messages,
    messages.map((_, i) => millRecord(i)),
  );
  t.is(messages.length, count);
  t.is((await late).length, 20);
});

test('who goes on with the dictionary is waited for no more by those who do not hold it', async (t) => {
  const dictionary = new Uint8Array(readFileSync(new URL('../fixtures/mill.dict', import.meta.url)));
  const dictionaries = [{ bytes: dictionary, commands: ['subscribe'] }];
  const { server, address, port } = await onSharedLanes(t, { dictionaries });
  const topic = server.topic('mills');
  const without = await IndependentClient.connect(port, {
    settings: { contentEncodings: ['zstd-8mb'], extensions: [] },
  } as object);
  t.teardown(() => without.close());
  const stay = Array.from({ length: 8 }, () => without.start('subscribe', { args: [['topic', 'mills']] }));
  await subscribed(server, 'mills', stay.length);
  topic.publish(millRecord(0));
  // Comes in the middle of an epoch, and goes to another encoding with the message that it is given alone.
  const client = await dial(t, address);
  const heard = client.subscribe('mills')[Symbol.asyncIterator]();
  await subscribed(server, 'mills', stay.length + 1);
  while (client.stats().dictionaries.length === 0) await client.ping();
  await client.ping();
  const publish = async (number: number) => {
    topic.publish(millRecord(number));
    t.is(text((await heard.next()).value as TopicMessage), millRecord(number));
    return Number((await server.stats()).topics[0]?.encodes);
  };
  const before = await publish(1);
  t.is((await publish(2)) - before, 2, 'once for each encoding');
});

test('who resumes is given what history has, and told how much is lost', async (t) => {
  const { server, address } = await onSharedLanes(t);
  const topic = server.topic('news', { history: 3 });
  const client = await dial(t, address);
  for (let i = 1; i <= 10; i++) topic.publish(`news ${i}`);
  const gaps: TopicGap[] = [];
  const options = { onGap: (gap: TopicGap) => void gaps.push(gap) };
  const some = await take(client.subscribe('news', { after: 8, ...options }), 2);
  t.deepEqual(some.map(text), ['news 9', 'news 10']);
  t.deepEqual(gaps, []);
  const [first] = await take(client.subscribe('news', { after: 2, ...options }), 1);
  t.deepEqual({ ...first, data: text(first) }, { sequence: 8, data: 'news 8', lost: 5 });
  t.deepEqual(gaps, [{ lost: 5, sequence: 8 }]);
  await subscribed(server, 'news', 0);
  const later = take(client.subscribe('news', { after: 1e15 }), 1);
  await subscribed(server, 'news', 1);
  topic.publish('news 11');
  t.is((await later)[0].sequence, 11);
});

test('a topic that closes ends its subscriptions once they have all of it; then there is none of the name', async (t) => {
  const { server, address } = await onSharedLanes(t);
  const topic = server.topic('a');
  t.is(server.topic('a'), topic);
  t.throws(() => server.topic('a', { history: 1 }), { message: /there is a topic 'a' already/ });
  const client = await dial(t, address);
  const all = take(client.subscribe('a'), 1000);
  await subscribed(server, 'a', 1);
  for (let i = 0; i < 40; i++) topic.publish(`x${i}`);
  topic.close();
  t.is((await all).length, 40);
  t.throws(() => topic.publish('late'), { message: /is closed/ });
  const error = await failure(take(client.subscribe('a'), 1));
  t.is((error as CommandError).code, 'not-found');
  t.is(server.topic('a').sequence, 0);
});

test.serial('a server whose relay needs a package that is not there does not begin', async (t) => {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'ioredis') throw new Error(`there is no ${specifier}`);
      return next(specifier, context);
    },
  });
  t.teardown(() => hooks.deregister());
  const server = createServer({ relay: 'redis://127.0.0.1:1', workers: 1 });
  await t.throwsAsync(server.listen(), { message: 'a relay needs one more package: npm install ioredis' });
  await server.close();
});

test('a server that is closed has no topics, and makes none', async (t) => {
  const { server, address } = await onSharedLanes(t, {
    commands: {
      late: async function* ({ draining }) {
        yield 'begun';
        if (!draining.aborted) await new Promise((resolve) => draining.addEventListener('abort', resolve));
        yield String(server.topic('there').publish('the last'));
        t.throws(() => server.topic('new'), { message: 'the server is closed' });
      },
    },
  });
  server.topic('there');
  const response = (await dial(t, address)).call('late')[Symbol.asyncIterator]();
  t.is(Buffer.from((await response.next()).value ?? []).toString(), 'begun');
  const closed = server.close(600_000);
  t.is(Buffer.from((await response.next()).value ?? []).toString(), '1');
  await closed;
  for (const name of ['there', 'new'])
    t.throws(() => server.topic(name), { message: 'the server is closed' });
});

test('a name has 1 to 255 bytes of UTF-8, and nothing else is one', async (t) => {
  const { server, address, port } = await onSharedLanes(t);
  for (const name of ['', '\ud800', 'x'.repeat(256), 'é'.repeat(128), 7, undefined])
    t.throws(() => server.topic(name as string), { instanceOf: TypeError, message: /topic's name/ });
  const client = await dial(t, address);
  for (const name of [
    '__proto__',
    'x'.repeat(255),
    'é'.repeat(127),
    '\0',
    'a\nb',
    '日本',
    '\ufeff',
    'toString',
  ]) {
    const topic = server.topic(name, { history: 1 });
    t.is(await client.publish(name, 'hello'), 1, name);
    t.is(topic.sequence, 1);
    t.is(text((await take(client.subscribe(name, { after: 0 }), 1))[0]), 'hello');
    t.is((await failure(client.publish(`${name}!`.slice(-255), 'x'))).message.includes('no topic'), true);
  }
  const peer = await RawPeer.connect(t, port);
  peer.send(HELLO);
  let id = 1;
  const refusal = (...args: [string, Uint8Array][]) => {
    const request = id;
    id += 2;
    peer.send(frame(`${request} 1 0 command-name have-args subscribe`));
    args.forEach(([name, value], i) => {
      const head = encodeArgumentHead(name, value.length, value);
      peer.send(frame(`${request} 1 0 command-argument ${i === args.length - 1 ? 'eoa' : '0'} `, head));
    });
    return peer.answer(request);
  };
  t.regex((await refusal(['topic', Uint8Array.of(0xff)])) ?? '', /error: a topic's name is UTF-8/);
  t.regex((await refusal(['topic', new Uint8Array(256)])) ?? '', /1 to 255 bytes, not 256/);
  t.regex((await refusal(['topic', new Uint8Array(0)])) ?? '', /1 to 255 bytes, not 0/);
  t.regex((await refusal(['nothing', new Uint8Array(1)])) ?? '', /'topic' is missing/);
  const known = encodeUtf8('toString');
  for (const after of ['-1', '', '1e3', ' 1', '1'.repeat(21)])
    t.regex((await refusal(['after', encodeUtf8(after)], ['topic', known])) ?? '', /'after' is a decimal/);
  t.regex((await refusal(['slow', encodeUtf8('no')], ['topic', known])) ?? '', /'skip' or 'cancel'/);
  t.true(peer.unharmed);
});

test('the hook is asked for every subscription and every publication, with the topic', async (t) => {
  const asked: string[] = [];
  const { server, address } = await onSharedLanes(t, {
    authorize: ({ command, mode, args }) => {
      if (command === undefined) return true;
      const topic = Buffer.from(args?.get('topic') ?? '').toString();
      asked.push(`${command} ${mode} ${topic}`);
      return topic === 'open';
    },
  });
  const topic = server.topic('open', { history: 1 });
  server.topic('shut', { history: 1 }).publish('secret');
  const client = await dial(t, address);
  t.is(await client.publish('open', 'x'), 1);
  t.is((await take(client.subscribe('open', { after: 0 }), 1)).length, 1);
  for (const work of [client.publish('shut', 'x'), take(client.subscribe('shut', { after: 0 }), 1)])
    t.is(((await failure(work)) as CommandError).code, 'not-authorized');
  t.deepEqual(asked.sort(), ['publish rw open', 'publish rw shut', 'subscribe ro open', 'subscribe ro shut']);
  t.is(topic.sequence, 1);
});

test('a subscriber that takes nothing holds nobody, and what it missed is told or ends it', async (t) => {
  const { server, address } = await onSharedLanes(t, { limits: { maxTopicBacklog: 40_000 } });
  const topic = server.topic('ticks');
  const slow = await dial(t, address, { requestWindow: 4000 });
  const quick = await dial(t, address);
  const gaps: TopicGap[] = [];
  const skipping = slow.subscribe('ticks', { onGap: (gap) => void gaps.push(gap) });
  const cancelled = slow.subscribe('ticks', { slow: 'cancel' });
  const taken: TopicMessage[] = [];
  const all = (async () => {
    for await (const message of quick.subscribe('ticks')) if (taken.push(message) === 500) break;
  })();
  await subscribed(server, 'ticks', 3);
  const numbers = { published: 0 };
  while (numbers.published < 500) {
    topic.publish(Buffer.alloc(1000, `tick ${++numbers.published} `));
    // However slow the lane is, who reads falls behind by less than there may be.
    if (numbers.published % 10 === 0) while (taken.length < numbers.published) await turn();
  }
  await all;
  t.true(taken.every((message) => !('lost' in message)));
  await subscribed(server, 'ticks', 1);
  const [row] = (await server.stats()).topics;
  t.is(row.behind, 1);
  t.true(row.bytes < 100_000, `${row.bytes} bytes are kept`);
  t.is(((await failure(take(cancelled, 1000))) as CommandError).code, 'too-slow');
  const messages: TopicMessage[] = [];
  const reading = (async () => {
    for await (const message of skipping) messages.push(message);
  })();
  while (gaps.length === 0) await turn();
  topic.publish('the end');
  topic.close();
  await reading;
  t.is(text(messages.at(-1) as TopicMessage), 'the end');
  let next = 1;
  for (const { sequence, lost = 0 } of messages) {
    t.is(sequence, next + lost);
    next = sequence + 1;
  }
  t.is(messages.length + gaps.reduce((sum, { lost }) => sum + lost, 0), 501);
});

for (const history of [0, 5])
  test(`who has lost messages gets the newest, though nothing is published after it, with a history of ${history}`, async (t) => {
    const { server, address } = await onSharedLanes(t, { limits: { maxTopicBacklog: 40_000 } });
    const topic = server.topic('levels', { history });
    const slow = await dial(t, address, { requestWindow: 4000 });
    const gaps: TopicGap[] = [];
    const subscription = slow.subscribe('levels', { onGap: (gap) => void gaps.push(gap) });
    await subscribed(server, 'levels', 1);
    for (let number = 1; number <= 500; number++) topic.publish(Buffer.alloc(1000, `level ${number} `));
    const messages: TopicMessage[] = [];
    const reading = (async () => {
      for await (const message of subscription) messages.push(message);
    })();
    while (gaps.length === 0) await turn();
    topic.close();
    await reading;
    t.is(messages.at(-1)?.sequence, 500);
    t.is(messages.length + gaps.reduce((sum, { lost }) => sum + lost, 0), 500);
  });

test('a drain ends subscriptions with shutting-down after what was published, and a pool goes on elsewhere', async (t) => {
  const [one, two] = [await onSharedLanes(t), await onSharedLanes(t)];
  const topics = [one, two].map(({ server }) => server.topic('t', { history: 100 }));
  const both = (message: string) => topics.map((topic) => topic.publish(message));
  const client = await dial(t, one.address);
  const ended = failure(take(client.subscribe('t'), 1000));
  const pool = connectPool([one.address, two.address], { ...PATIENT_POOL, size: 1 });
  t.teardown(() => pool.destroy());
  await pool.ready();
  const messages = take(pool.subscribe('t', { after: 0 }), 30);
  while (topics[0].subscribers + topics[1].subscribers < 2) await turn();
  const [first, second] = topics[1].subscribers === 1 ? [two, one] : [one, two];
  for (let i = 0; i < 10; i++) both(`message ${i}`);
  // Who has not got all that was published when the grace is over is cancelled.
  const closed = first.server.close({ graceMs: LONG });
  for (let i = 10; i < 20; i++) both(`message ${i}`);
  await closed;
  for (let i = 20; i < 30; i++) both(`message ${i}`);
  t.deepEqual(
    (await messages).map(text),
    Array.from({ length: 30 }, (_, i) => `message ${i}`),
  );
  await second.server.close({ graceMs: LONG });
  const error = await ended;
  t.true(error instanceof CommandError && error.code === 'shutting-down', String(error));
});

test('who goes on where numbers begin anew is told that what was published there before is lost', async (t) => {
  const both = [await onSharedLanes(t), await onSharedLanes(t)];
  const topics = both.map(({ server }) => server.topic('t', { history: 100 }));
  const pool = connectPool(
    both.map(({ address }) => address),
    { ...PATIENT_POOL, size: 1 },
  );
  t.teardown(() => pool.destroy());
  await pool.ready();
  const gaps: TopicGap[] = [];
  const messages = take(pool.subscribe('t', { onGap: (gap) => void gaps.push(gap) }), 6);
  while (topics[0].subscribers + topics[1].subscribers < 1) await turn();
  const here = topics[0].subscribers === 1 ? 0 : 1;
  for (let i = 1; i <= 3; i++) topics[1 - here].publish(`elsewhere ${i}`);
  for (let i = 1; i <= 5; i++) topics[here].publish(`here ${i}`);
  await both[here].server.close({ graceMs: LONG });
  while (topics[1 - here].subscribers < 1) await turn();
  topics[1 - here].publish('elsewhere 4');
  const [last] = (await messages).slice(5);
  t.deepEqual({ ...last, data: text(last) }, { sequence: 4, data: 'elsewhere 4', lost: 3 });
  t.deepEqual(gaps, [{ lost: 3, sequence: 4 }]);
});

test('a reader that goes on knows what was lost before, and where another topic begins', (t) => {
  const gaps: TopicGap[] = [];
  const read = (next: number, had: number | undefined, ...records: Uint8Array[]) => {
    const reader = new TopicReader(100, next, (each) => void gaps.push(each), had);
    const messages = records.flatMap((each) => [...reader.read(each)]);
    return { reader, heard: messages.map(({ sequence, lost }) => [sequence, lost]) };
  };
  const { reader } = read(5, undefined, position(5n), gap(2n), position(7n));
  t.deepEqual(gaps.splice(0), [{ lost: 2, sequence: 7 }]);
  t.deepEqual(read(reader.next, reader.had, position(7n), message('a')).heard, [[7, 2]]);
  t.deepEqual(gaps.splice(0), [], 'it was told before');
  t.deepEqual(read(90, 90, position(8n), message('a'), message('b')).heard, [
    [8, 7],
    [9, undefined],
  ]);
  t.deepEqual(gaps.splice(0), [{ lost: 7, sequence: 8 }]);
  t.deepEqual(read(90, undefined, position(8n), message('a')).heard, [[8, 7]], 'and who goes on by hand');
  t.deepEqual(gaps.splice(0), [{ lost: 7, sequence: 8 }]);
  t.deepEqual(read(90, undefined, position(1n), message('a')).heard, [[1, undefined]], 'nothing was there');
  t.deepEqual(read(0, undefined, position(8n), message('a')).heard, [[8, undefined]], 'who has had nothing');
  t.deepEqual(gaps, []);
});

test('more subscriptions than streams on one connection all get everything; so many requests and no more', async (t) => {
  const { server, address, port } = await onSharedLanes(t);
  const names = Array.from({ length: 40 }, (_, i) => `topic ${i}`);
  for (const name of names) server.topic(name);
  const client = await dial(t, address, { limits: { maxIncomingStreams: 16 } });
  const taken = names.map((name) => take(client.subscribe(name), 20));
  for (const name of names) await subscribed(server, name, 1);
  // Ordinary responses find streams, too, in the middle of it.
  for (let i = 0; i < 20; i++) {
    for (const name of names)
      server.topic(name).publish(`${name}, message ${i}, and some more that is alike`);
    if (i % 5 === 0) t.is((await client.call('echo', { args: { value: 'here' } }).text()).length, 4);
  }
  for (const [i, messages] of (await Promise.all(taken)).entries())
    t.deepEqual(
      messages.map(text),
      messages.map((_, k) => `${names[i]}, message ${k}, and some more that is alike`),
    );
  const peer = await RawPeer.connect(t, port);
  peer.send(HELLO);
  const head = encodeArgumentHead('topic', 7, encodeUtf8('topic 1'));
  for (let id = 1; id < 300; id += 2)
    peer.send(`${id} 1 0 command-name have-args subscribe`, frame(`${id} 1 0 command-argument eoa `, head));
  t.regex((await peer.protocolError()) ?? '', /maxConcurrentRequests/);
  await subscribed(server, 'topic 1', 0);
});

test('topics go through every door: WebSockets, and server-sent events that go on after the last one', async (t) => {
  const { server, port } = await onSharedLanes(t);
  const topic = server.topic('news', { history: 2 });
  const client = await dial(t, `ws://127.0.0.1:${port}/`);
  const taken = take(client.subscribe('news'), 3);
  await subscribed(server, 'news', 1);
  t.is(await client.publish('news', 'one\nline more'), 1);
  topic.publish(Uint8Array.of(0xff, 0));
  topic.publish('three');
  t.deepEqual((await taken).map(text), ['one\nline more', '\ufffd\0', 'three']);
  const events = async (path: string, heard: RegExp, ...headers: string[]) => {
    const wire = new Wire(t, port).send(
      `GET ${path} HTTP/1.1`,
      'Host: x',
      'Accept: text/event-stream',
      ...headers,
      '',
      '',
    );
    const body = await wire.heard(heard);
    wire.socket.destroy();
    // Without the sizes of its chunks.
    return body.slice(body.indexOf('\r\n\r\n') + 4).replace(/[\da-f]+\r\n|\r\n/g, '');
  };
  const newest = 'id: 2\nevent: base64\ndata: /wA=\n\nid: 3\ndata: three\n\n';
  const from1 = `id: 1\n\n${newest}`;
  const all = await events('/rpc/subscribe?topic=news&after=0', /three\n\n/);
  t.is(all, `event: gap\ndata: {"lost":1,"sequence":2}\n\n${from1}`);
  t.is(await events('/rpc/subscribe?topic=news&after=0', /three\n\n/, 'Last-Event-ID: 1'), from1);
  t.is(
    await events('/rpc/subscribe?topic=news', /id: 3\n\n/, 'Last-Event-ID: 90'),
    'event: gap\ndata: {"lost":3,"sequence":4}\n\nid: 3\n\n',
    'the server has begun anew',
  );
  t.is(
    await events('/rpc/subscribe?topic=news', /id: 3\n\n/),
    'id: 3\n\n',
    'who has heard nothing yet goes on from there all the same',
  );
  t.regex(await events('/rpc/subscribe?topic=none', /not-found/), /there is no topic/);
  await subscribed(server, 'news', 0);
});

test('what is published by HTTP is the body as data: a form or JSON, which are arguments, is refused', async (t) => {
  const { server, port } = await serving(t);
  server.topic('news');
  const publish = (type: string, body: string) =>
    fetch(`http://127.0.0.1:${port}/rpc/publish?topic=news`, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    });
  t.is(await (await publish('application/octet-stream', 'hello')).text(), '1');
  for (const [type, body] of [
    ['application/x-www-form-urlencoded', 'hello'],
    ['application/json', '{"data":"hello"}'],
  ]) {
    const answer = await publish(type, body);
    t.deepEqual(
      [answer.status, ((await answer.json()) as { code: string }).code],
      [400, 'invalid-argument'],
      type,
    );
  }
  t.is(server.topic('news').sequence, 1);
});

test('subscriptions past the streams of their connection get each message encoded, and no epoch ends for them', async (t) => {
  const { server, address } = await onSharedLanes(t);
  const [alone, many] = [await dial(t, address), await dial(t, address)];
  const noise = randomBytes(1000);
  const names = Array.from({ length: 40 }, (_, i) => `topic ${i}`);
  for (const name of names) server.topic(name);
  const said = 'what there is to say, and to say again; '.repeat(25);
  const each = names.map((name) => many.subscribe(name)[Symbol.asyncIterator]());
  for (const name of names) await subscribed(server, name, 1);
  const publish = async (message: string | Uint8Array) => {
    for (const name of names) server.topic(name).publish(message);
    for (const heard of each) t.is((await heard.next()).value?.data.length, 1000);
  };
  await publish(said);
  let before = many.stats().bytesRead;
  for (let i = 0; i < 5; i++) await publish(said);
  const bytes = (many.stats().bytesRead - before) / (5 * names.length);
  t.true(bytes < 200, `${bytes} of 1000`);
  for (const heard of each) await heard.return();
  await subscribed(server, 'topic 0', 0);
  const all = [alone, ...Array.from({ length: 25 }, () => many)].map((client) =>
    client.subscribe('topic 0')[Symbol.asyncIterator](),
  );
  await subscribed(server, 'topic 0', all.length);
  before = alone.stats().bytesRead;
  for (let i = 0; i < 60; i++) {
    server.topic('topic 0').publish(noise);
    for (const heard of all) t.deepEqual(Buffer.from((await heard.next()).value!.data), noise);
  }
  const last = alone.stats().bytesRead - before;
  t.true(last < 10_000, `${last} bytes for 60 messages in one epoch`);
});

test('no epoch ends for who has no stream at all, and who gets one takes part', async (t) => {
  const { server, address } = await onSharedLanes(t);
  // Of its payloads none stands alone: who has no stream gets them as they are.
  const [alone, many] = [
    await dial(t, address, { profiles: ['zlib'] }),
    await dial(t, address, { profiles: ['zlib'] }),
  ];
  const topic = server.topic('t', { epoch: { messages: 60 } });
  const follow = (client: Client) => client.subscribe('t')[Symbol.asyncIterator]();
  const first = Array.from({ length: 15 }, () => follow(many));
  await subscribed(server, 't', first.length);
  const noise = randomBytes(1000);
  const publish = async (count: number, heard: AsyncIterator<TopicMessage>[]) => {
    for (let i = 0; i < count; i++) {
      topic.publish(noise);
      for (const each of heard) t.deepEqual(Buffer.from((await each.next()).value!.data), noise);
    }
  };
  await publish(1, first);
  const last = Array.from({ length: 10 }, () => follow(many));
  await subscribed(server, 't', first.length + last.length);
  await publish(1, [...first, ...last]);
  const other = follow(alone);
  await subscribed(server, 't', first.length + last.length + 1);
  await publish(60, [...first, ...last, other]);
  let before = alone.stats().bytesRead;
  await publish(60, [...first, ...last, other]);
  const bytes = alone.stats().bytesRead - before;
  t.true(bytes < 10_000, `${bytes} bytes for as many messages as an epoch has`);
  for (const each of first) await each.return?.();
  await subscribed(server, 't', last.length + 1);
  await publish(60, [...last, other]);
  before = many.stats().bytesRead;
  await publish(60, [...last, other]);
  const more = many.stats().bytesRead - before;
  t.true(more < 10_000 * last.length, `${more} bytes for as many messages to those who had no stream`);
});

test('topics that have no room for a context are encoded all the same, and have one once there is room', async (t) => {
  const { server, address } = await serving(t, { workers: 1, contextMemory: 6 << 20 });
  const client = await dial(t, address);
  const all = Array.from({ length: 30 }, (_, i) => server.topic(`topic ${i}`));
  const heard = all.map(({ name }) => client.subscribe(name)[Symbol.asyncIterator]());
  for (const { name } of all) await subscribed(server, name, 1);
  const message = (i: number, k: number) =>
    `${'what all messages say, and say again; '.repeat(10)}${i}, ${k}`;
  for (let k = 1; k <= 3; k++) {
    // In one turn, so that no encoder is idle while the next one wants its memory.
    for (const [i, topic] of all.entries()) topic.publish(message(i, k));
    for (const [i, each] of heard.entries())
      t.is(text((await each.next()).value as TopicMessage), message(i, k));
  }
  const { topics, contexts } = await server.stats();
  t.true(contexts.refused > 0, 'there was no room for all');
  t.deepEqual(
    topics.map(({ encodes }) => encodes >= 3),
    topics.map(() => true),
  );
  // The others are gone; the same noise again and again is small in a context alone.
  const kept = 5;
  for (const topic of all) if (topic !== all[kept]) topic.close();
  const noise = randomBytes(1000);
  let before = 0;
  for (let k = 0; k < 300; k++) {
    before = client.stats().bytesRead;
    all[kept].publish(noise);
    t.deepEqual(Buffer.from(((await heard[kept].next()).value as TopicMessage).data), noise);
  }
  t.true(client.stats().bytesRead - before < 100, `${client.stats().bytesRead - before} bytes`);
});

test('subscriptions that come and go by the thousand leave nothing', async (t) => {
  const { server, address } = await serving(t);
  const topic = server.topic('t', { history: 1 });
  topic.publish('first');
  const client = await dial(t, address);
  // Encoders without a context are accounted for good.
  const warm = take(client.subscribe('t'), 1);
  await subscribed(server, 't', 1);
  topic.publish('second');
  await warm;
  await subscribed(server, 't', 0);
  const before = (await server.stats()).contexts.bytes;
  for (let round = 0; round < 20; round++) {
    const rounds = Array.from({ length: 100 }, () => take(client.subscribe('t', { after: round }), 1));
    topic.publish(`message ${round}`);
    for (const [message] of await Promise.all(rounds)) t.true(message.sequence > round);
  }
  await subscribed(server, 't', 0);
  const [row] = (await server.stats()).topics;
  t.deepEqual([row.behind, row.messages], [0, 1]);
  t.is((await server.stats()).contexts.bytes, before);
});

test('what is published in a flood reaches its subscriber or is told as lost, and is not held without end', async (t) => {
  const { server, address } = await onSharedLanes(t, { limits: { maxTopicBacklog: 200_000 } });
  const topic = server.topic('flood');
  const client = await dial(t, address);
  let lost = 0;
  let read = 0;
  const onGap = (gap: TopicGap) => {
    lost += gap.lost;
  };
  const reading = (async () => {
    for await (const _ of client.subscribe('flood', { onGap })) read++;
  })();
  await subscribed(server, 'flood', 1);
  for (let i = 0; i < 30_000; i++) topic.publish(`message ${i} of a flood`);
  t.true((await server.stats()).topics[0].bytes < 600_000);
  await turn();
  topic.publish('the last');
  topic.close();
  await reading;
  t.is(read + lost, 30_001);
});

test('a message that is too long is refused, by the server and by the subscriber', async (t) => {
  const { server, address } = await onSharedLanes(t, { limits: { maxMessageBytes: 1000 } });
  const topic = server.topic('t', { history: 2 });
  const client = await dial(t, address);
  t.is(await client.publish('t', new Uint8Array(1000)), 1);
  const error = await failure(client.publish('t', new Uint8Array(1001)));
  t.is((error as CommandError).code, 'invalid-argument');
  t.regex(error.message, /maxMessageBytes/);
  t.throws(() => topic.publish(new Uint8Array(1001)), { instanceOf: RangeError, message: /maxMessageBytes/ });
  t.throws(() => topic.publish(7 as unknown as string), { instanceOf: TypeError });
  await t.throwsAsync(client.publish('t', {} as unknown as string), { instanceOf: TypeError });
  const tooLong = await failure(take(client.subscribe('t', { after: 0, maxBytes: 999 }), 1));
  t.true(tooLong instanceof ProtocolError && tooLong.code === 'limit', String(tooLong));
  t.is((await client.call('echo', { args: { value: 'alive' } }).text()).length, 5);
});

test('messages that are published but not to their end hold no more than there is for all of them', async (t) => {
  const { server, address } = await onSharedLanes(t, { limits: { maxMessageBytes: 40 << 20 } });
  server.topic('t');
  const client = await dial(t, address);
  const goOn = Promise.withResolvers<void>();
  const half = () =>
    client
      .call('publish', {
        args: { topic: 't' },
        data: (async function* () {
          yield new Uint8Array(24 << 20);
          await goOn.promise;
        })(),
      })
      .text();
  const refused = await Promise.race([half(), half(), half()].map((each) => each.catch((error) => error)));
  t.is((refused as CommandError).code, 'overloaded');
  goOn.resolve();
});

test('a subscription says what is wrong with its options, and with a callback of its user', async (t) => {
  const { server, address } = await onSharedLanes(t);
  server.topic('t', { history: 1 }).publish('1');
  server.topic('t').publish('2');
  const client = await dial(t, address);
  await t.throwsAsync(take(client.subscribe('t', { aftr: 1 } as object), 1), {
    message: /did you mean 'after'/,
  });
  await t.throwsAsync(take(client.subscribe('t', { after: -1 }), 1), { message: /option after/ });
  const onGap = () => {
    throw new Error('of the user');
  };
  await t.throwsAsync(take(client.subscribe('t', { after: 0, onGap }), 1), { message: 'of the user' });
  await t.throwsAsync(take(client.subscribe('t', { after: 0, onGap: async () => onGap() }), 9), {
    message: 'of the user',
  });
  const controller = new AbortController();
  const subscription = client.subscribe('t', { signal: controller.signal });
  controller.abort(new Error('enough'));
  await t.throwsAsync(take(subscription, 1), { message: 'enough' });
});

// -------------------------------------------------------------------------------------------- records

const varint = (value: number): number[] =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
const record = (kind: number, bytes: Uint8Array) =>
  Buffer.from([...varint(bytes.length * 4 + kind), ...bytes]);
const u64 = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};
const position = (at: bigint) => record(1, u64(at));
const gap = (lost: bigint) => record(2, u64(lost));
const message = (data: string) => record(0, Buffer.from(data));

test('records are read however they are cut, and are what the protocol says', (t) => {
  t.deepEqual(Buffer.from(messageRecord(encodeUtf8('hi'))), Buffer.from([8, 104, 105]));
  t.deepEqual(Buffer.from(positionRecord(1)), position(1n));
  t.deepEqual(Buffer.from(gapRecords(3, 7)), Buffer.concat([gap(3n), position(7n)]));
  const long = 'long '.repeat(2000);
  const bytes = Buffer.concat([
    position(5n),
    message(''),
    message('a'),
    gap(2n),
    position(9n),
    message(long),
    gap(3n),
    position(13n),
    gap(1n),
    position(14n),
    message('b'),
  ]);
  for (const size of [1, 2, 3, 7, 100, bytes.length]) {
    const gaps: TopicGap[] = [];
    const reader = new TopicReader(20_000, 0, (each) => void gaps.push(each));
    const read: TopicMessage[] = [];
    for (let at = 0; at < bytes.length; at += size) read.push(...reader.read(bytes.subarray(at, at + size)));
    reader.end();
    t.deepEqual(
      read.map((each) => [each.sequence, text(each), each.lost]),
      [
        [5, '', undefined],
        [6, 'a', undefined],
        [9, long, 2],
        [14, 'b', 4],
      ],
    );
    t.deepEqual(gaps, [
      { lost: 2, sequence: 9 },
      { lost: 3, sequence: 13 },
      { lost: 1, sequence: 14 },
    ]);
  }
});

test('what is no series of records is refused, and nothing is taken for it', async (t) => {
  const far = 2n ** 60n;
  const wrong: Record<string, Uint8Array[]> = {
    'no position first': [message('x')],
    'a gap first': [gap(1n)],
    'a position of 0': [position(0n)],
    'two positions': [position(1n), position(1n)],
    'a message after a gap': [position(1n), gap(1n), message('x')],
    'a position that is not where the gap ends': [position(1n), gap(2n), position(4n)],
    'a gap of nothing': [position(1n), gap(0n)],
    'a gap of 2^60': [position(1n), gap(far), position(far + 1n)],
    'a position of 2^60': [position(far)],
    'a gap past what can be counted': [position(2n ** 53n - 1n), gap(1n)],
    'messages past what can be counted': [position(2n ** 53n - 1n), message('last'), message('x')],
    'a reserved kind': [position(1n), record(3, u64(1n))],
    'a short position': [record(1, Buffer.alloc(7))],
    'a long gap': [position(1n), record(2, Buffer.alloc(9))],
    'a head of 6 bytes': [position(1n), Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0])],
    'an endless message': [position(1n), Buffer.from([0xfc, 0xff, 0xff, 0xff, 0x7f])],
    'an end in a head': [position(1n), Buffer.from([0x80])],
    'an end in a message': [position(1n), message('abc').subarray(0, 2)],
    'an end after a gap': [position(1n), gap(1n)],
    'no record at all': [],
  };
  for (const [what, records] of Object.entries(wrong)) {
    const reader = new TopicReader(1000);
    const read = () => {
      for (const each of records) for (const _ of reader.read(each));
      reader.end();
    };
    t.throws(read, { instanceOf: ProtocolError }, what);
  }
  // The same from a server, over the wire: the subscription fails, and the rest of the client goes on.
  const where = await impostor(t, (socket) => {
    socket.write(
      frame('0 2 stream-begin sender-settings 0 {"extensions":["sender-settings","cancel","topics"]}'),
    );
    const bytes = Buffer.concat([position(1n), gap(far), position(far + 1n)]);
    onCommand(socket, () => socket.write(frame('1 2 0 bytes-response continuation ', bytes)));
  });
  const client = await dial(t, where);
  const error = await failure(take(client.subscribe('t'), 1));
  t.true(error instanceof ProtocolError && /2\^53/.test(error.message), String(error));
  t.is(client.state, 'open');
  t.is(FrameType.bytesResponse, 4);
});
