// Peers that mean harm by HTTP: what they can make the server hold or do, and who must not notice.

import { EventEmitter, once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import ava, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { readWithoutUpgrade } from '../../src/doors/attach.ts';
import { membersOf } from '../../src/doors/json-members.ts';
import { argumentsOf, FORM_TYPE, JSON_TYPE } from '../../src/doors/rpc-arguments.ts';
import { ask, Wire } from '../doors/helper.ts';
import { arrived, makeLatch, stand } from '../fixtures/latch.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { halted, servingOnSharedLanes, signal } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);
const test = ava.serial;

const POST = (path: string, ...headers: string[]) => [`POST ${path} HTTP/1.1`, 'Host: x', ...headers, '', ''];
const DATA = 'Content-Type: application/octet-stream';
const JSON_BODY = `Content-Type: ${JSON_TYPE}`;

test('one connection that does not wait for its answers takes no more than its share of requests', async (t) => {
  const { port, server, reported } = await serving(t, {
    maxConnections: 20,
    limits: { maxConcurrentRequests: 3 },
    commands: { never: () => new Promise<undefined>(() => undefined) },
  });
  const wire = new Wire(t, port);
  wire.socket.write(POST('/rpc/never').join('\r\n').repeat(50));
  await wire.rest();
  const { about } = await reported(({ error }) => String(error).includes('maxConcurrentRequests'));
  t.truthy(about.remote);
  t.is((await ask(port, '/rpc/echo?value=well')).body.toString(), 'well');
  t.is((await server.stats()).limitsHit.maxConcurrentRequests, 1);
  const polite = new Wire(t, port);
  polite.socket.write(POST('/rpc/echo?value=hi').join('\r\n').repeat(3));
  t.is((await polite.heard(/(hi[\s\S]*){3}/)).match(/200 OK/g)?.length, 3, 'as many as it may');
});

test('many connections that send requests by the thousand do not keep one that sends its first from its turn', async (t) => {
  const clock = stoppedClock(t);
  let ended = 0;
  let before: number | undefined;
  const innocent = () => {
    before = ended;
    return 'well';
  };
  // However fast the machine is, a turn is over after some of them, and nobody is charged with what others take of the machine.
  const onError = (error: unknown) => {
    if (!String(error).includes('maxConcurrentRequests')) return;
    ended++;
    clock.advance(1);
  };
  // What is answered while the rest is on its way would not be too much at a time.
  const never = () => new Promise<undefined>(() => undefined);
  const { port } = await serving(t, { onError, commands: { innocent, never } });
  const floods = await Promise.all(Array.from({ length: 60 }, () => ready(t, port)));
  const wire = await ready(t, port);
  const many = POST('/rpc/never').join('\r\n').repeat(1000);
  for (const { socket } of floods) socket.write(many);
  wire.send(...POST('/rpc/innocent'));
  await wire.heard(/well/);
  await Promise.all(floods.map((flood) => flood.rest()));
  t.is(ended, floods.length);
  t.log(`${before} of ${floods.length} were dealt with before`);
  t.true((before ?? ended) < floods.length / 2);
});

/** A connection that has been served. */
async function ready(t: ExecutionContext<unknown>, port: number): Promise<Wire> {
  const wire = new Wire(t, port).send(...POST('/rpc/echo?value=ready'));
  await wire.heard(/ready/);
  return wire;
}

test('requests that come at once on one connection are dealt with one after the other', async (t) => {
  let atOnce = 0;
  const { port } = await serving(t, {
    commands: {
      alone: async () => {
        const most = ++atOnce;
        await new Promise((resolve) => setImmediate(resolve));
        atOnce--;
        return `${most} at once\n`;
      },
    },
  });
  const wire = new Wire(t, port);
  wire.socket.write(POST('/rpc/alone').join('\r\n').repeat(20));
  // As quick to look for in what has not all come yet.
  const all = await wire.heard(/(?:(?:(?!at once)[\s\S])*at once){20}/);
  t.is(all.match(/\n1 at once/g)?.length, 20);
});

test('a fallback that writes to an answer which has ended harms nobody, with other requests behind it', async (t) => {
  const { port } = await serving(t, {
    http: {
      fallback: (_request, response) => {
        response.end('all');
        response.write('more');
      },
    },
  });
  const wire = new Wire(t, port);
  wire.socket.write('GET /other HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
  await wire.heard(/200 OK/);
  t.is((await ask(port, '/rpc/echo?value=well')).body.toString(), 'well');
});

test('a WebSocket that is asked for behind a request without an answer is none', async (t) => {
  const { port } = await serving(t, { commands: { never: () => new Promise<undefined>(() => undefined) } });
  const upgrade = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13'];
  const names = ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Protocol: millrace.v1'];
  const asked = ['GET / HTTP/1.1', 'Host: x', ...upgrade, ...names, '', ''];
  t.regex(await new Wire(t, port).send(...asked).heard(/\r\n\r\n/), /^HTTP\/1.1 101 /);
  const wire = new Wire(t, port);
  wire.socket.write(POST('/rpc/never').join('\r\n') + asked.join('\r\n'));
  t.is(await wire.rest(), '');
});

test('what arrives of arguments by HTTP counts as input, and has to give way', async (t) => {
  const { port, server } = await serving(t, { inputMemory: 256 << 10 });
  const begun = Array.from({ length: 6 }, () => {
    const wire = new Wire(t, port).send(...POST('/rpc/echo', JSON_BODY, 'Content-Length: 900000'));
    wire.socket.write(`{"value":"${'x'.repeat(120_000)}`);
    return wire;
  });
  const input = async () => (await server.stats()).input;
  // Before any of it has come, the level stands still, too.
  while ((await input()).refused === 0) await new Promise((resolve) => setImmediate(resolve));
  await halted(async () => (await input()).bytes, input);
  const { bytes, limit, refused } = await input();
  t.true(bytes > 100_000 && bytes <= limit, `${bytes} bytes`);
  t.true(refused > 0);
  for (const wire of begun) wire.socket.destroy();
  while ((await server.stats()).input.bytes > 0) await new Promise((resolve) => setImmediate(resolve));
  t.is((await ask(port, '/rpc/echo?value=well')).body.toString(), 'well');
});

test('nothing of a body is waited for whose sender is not let in, and its connection is asked about once', async (t) => {
  const asked: unknown[] = [];
  const { port } = await serving(t, {
    authorize: ({ authorization, command }) => {
      asked.push(command);
      return authorization === 'yes';
    },
  });
  const wire = new Wire(t, port).send(...POST('/rpc/echo', JSON_BODY, 'Content-Length: 900000'));
  t.regex(await wire.heard(/\r\n\r\n/), /^HTTP\/1.1 401 /);
  t.deepEqual(asked.splice(0), [undefined]);
  const headers = { authorization: 'yes', 'content-type': JSON_TYPE };
  t.is((await ask(port, '/rpc/echo', { headers, body: '{"value":"in"}' })).body.toString(), 'in');
  t.deepEqual(asked, [undefined, 'echo']);
});

test('who waits for a word before the body gets it once, when the body is wanted, and not before being let in', async (t) => {
  const { port } = await serving(t, {
    limits: { maxBufferedInput: 1000 },
    authorize: ({ authorization }) => authorization === 'yes',
    commands: {
      count: async ({ data }) => {
        let bytes = 0;
        for await (const piece of data) {
          bytes += piece.length;
          await new Promise((resolve) => setImmediate(resolve));
        }
        return `${bytes} bytes`;
      },
    },
  });
  const head = [DATA, 'Expect: 100-continue', 'Content-Length: 1000000'];
  const refused = new Wire(t, port).send(...POST('/rpc/count', ...head));
  t.regex(await refused.heard(/\r\n\r\n/), /^HTTP\/1.1 401 /);
  const wire = new Wire(t, port).send(...POST('/rpc/count', ...head, 'Authorization: yes'));
  await wire.heard(/100 Continue/);
  wire.socket.write(Buffer.alloc(1_000_000));
  const all = await wire.heard(/bytes$/);
  t.regex(all, /1000000 bytes$/);
  t.is(all.match(/100 Continue/g)?.length, 1);
});

test('a client that goes while its body is not read is missed', async (t) => {
  const latch = makeLatch();
  const over = signal();
  const { port, server } = await serving(t, {
    limits: { maxBufferedInput: 1000 },
    commands: {
      busy: async ({ signal: gone }) => {
        gone.addEventListener('abort', () => over.resolve());
        await stand(latch);
        return '';
      },
    },
  });
  const wire = new Wire(t, port).send(...POST('/rpc/busy', DATA, 'Content-Length: 100000000'));
  wire.socket.write(Buffer.alloc(8 << 20));
  await arrived(latch, 1);
  await halted(
    async () => (await server.stats()).input.bytes,
    async () => (await server.stats()).input.bytes,
  );
  wire.socket.resetAndDestroy();
  await over.promise;
  while ((await server.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
  t.pass();
});

test('chunks of one byte are put together before a handler is called', async (t) => {
  const { port } = await serving(t, {
    commands: {
      pieces: async ({ data }) => {
        let [count, bytes] = [0, 0];
        for await (const piece of data) {
          count++;
          bytes += piece.length;
        }
        return `${bytes} ${count < bytes / 10}`;
      },
    },
  });
  const chunked = 'Transfer-Encoding: chunked';
  const tiny = `${'1\r\nx\r\n'.repeat(5000)}0\r\n\r\n`;
  const wire = new Wire(t, port).send(...POST('/rpc/pieces', DATA, chunked));
  wire.socket.write(tiny);
  t.regex(await wire.heard(/true|false/), /\r\n5000 true$/);
  const letters = [...'{"value":"one\\r\\ntwo\\nö"}'].flatMap((char) => [...Buffer.from(char)]);
  const json = new Wire(t, port).send(...POST('/rpc/echo', JSON_BODY, chunked, 'Accept: text/event-stream'));
  for (const byte of letters) json.socket.write(Buffer.from([0x31, 13, 10, byte, 13, 10]));
  json.socket.write('0\r\n\r\n');
  const events = Buffer.from(await json.heard(/event: end/), 'latin1').toString();
  t.regex(events, /data: one\n\n/);
  t.regex(events, /data: two\n\n/);
  t.regex(events, /data: ö\n\n/);
});

test('events are made of lines however they are cut', async (t) => {
  const pieces = new EventEmitter();
  const { port } = await serving(t, {
    commands: {
      cut: async function* () {
        for (const byte of Buffer.from('\u{feff}a\r\n\r\nö😀\n')) {
          yield Uint8Array.of(byte);
          if (byte === 13) await new Promise((resolve) => setImmediate(resolve));
        }
        yield Uint8Array.of(0xc3);
        pieces.emit('over');
      },
    },
  });
  const over = once(pieces, 'over');
  const answer = await ask(port, '/rpc/cut', { headers: { accept: 'text/event-stream' } });
  await over;
  t.is(
    answer.body.toString(),
    'data: \u{feff}a\n\ndata: \n\ndata: ö😀\n\ndata: \u{fffd}\n\nevent: end\ndata: \n\n',
  );
});

test('an answer by HTTP/1.0 that is broken off ends by a reset, so that it passes for whole with nobody', async (t) => {
  const { port, server, reports } = await serving(t, {
    commands: {
      half: async function* () {
        yield 'half';
        await new Promise((resolve) => setImmediate(resolve));
        throw new Error('no more');
      },
    },
  });
  const wire = new Wire(t, port).send('POST /rpc/half HTTP/1.0', '', '');
  const [error] = await once(wire.socket, 'error');
  t.is(error.code, 'ECONNRESET');
  while ((await server.stats()).connections > 0) await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(
    reports.map((report) => (report.error as Error).message),
    ['no more'],
    'and is not said to have been ended by its client',
  );
});

test('members of JSON are found as JSON.parse finds them, and keep their digits', (t) => {
  const ours = (text: string) => {
    try {
      return Object.fromEntries([...membersOf(text)].map(([name, value]) => [name, JSON.parse(value)]));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return undefined;
    }
  };
  const parsed = (text: string) => {
    try {
      const value = JSON.parse(text);
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
    } catch {
      return undefined;
    }
  };
  const token = fc.constantFrom(...'{}[]:,"\\a1 \n-e.', 'null', '"a"', '\\"', '\u{a0}', '\u{feff}');
  fc.assert(
    fc.property(fc.array(token, { maxLength: 14 }), (tokens) => {
      for (const text of [`{${tokens.join('')}`, `{${tokens.join('')}}`])
        t.deepEqual(ours(text), parsed(text));
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(2), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      t.deepEqual(ours(text), parsed(text));
    }),
    { numRuns: 500 },
  );
  const written = '{"id":12345678901234567890,"f":1.0,"p":[1e400],"t":true}';
  const args = [...argumentsOf('', 9, Buffer.from(written), JSON_TYPE)];
  const texts = args.map(([name, value]) => [name, Buffer.from(value).toString()]);
  t.deepEqual(texts, [
    ['id', '12345678901234567890'],
    ['f', '1.0'],
    ['p', '[1e400]'],
    ['t', 'true'],
  ]);
});

test('of more arguments than there may be one too many is looked at', (t) => {
  const names = Array.from({ length: 100_000 }, (_, i) => i.toString(36));
  const form = names.join('&');
  const json = JSON.stringify(Object.fromEntries(names.map((name) => [`_${name}`, 1])));
  const none = '';
  t.is(argumentsOf(none, 128, Buffer.from(form), FORM_TYPE).size, 129);
  t.is(argumentsOf(none, 128, Buffer.from(json), JSON_TYPE).size, 129);
  const deep = `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
  t.is(argumentsOf(none, 128, Buffer.from(deep), JSON_TYPE).get('a')?.length, 40_000);
  const deeper = `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
  t.throws(() => argumentsOf(none, 128, Buffer.from(deeper), JSON_TYPE), {
    message: /more than 65535 bytes/,
  });
  t.throws(() => argumentsOf(none, 128, Buffer.from('{"a":1,"\\u0061":2}'), JSON_TYPE), {
    message: /given twice/,
  });
});

test('a request that was taken for an upgrade is read again without one', async (t) => {
  const socket = new PassThrough();
  const rawHeaders = ['Host', 'x', 'Upgrade', 'h2c', 'Connection', 'Upgrade', 'Content-Length', '4'];
  const req = { method: 'POST', url: '/rpc/echo', httpVersion: '1.1', rawHeaders } as IncomingMessage;
  readWithoutUpgrade(req, socket as unknown as Socket, Buffer.from('body'));
  t.is(
    String(socket.read()),
    'POST /rpc/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nContent-Length: 4\r\n\r\nbody',
  );
});

test('targets, encodings and refusals are those of HTTP', async (t) => {
  const { port } = await serving(t);
  t.is((await ask(port, '/rpc/echo?value=who?me?')).body.toString(), 'who?me?');
  t.is((await ask(port, 'http://elsewhere/rpc/echo?value=named')).body.toString(), 'named');
  t.is((await ask(port, 'HTTP://elsewhere', { method: 'GET' })).status, 200);
  const coded = { 'content-type': JSON_TYPE, 'content-encoding': 'gzip' };
  const refused = await ask(port, '/rpc/echo', { headers: coded, body: '{}' });
  t.deepEqual([refused.status, refused.headers['accept-encoding']], [415, 'identity']);
  const wire = new Wire(t, port).send('GET /nothing HTTP/1.1', 'Host: x', '', '');
  await wire.heard(/there is nothing here/);
  wire.send('GET /nothing HTTP/1.1', 'Host: x', '', '');
  t.regex(await wire.heard(/(there is nothing here[\s\S]*){2}/), /keep-alive/, 'no body, no reason to close');
});
