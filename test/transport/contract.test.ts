// What every transport keeps to (src/connection/transport.ts): sockets, WebSockets and the pair within one program, side by side.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { connect as connectSocket, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { WebSocketServer, WebSocket as WsSocket } from 'ws';
import { WatchedTransport } from '../../src/capture/watched-transport.ts';
import type { Transport } from '../../src/connection/transport.ts';
import { memoryPair } from '../../src/index.ts';
import { BrowserWebSocketTransport } from '../../src/transport/browser-websocket.ts';
import { SocketTransport } from '../../src/transport/socket.ts';
import { WebSocketTransport } from '../../src/transport/websocket.ts';
import { sample } from '../helpers/samples.ts';
import { halted, listening, Watch } from '../helpers/serving.ts';

type Pair = [Transport, Transport];

/** The transports of two sockets, for the length of one test. */
function socketPair(t: ExecutionContext, server: Server, near: Socket, far: Socket): Pair {
  t.teardown(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return [new SocketTransport(near, 'far'), new SocketTransport(far, 'near')];
}

async function sockets(t: ExecutionContext): Promise<Pair> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const port = await listening(server);
  const near = connectSocket({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [
    [Socket],
    unknown,
  ];
  return socketPair(t, server, near, far);
}

/** As of a server that records. */
async function watchedSockets(t: ExecutionContext): Promise<Pair> {
  const nothing = () => undefined;
  const watcher = { received: nothing, sent: nothing, stop: nothing };
  const [near, far] = await sockets(t);
  return [new WatchedTransport(near, watcher), new WatchedTransport(far, watcher)];
}

async function tlsSockets(t: ExecutionContext): Promise<Pair> {
  const server = createTlsServer({ key: certificate('server.key'), cert: certificate('server.pem') });
  const port = await listening(server);
  const near = connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca: certificate('ca.pem') });
  const [[far]] = (await Promise.all([once(server, 'secureConnection'), once(near, 'secureConnect')])) as [
    [TLSSocket],
    unknown,
  ];
  return socketPair(t, server, near, far);
}

const certificate = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));

const BOUNDS = { maxPings: 100 };
/** More than the system takes of a write, whatever it is. */
const LARGE = new Uint8Array(32 << 20);

/** The far end of a WebSocket whose near end `open` makes. */
async function webSocketPair(t: ExecutionContext, open: (url: string) => Promise<Transport>): Promise<Pair> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const come = once(server, 'connection') as Promise<[WsSocket, IncomingMessage]>;
  // Nothing may be lost between the two turns in which both ends become transports.
  const far = come.then(
    ([socket, { socket: carrier }]) => new WebSocketTransport(socket, 'near', BOUNDS, carrier),
  );
  const near = await open(`ws://127.0.0.1:${port}`);
  t.teardown(async () => {
    near.destroy();
    (await far).destroy();
    server.close();
  });
  return [near, await far];
}

const webSockets = (t: ExecutionContext) =>
  webSocketPair(t, async (url) => {
    const socket = new WsSocket(url);
    await once(socket, 'open');
    return new WebSocketTransport(socket, 'far', BOUNDS);
  });

const browserWebSockets = (t: ExecutionContext) =>
  webSocketPair(t, async (url) => {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    await new Promise((resolve) => {
      socket.onopen = resolve;
    });
    return new BrowserWebSocketTransport(socket, 'far');
  });

const PAIRS: Record<string, (t: ExecutionContext) => Promise<Pair>> = {
  sockets,
  watchedSockets,
  WebSockets: webSockets,
  "a browser's WebSocket": browserWebSockets,
  'memoryPair()': async () => memoryPair(),
};

/** What one end was told, in order. */
class Ear {
  readonly watch = new Watch();
  readonly told: string[] = [];
  bytes: Uint8Array[] = [];
  error: Error | undefined;

  constructor(transport: Transport) {
    transport.onData = (chunk) => {
      this.bytes.push(chunk);
      this.#tell('data');
    };
    transport.onEnd = () => this.#tell('end');
    transport.onClose = (error) => {
      this.error = error;
      this.#tell('close');
    };
  }

  #tell(what: string): void {
    if (this.told.at(-1) !== what || what !== 'data') this.told.push(what);
    this.watch.changed();
  }

  get text(): string {
    return Buffer.concat(this.bytes).toString();
  }

  heard(what: string): Promise<true> {
    return this.watch.until(() => this.told.includes(what) || undefined);
  }
}

