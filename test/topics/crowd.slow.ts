/** A hundred thousand subscriptions of peers that read nothing: bounded while they are there, and gone when they are. */

import { readFileSync } from 'node:fs';
import { encodeArgumentHead, encodeUtf8 } from '../../src/wire/payloads.ts';
import { serveAlone } from '../cli/helper.ts';
import { linux } from '../helpers/linux.ts';
import { frame, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { dial } from '../helpers/serving.ts';

const CONNECTIONS = 1000;
const EACH = 100;
const SUBSCRIPTIONS = CONNECTIONS * EACH;
/** Bytes that one may cost, its request and what it has of the connection among them. */
const MOST = 8 * 1024;

linux('a hundred thousand subscriptions cost little each, stop no one, and leave nothing', async (t) => {
  const { child, address, seen } = await serveAlone(
    t,
    { 'a.txt': 'text' },
    '--topic',
    'news=10',
    '--metrics',
    // Peers that read nothing answer no ping: how long it takes until all are there is up to the machine.
    '--limit',
    'keepAliveInterval=0',
  );
  const [host, port] = [address.split(':')[0], Number(address.split(':')[1])];
  const resident = () =>
    1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]);
  const subscribers = async () => {
    const page = await (await fetch(`http://${address}/metrics`)).text();
    return Number(/^millrace_topic_subscribers (\d+)$/m.exec(page)?.[1]);
  };
  const client = await dial(t, { host, port });
  await client.call('ping').text();
  const before = resident();
  const topic = encodeUtf8('news');
  const commands = Array.from({ length: EACH }, (_, i) => [
    `${2 * i + 1} 1 0 command-name have-args subscribe`,
    frame(`${2 * i + 1} 1 0 command-argument eoa `, encodeArgumentHead('topic', topic.length, topic)),
  ]).flat();
  const peers: RawPeer[] = [];
  for (let i = 0; i < CONNECTIONS; i++) {
    const peer = await RawPeer.connect(t, port);
    peer.send(HELLO, ...commands);
    peer.socket.pause();
    peers.push(peer);
  }
  while ((await subscribers()) < SUBSCRIPTIONS) await client.call('ping').text();
  for (let i = 1; i <= 20; i++) t.is(await client.publish('news', `message ${i} `.repeat(20)), i);
  t.is(await client.call('files.get', { args: { path: 'a.txt' } }).text(), 'text');
  const each = (resident() - before) / SUBSCRIPTIONS;
  t.log(`${Math.round(each)} bytes for each of ${SUBSCRIPTIONS} subscriptions`);
  t.true(each < MOST, `${each} bytes each`);
  for (const { socket } of peers) socket.destroy();
  while ((await subscribers()) > 0) await client.call('ping').text();
  t.is(await client.publish('news', 'after all'), 21);
  t.is(seen.err, '');
});
