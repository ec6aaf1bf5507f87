// Ten thousand requests for a WebSocket that never come to their end: what they cost, and whom.

import { execSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { dial } from '../helpers/serving.ts';
import { ask, upgradeStatus } from './helper.ts';

const MANY = 10_000;
/** Of memory for each, at most: the socket of the system's own, the parser, and a timer's part. */
const BYTES_EACH = 40 * 1024;
const OPENING_MS = 20_000;
const HALF = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';

const descriptors = Number(execSync('ulimit -n', { encoding: 'utf8' })) || Number.POSITIVE_INFINITY;

if (descriptors > MANY + 500)
  test('10 000 upgrades that are only half there are bounded, and leave the other doors as they are', async (t) => {
    const child = fork(join(import.meta.dirname, 'half-open-server.ts'), [String(OPENING_MS)]);
    t.teardown(() => child.kill('SIGKILL'));
    const [{ port }] = await once(child, 'message');
    const figures = async () => {
      child.send('figures');
      const [told] = await once(child, 'message');
      return told as { connections: number; opened: number; rss: number };
    };
    const address = { host: '127.0.0.1', port };
    const client = await dial(t, address);
    await client.call('echo', { args: { value: 'before' } }).bytes();
    const before = await figures();
    const half: Socket[] = [];
    const ended: Promise<string>[] = [];
    t.teardown(() => half.forEach((socket) => void socket.destroy()));
    for (let i = 0; i < MANY; i += 100) {
      const some = Array.from({ length: 100 }, () => connect(address));
      await Promise.all(some.map((socket) => once(socket, 'connect')));
      for (const socket of some) {
        socket.write(HALF);
        ended.push(answerOf(socket));
      }
      half.push(...some);
    }
    t.is(await client.call('echo', { args: { value: 'raw' } }).text(), 'raw');
    t.is((await ask(port, '/rpc/echo?value=http')).body.toString(), 'http');
    t.is(await upgradeStatus(port), 101);
    const { rss, opened } = await figures();
    t.true(rss - before.rss < MANY * BYTES_EACH, `${rss - before.rss} bytes for ${MANY}`);
    for (const answer of await Promise.all(ended)) if (!/^(HTTP\/1.1 408 |$)/.test(answer)) t.fail(answer);
    t.is((await figures()).opened, opened, 'none of them was ever a connection of the server');
    t.is(await client.call('echo', { args: { value: 'after' } }).text(), 'after');
  });
else
  test(`10 000 half-open upgrades: not tried, for a process may have ${descriptors} descriptors`, (t) =>
    t.pass());

/** All that comes on it until it is closed. */
async function answerOf(socket: Socket): Promise<string> {
  let text = '';
  socket
    .on('error', () => undefined)
    .on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
  await once(socket, 'close');
  return text;
}