const utf8 = (text: string) => new TextEncoder().encode(text);
const send = (transport: Transport, ...texts: string[]) =>
  new Promise<Error | undefined>((resolve) =>
    transport.write(texts.map(utf8), (error) => resolve(error ?? undefined)),
  );

for (const [name, makePair] of Object.entries(PAIRS)) {
  test(`${name}: what is written comes in order, however it was cut, and the writer is told`, async (t) => {
    const [one, other] = await makePair(t);
    const ear = new Ear(other);
    other.resume();
    t.is(await send(one, 'a', 'bc', 'def'), undefined);
    t.is(await send(one, 'g'), undefined);
    await ear.watch.until(() => ear.text.length === 7 || undefined);
    t.is(ear.text, 'abcdefg');
  });

  test(`${name}: bytes that their owner uses again after they were written arrive as they were`, async (t) => {
    const [one, other] = await makePair(t);
    const ear = new Ear(other);
    const lent = utf8('first');
    await new Promise<void>((resolve) => one.write([lent], () => resolve()));
    lent.fill(0x78);
    other.resume();
    await ear.watch.until(() => ear.text.length === 5 || undefined);
    t.is(ear.text, 'first');
  });

  test(`${name}: nothing arrives before resume(), nor after pause(), not even the end`, async (t) => {
    const [one, other] = await makePair(t);
    const ear = new Ear(other);
    await send(one, 'before');
    await halted(() => ear.told.length, turn);
    t.deepEqual(ear.told, []);
    other.resume();
    await ear.heard('data');
    other.pause();
    await send(one, 'after');
    one.end();
    await halted(() => ear.told.length, turn);
    t.is(ear.text, 'before');
    other.resume();
    await ear.heard('end');
    t.is(ear.text, 'beforeafter');
  });

  test(`${name}: a reader that pauses holds the writer back, and lets go of it`, async (t) => {
    const [one, other] = await makePair(t);
    const piece = sample(256 * 1024, 1);
    let written = 0;
    const whole = (async () => {
      for (; written < 64; written++)
        await new Promise<void>((resolve) => one.write([piece], () => resolve()));
    })();
    const stuck = await halted(() => written, turn);
    t.true(stuck < 64, `${stuck} pieces of 64 were taken from the writer of a reader that reads nothing`);
    let bytes = 0;
    other.onData = (chunk) => {
      bytes += chunk.length;
    };
    const ended = new Promise<void>((resolve) => {
      other.onEnd = resolve;
    });
    other.resume();
    await whole;
    one.end();
    await ended;
    t.is(bytes, 64 * piece.length);
  });

  test(`${name}: one end may go on sending after the other has ended, or says that it cannot; both close once, last, and without an error`, async (t) => {
    const [one, other] = await makePair(t);
    if (one.halfCloses === false) return endsBothWays(t, one, other);
    const [near, far] = [new Ear(one), new Ear(other)];
    one.resume();
    other.resume();
    await send(one, 'question');
    one.end();
    await far.heard('end');
    t.deepEqual(far.told, ['data', 'end']);
    t.is(await send(other, 'answer'), undefined);
    other.end();
    await Promise.all([near.heard('close'), far.heard('close')]);
    t.is(near.text, 'answer');
    t.deepEqual(near.told, ['data', 'end', 'close']);
    t.deepEqual(far.told, ['data', 'end', 'close']);
    t.deepEqual([near.error, far.error], [undefined, undefined]);
  });

  test(`${name}: destroy() is no error to who calls it, and one to the other end; again, it does nothing`, async (t) => {
    const [one, other] = await makePair(t);
    const [near, far] = [new Ear(one), new Ear(other)];
    one.resume();
    other.resume();
    one.destroy();
    t.deepEqual(near.told, [], 'nothing is told from within a method');
    one.destroy();
    await Promise.all([near.heard('close'), far.heard('close')]);
    t.is(near.error, undefined);
    t.true(far.error instanceof Error);
    await halted(() => near.told.length + far.told.length, turn);
    t.deepEqual([near.told, far.told], [['close'], ['close']]);
  });

  test(`${name}: destroy() after end() lets the other end have what was sent before`, async (t) => {
    const [one, other] = await makePair(t);
    const far = new Ear(other);
    new Ear(one);
    one.resume();
    await send(one, 'the last words');
    one.end();
    await turn();
    one.destroy();
    other.resume();
    await far.heard('end');
    t.is(far.text, 'the last words');
    other.end();
    await far.heard('close');
  });

  test(`${name}: a write that is out when the channel is destroyed does not pass for sent`, async (t) => {
    const [one, other] = await makePair(t);
    new Ear(one);
    new Ear(other);
    const outcome = new Promise((resolve) => one.write([LARGE], (error) => resolve(error)));
    other.destroy();
    t.true((await outcome) instanceof Error);
  });
}

