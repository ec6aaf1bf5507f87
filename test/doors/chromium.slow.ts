// The browser's client in Chromium: a tree, a restart, a long response, cancels, refusals, servers that mean harm.

import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ava from 'ava';
import { WebSocketServer } from 'ws';
import { trainDictionary } from '../../src/encoding/dictionary/train.ts';
import { type Client, CommandError, ProgressOutput, TextOutput } from '../../src/index.ts';
import { frames } from '../helpers/raw-peer.ts';
import { digest, sample } from '../helpers/samples.ts';
import { closeBrowser, hasChromium, NO_CHROMIUM, openSite, renderersPeak } from './chromium.ts';

const test = ava.serial;
test.after.always(closeBrowser);

const MODULE = '/patient.js';

/** By how much the peak of any process has grown; one that the browser holds ready for other pages may come at any time. */
function moreThan(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number {
  return Math.max(...[...before].map(([pid, peak]) => (after.get(pid) ?? 0) - peak));
}

if (hasChromium) {
  test('a tree is pulled in the page, and every file is the one that is served', async (t) => {
    const root = mkdtempSync(join(tmpdir(), 'millrace-tree-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    const expected: Record<string, string> = {};
    for (let i = 0; i < 300; i++) {
      const path = `folder-${i % 7}/file-${i}.txt`;
      mkdirSync(join(root, `folder-${i % 7}`), { recursive: true });
      const bytes = sample(100 + 37 * i, i);
      writeFileSync(join(root, path), bytes);
      expected[path] = digest(bytes);
    }
    const { page } = await openSite(t, { root });
    const found = await page.evaluate(
      async ({ module, paths }) => {
        const { connect } = await import(module);
        const client = await connect('/mill');
        const hashed = paths.map(async (path: string) => {
          const bytes = await client.call('files.get', { args: { path } }).bytes();
          const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
          const hex = [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
          return [path, `${bytes.length} bytes, sha256 ${hex.slice(0, 16)}`];
        });
        const all = Object.fromEntries(await Promise.all(hashed));
        await client.close();
        return all;
      },
      { module: MODULE, paths: Object.keys(expected) },
    );
    t.deepEqual(found, expected);
  });

  test('a pool goes on when its server has been restarted', async (t) => {
    const where = (name: string) => ({ commands: { where: () => name } });
    const { page, attach } = await openSite(t);
    const first = await attach(where('first'));
    await page.evaluate(async (module) => {
      const { connectPool } = await import(module);
      const pool = connectPool('/mill', { minBackoffMs: 1, circuitFailures: 1_000_000 });
      Object.assign(globalThis, { pool });
    }, MODULE);
    const ask = () =>
      page.evaluate(() =>
        (
          globalThis as unknown as { pool: { call(name: string, o: object): { text(): Promise<string> } } }
        ).pool
          .call('where', { idempotent: true })
          .text(),
      );
    t.is(await ask(), 'first');
    await attach(where('second'));
    await first.close(0);
    t.is(await ask(), 'second');
  });

  test('100 MB come in bounded memory, and a cancel ends a response that does not', async (t) => {
    const cancelled = Promise.withResolvers<unknown>();
    const { page } = await openSite(t, {
      commands: {
        long: async function* (request) {
          request.signal.addEventListener('abort', cancelled.resolve);
          const piece = sample(100_000, 1);
          for (let i = 0; i < 1000; i++) yield piece;
        },
      },
    });
    await page.evaluate(async (module) => {
      const { connect } = await import(module);
      const client = await connect('/mill');
      await client.call('echo', { args: { value: 'x' } }).text();
      Object.assign(globalThis, { client });
    }, MODULE);
    const before = await renderersPeak();
    const bytes = await page.evaluate(async () => {
      const { client, gc } = globalThis as unknown as { client: Client; gc(): void };
      let [bytes, kept] = [0, 0];
      for await (const piece of client.call('long')) {
        bytes += piece.length;
        kept += piece.length;
        if (kept < 8 << 20) continue;
        // Buffers are given back beside what goes on; the next collection waits for it.
        gc();
        gc();
        kept = 0;
      }
      for await (const _ of client.call('long')) break;
      await client.close();
      return bytes;
    });
    const more = moreThan(before, await renderersPeak());
    t.is(bytes, 100_000_000);
    t.true(more < 64 << 20, `${more} bytes more than before at most`);
    t.log(`${(more / 2 ** 20).toFixed(1)} MiB more`);
    await cancelled.promise;
  });

  test('in a Web Worker it is the same client: responses, uploads, lines, errors, cancels, windows, and an end', async (t) => {
    let [begun, cancelled, produced] = [0, 0, 0];
    const { page, attach } = await openSite(t);
    const server = await attach({
      commands: {
        endless: async function* (request) {
          begun++;
          request.signal.addEventListener('abort', () => {
            cancelled++;
          });
          for (;;) {
            produced += 100_000;
            yield sample(100_000, 1);
          }
        },
        told: async function* () {
          yield new TextOutput('a line');
          yield new ProgressOutput(1, 2, 'topic');
          yield 'bytes';
        },
        failing: () => Promise.reject(new CommandError('not today', { code: 'too-late', data: { day: 1 } })),
      },
    });
    const found = await page.evaluate(async (module) => {
      const { connect, connectPool, inWorker, CommandError, ConnectionError } = await import(module);
      const client = await connect('/mill', { worker: inWorker });
      const data = new Uint8Array(3_000_000).map((_, i) => (i * i) >> 3);
      const back: Uint8Array = await client.call('echo', { args: { value: 'x' }, data }).bytes();
      const told: unknown[] = [];
      const onText = (text: string) => void told.push(text);
      const onProgress = ({ position, total }: { position: number; total: number }) =>
        void told.push(position, total);
      told.push(await client.call('told', { onText, onProgress }).text());
      const error = await client
        .call('failing')
        .text()
        .catch((thrown: unknown) => thrown);
      let read = 0;
      for await (const piece of client.call('endless')) {
        read += piece.length;
        if (read > 3_000_000) break;
      }
      const unread = client.call('endless');
      await client.ping();
      const late = await client
        .call('endless', { deadlineMs: 1 })
        .bytes()
        .catch((thrown: { code: string }) => thrown.code);
      const wrong = await client
        .call('echo', { args: { value: 1 } })
        .text()
        .catch((thrown: Error) => thrown.name);
      const { streams } = client.stats();
      unread.cancel();
      await client.close({ graceMs: 5000 });
      const after = await client
        .call('echo')
        .text()
        .catch((thrown: unknown) => thrown);
      const pool = connectPool('/mill', { connect: { worker: inWorker } });
      const pooled = await pool.call('echo', { args: { value: 'pooled' } }).text();
      await pool.close();
      const refused = await connect('ws://127.0.0.1:1/', { worker: inWorker }).catch(
        (thrown: unknown) => thrown,
      );
      return {
        same: back.length === data.length + 1 && data.every((byte, i) => byte === back[i + 1]),
        told,
        error: error instanceof CommandError && [error.message, error.code, error.data],
        late,
        wrong,
        isEncoded: streams.some(({ profile }: { profile: string }) => profile === 'zstd-8mb'),
        after: after instanceof ConnectionError && after.code,
        state: client.state,
        pooled,
        refused: refused instanceof ConnectionError && refused.code,
      };
    }, MODULE);
    t.deepEqual(found, {
      same: true,
      told: ['a line', 1, 2, 'bytes'],
      error: ['not today', 'too-late', { day: 1 }],
      late: 'deadline-exceeded',
      wrong: 'TypeError',
      isEncoded: true,
      after: 'closed',
      state: 'closed',
      pooled: 'pooled',
      refused: 'connect-failed',
    });
    while ((await server.stats()).connections > 0);
    // Whether that with a deadline got so far is a matter of time.
    t.true(begun >= 2);
    t.is(cancelled, begun);
    t.true(produced < 64 << 20, `${produced} bytes were made for who reads 3 MB`);
    while (page.workers().length > 0) await page.evaluate('0');
  });

  test('in a Web Worker 600 MB come in less memory than half of them, and no task of the page gets more than a piece', async (t) => {
    const { page } = await openSite(t, {
      commands: {
        long: async function* () {
          const piece = sample(100_000, 1);
          for (let i = 0; i < 6000; i++) yield piece;
        },
      },
    });
    // What comes from a worker comes as messages, each of them a task of the page's own thread.
    await page.evaluate(async (module) => {
      const told = { most: 0, count: 0 };
      const scope = globalThis as unknown as { Worker: new (...args: unknown[]) => EventTarget };
      scope.Worker = class extends scope.Worker {
        constructor(...args: unknown[]) {
          super(...args);
          this.addEventListener('message', (event) => {
            const { bytes } = (event as unknown as { data: { bytes?: Uint8Array } }).data;
            if (bytes === undefined) return;
            told.most = Math.max(told.most, bytes.length);
            told.count++;
          });
        }
      };
      const { connect, inWorker } = await import(module);
      const client = await connect('/mill', { worker: inWorker });
      await client.call('echo', { args: { value: 'x' } }).text();
      Object.assign(globalThis, { client, told });
    }, MODULE);
    const before = await renderersPeak();
    const { bytes, told } = await page.evaluate(async () => {
      const { client, told } = globalThis as unknown as {
        client: Client;
        told: { most: number; count: number };
      };
      let bytes = 0;
      for await (const piece of client.call('long')) bytes += piece.length;
      await client.close();
      return { bytes, told };
    });
    const more = moreThan(before, await renderersPeak());
    t.is(bytes, 600_000_000);
    // V8 begins to collect buffers at 64 MiB of them, in the page and in the worker each, and takes its time.
    t.true(more < bytes / 2, `${more} bytes more than before at most`);
    t.true(told.count > 0);
    t.true(told.most <= 65_536, `${told.most} bytes in one task`);
    t.log(`${(more / 2 ** 20).toFixed(1)} MiB more, ${told.count} pieces of ${told.most} bytes at most`);
  });

  test('a dictionary is fetched once, and is there when the page is loaded again', async (t) => {
    const samples = Array.from({ length: 2000 }, (_, i) =>
      Buffer.from(JSON.stringify({ id: i, kind: 'record' })),
    );
    const bytes = trainDictionary(samples, { size: 4096 });
    const { page, attach } = await openSite(t);
    const server = await attach({ dictionaries: [{ bytes }], commands: { record: () => samples[0] } });
    const held = () =>
      page.evaluate(async (module) => {
        const { connect } = await import(module);
        const client = await connect('/mill');
        while (client.stats().dictionaries.length === 0) await new Promise((resolve) => setTimeout(resolve));
        const text = await client.call('record').text();
        const { dictionaries, streams } = client.stats();
        await client.close();
        return { dictionaries, text, profiles: streams.map(({ profile }: { profile: string }) => profile) };
      }, MODULE);
    const fetched = async () =>
      (await server.stats()).commands.find(({ command }) => command === 'dictionary')?.codes.ok;
    const first = await held();
    t.is(await fetched(), 1);
    // It is put there beside all else.
    await page.evaluate(async () => {
      const { caches } = globalThis as unknown as {
        caches: { open(name: string): Promise<{ keys(): Promise<unknown[]> }> };
      };
      const cache = await caches.open('millrace-dictionaries');
      while ((await cache.keys()).length === 0) await new Promise((resolve) => setTimeout(resolve));
    });
    await page.reload();
    t.deepEqual(await held(), first);
    t.is(await fetched(), 1);
    t.is(first.text, samples[0]?.toString());
    t.true(first.profiles.includes('zstd-dict'));
  });

  test('who may not come in is told so', async (t) => {
    const { page } = await openSite(t, {
      authorize: ({ command, authorization }) => command === undefined || authorization === 'good',
    });
    const told = await page.evaluate(async (module) => {
      const { connect } = await import(module);
      const client = await connect('/mill', { authorization: 'bad' });
      const code = await client
        .call('echo')
        .text()
        .catch((error: { code: string }) => error.code);
      const good = await client.call('echo', { authorization: 'good', args: { value: 'yes' } }).text();
      await client.close();
      return [code, good];
    }, MODULE);
    t.deepEqual(told, ['not-authorized', 'yes']);
  });

  test('a server that means harm ends its own connection, and the page goes on', async (t) => {
    const { page } = await openSite(t);
    const harm: Record<string, (string | Uint8Array)[]> = {
      'no frames': [new Uint8Array(40).fill(0xff)],
      'half a frame': [frames('0 2 stream-begin ping 0 12345678').subarray(0, 11)],
      'a window over the limit': [
        '0 2 stream-begin sender-settings 0 {}',
        '1 4 stream-begin stream-settings 0 \\x08zstd-8mb\\x17',
      ],
      'an answer to nothing': ['0 2 stream-begin sender-settings 0 {}', '9 2 0 bytes-response eos x'],
    };
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'millrace.v1' });
    t.teardown(() => {
      for (const each of server.clients) each.terminate();
      server.close();
    });
    server.on('connection', (socket, { url = '' }) => {
      socket.on('error', () => undefined);
      socket.send(frames(...(harm[decodeURIComponent(url.slice(1))] ?? [])));
    });
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    for (const what of Object.keys(harm)) {
      const failed = await page.evaluate(
        async ({ module, url }) => {
          const { connect } = await import(module);
          try {
            const client = await connect(url, { timeoutMs: 5000 });
            await client.call('anything').text();
            return 'nothing was noticed';
          } catch (error) {
            return (error as Error).name;
          }
        },
        { module: MODULE, url: `ws://127.0.0.1:${port}/${encodeURIComponent(what)}` },
      );
      t.regex(failed, /^(ConnectionError|ProtocolError|CommandError)$/, what);
    }
    t.is(await page.evaluate(() => 1 + 1), 2);
  });
} else test(`Chromium: ${NO_CHROMIUM}`, (t) => t.pass());