for (const makePair of [sockets, watchedSockets, webSockets]) {
  test(`${makePair.name}: probe() finds that the other end is gone, also while nothing is read; and is nothing to one that is there`, async (t) => {
    const [one, other] = await makePair(t);
    new Ear(one);
    const ear = new Ear(other);
    one.resume();
    other.resume();
    await send(one, 'read');
    await ear.heard('data');
    other.pause();
    one.write([LARGE], () => undefined);
    await halted(() => ear.told.length, turn);
    other.probe?.();
    t.is(await send(other, 'still there'), undefined);
    one.destroy();
    await halted(() => ear.told.length, turn);
    t.deepEqual(ear.told, ['data'], 'who does not read is told nothing');
    while (!ear.told.includes('close')) {
      other.probe?.();
      await turn();
    }
    t.true(ear.error instanceof Error);
    t.deepEqual(ear.told, ['data', 'close']);
  });
}

async function endsBothWays(t: ExecutionContext, one: Transport, other: Transport): Promise<void> {
  const [near, far] = [new Ear(one), new Ear(other)];
  one.resume();
  other.resume();
  t.is(other.halfCloses, false);
  await send(one, 'question');
  one.end();
  await Promise.all([near.heard('close'), far.heard('close')]);
  t.deepEqual(far.told, ['data', 'end', 'close']);
  t.deepEqual(near.told, ['end', 'close']);
  t.deepEqual([near.error, far.error], [undefined, undefined]);
}

/** Sends one chunk; resolves with whether it was taken at once, when it was taken. */
const sendOne = (transport: Transport, chunk: Uint8Array) =>
  new Promise<boolean>((resolve) => {
    if (transport.writeOne?.(chunk, () => resolve(false))) resolve(true);
  });

for (const [name, makePair] of [
  ['sockets', sockets],
  ['sockets with TLS', tlsSockets],
] as const) {
  test(`${name}: chunks that are sent one by one come in order, each once it was taken`, async (t) => {
    const [one, other] = await makePair(t);
    const ear = new Ear(other);
    other.resume();
    for (let i = 0; i < 300; i++) await sendOne(one, utf8(`${i} `));
    t.is(await send(one, 'end'), undefined);
    await ear.watch.until(() => ear.text.endsWith('end') || undefined);
    t.is(ear.text, `${Array.from({ length: 300 }, (_, i) => i).join(' ')} end`);
  });
}

test('sockets: one chunk is taken at once while there is room, else the writer is told when there is again', async (t) => {
  const [one, other] = await sockets(t);
  const ear = new Ear(other);
  const chunk = new Uint8Array(1 << 20).fill(7);
  let chunks = 0;
  let isTold = false;
  const told = new Promise<void>((resolve) => {
    const tell = () => {
      isTold = true;
      resolve();
    };
    do chunks++;
    while (one.writeOne?.(chunk, tell));
  });
  await halted(() => Number(isTold), turn);
  t.false(isTold, 'nobody reads');
  other.resume();
  await told;
  t.true(await sendOne(one, Uint8Array.of(8)));
  const length = chunks * chunk.length + 1;
  await ear.watch.until(() => ear.bytes.reduce((sum, each) => sum + each.length, 0) === length || undefined);
  const came = Buffer.concat(ear.bytes);
  t.is(came.indexOf(8), length - 1);
});

test('memoryPair(): a highWaterMark holds back earlier, and one that is none is refused', async (t) => {
  const [one] = memoryPair({ highWaterMark: 1 });
  let isWritten = false;
  one.write([utf8('more than one byte')], () => {
    isWritten = true;
  });
  await halted(() => Number(isWritten), turn);
  t.false(isWritten);
  t.throws(() => memoryPair({ highWaterMark: 0 }), { message: /highWaterMark/ });
});

for (const [name, makePair] of [
  ['sockets', sockets],
  ['WebSockets', webSockets],
] as const) {
  test(`${name}: what is closed holds nobody that it has told so`, async (t) => {
    const [one, other] = await makePair(t);
    const ear = new Ear(one);
    const { onData, onEnd, onClose } = one;
    one.resume();
    other.destroy();
    await ear.heard('close');
    t.false([one.onData, one.onEnd, one.onClose].some((each) => [onData, onEnd, onClose].includes(each)));
  });
}
