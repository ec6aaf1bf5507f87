// A server, or a peer, that has gone without a word is found out by ping; one that is only slow is left alone.
import test, { type ExecutionContext } from 'ava';
import { Connection, type Transport } from '../../src/connection/connection.ts';
import { KeepAlive } from '../../src/connection/keepalive.ts';
import { ConnectionError } from '../../src/index.ts';
import {
  BytesResponseFlag,
  encodeFrame,
  type Frame,
  FrameType,
  PingFlag,
  StreamFlag,
} from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { encodeSenderSettings } from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { Wire } from '../doors/helper.ts';
import { stoppedClock } from '../helpers/clock.ts';
import { RawPeer } from '../helpers/raw-peer.ts';
import { dial, failure, impostor, serving, Watch } from '../helpers/serving.ts';

const NOTHING = new Uint8Array(0);

function serverFrame(
  type: number,
  flags: number,
  payload: Uint8Array = NOTHING,
  requestId = 0,
  streamFlags = 0,
) {
  return encodeFrame({ type, flags, payload, requestId, streamId: 2, streamFlags });
}

/** A server as far as its settings, which also counts pings; `onPing` is what it does about them. */
async function standIn(
  t: ExecutionContext,
  extensions: readonly string[],
  onPing: (ping: Frame, count: number) => Uint8Array[],
) {
  const watch = new Watch();
  let pings = 0;
  const where = await impostor(t, (socket) => {
    socket.write(
      serverFrame(FrameType.senderSettings, 0, encodeSenderSettings({ extensions }), 0, StreamFlag.begin),
    );
    const onFrame = (frame: Frame) => {
      if (frame.type !== FrameType.ping) return;
      pings++;
      for (const answer of onPing(frame, pings)) socket.write(answer);
      watch.changed();
    };
    const splitter = new Splitter({ maxPayload: DEFAULT_LIMITS.maxPayload, onFrame });
    socket.on('data', (chunk: Buffer) => splitter.push(chunk));
  });
  return {
    where,
    pings: () => pings,
    pinged: (times: number) => watch.until(() => (pings >= times ? true : undefined)),
  };
}

const pong = ({ payload }: Frame) => serverFrame(FrameType.ping, PingFlag.reply, payload.slice());

test('calls of a client whose server gives no sign of life fail, and say so', async (t) => {
  const { where } = await standIn(t, ['ping'], () => []);
  const client = await dial(t, where, { keepAliveInterval: 20 });
  const errors = await Promise.all([
    failure(client.call('one').bytes()),
    failure(client.call('two').text()),
    failure(client.ping()),
  ]);
  for (const error of errors) {
    t.true(error instanceof ConnectionError);
    t.is(error.message, `keepAliveInterval: 127.0.0.1:${where.port} gives no sign of life`);
  }
  await client.closed;
  const later = (await failure(client.call('three').text())) as ConnectionError;
  const { message, code } = errors[0] as ConnectionError;
  t.deepEqual(
    [later.message, later.code, later.notStarted],
    [message, code, true],
    'later calls fail for the same reason',
  );
});

test('a client that closes does not wait for a dead server', async (t) => {
  const { where } = await standIn(t, ['ping'], () => []);
  const client = await dial(t, where, { keepAliveInterval: 20 });
  await client.close();
  t.pass();
});

/** Milliseconds that pass in a round trip. */
const STEP = 10;

/** Looks at nothing but the way there and back, in which what others have sent arrives, too. */
async function roundTrips(t: ExecutionContext): Promise<() => Promise<unknown>> {
  const { where } = await standIn(t, ['ping'], (ping) => [pong(ping)]);
  const client = await dial(t, where, { keepAliveInterval: 0 });
  return () => client.ping();
}

test.serial('a server that only takes its time, and answers pings, is waited for', async (t) => {
  const clock = stoppedClock(t);
  const { where } = await standIn(t, ['ping'], (ping, count) => {
    const answer = [pong(ping)];
    if (count === 5) {
      answer.push(serverFrame(FrameType.bytesResponse, BytesResponseFlag.eos, Uint8Array.of(7), 1));
    }
    return answer;
  });
  const client = await dial(t, where, { keepAliveInterval: 200 });
  const answer = client.call('slow').bytes();
  t.deepEqual(await clock.advanceWhile(answer, STEP, await roundTrips(t)), Uint8Array.of(7));
});

test.serial(
  'a server that does not speak ping, or may rightly keep its answer back, is not asked',
  async (t) => {
    const clock = stoppedClock(t);
    const control = await standIn(t, ['ping'], (ping) => [pong(ping)]);
    const silent = await standIn(t, ['cancel'], () => []);
    const reading = await standIn(t, ['ping'], () => []);
    const never = await standIn(t, ['ping'], () => []);
    const options = { keepAliveInterval: 200 };
    const [, toSilent, toReading, toNever] = await Promise.all([
      dial(t, control.where, options),
      dial(t, silent.where, options),
      dial(t, reading.where, options),
      dial(t, never.where, { keepAliveInterval: 0 }),
    ]);
    const calls = [
      toSilent.call('hold'),
      toReading.call('upload', { data: 'what a slow handler has not read yet' }),
      toNever.call('hold'),
    ];
    await clock.advanceWhile(control.pinged(4), STEP, await roundTrips(t));
    t.deepEqual(
      [silent, reading, never].map(({ pings }) => pings()),
      [0, 0, 0],
    );
    t.deepEqual(
      calls.map(({ over }) => over),
      [false, false, false],
    );
  },
);

/** A transport whose event loop is the test's: what is sent in one turn can be answered in the next at the earliest. */
class Turns implements Transport {
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly remote = 'a peer';
  destroyed = false;
  pings = 0;
  readonly #answers: boolean;
  readonly #arrived: Uint8Array[] = [];
  readonly #waiting: (() => void)[] = [];
  #unanswered = 0;

  constructor(answers: boolean) {
    this.#answers = answers;
  }

  /** One turn: timers, then what has arrived, then who waits for the end of the tick. */
  turn(timer: () => void): void {
    timer();
    for (const bytes of this.#arrived.splice(0)) this.onData(bytes);
    for (const run of this.#waiting.splice(0)) run();
    for (; this.#answers && this.#unanswered > 0; this.#unanswered--)
      this.#arrived.push(serverFrame(FrameType.ping, PingFlag.reply, new Uint8Array(8)));
  }

  write(_chunks: Uint8Array[], written: () => void): void {
    this.pings++;
    this.#unanswered++;
    written();
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {
    this.destroyed = true;
  }

  endOfTick(run: () => void): void {
    this.#waiting.push(run);
  }
}

function keptAlive(transport: Transport): KeepAlive {
  const connection = new Connection(transport, DEFAULT_LIMITS, 1);
  const nothing = () => undefined;
  connection.start({
    receive: nothing,
    onEnd: nothing,
    onFailed: nothing,
    onClosed: nothing,
    midCommand: false,
    overdue: nothing,
  });
  return new KeepAlive(connection, () => true);
}

test('an answer that has come during a long tick of ours counts, although it is not read yet', (t) => {
  const transport = new Turns(true);
  const keepAlive = keptAlive(transport);
  // Turns so long that it is time for the next look in each.
  for (let i = 0; i < 20; i++) transport.turn(() => keepAlive.check());
  t.true(transport.pings > 5);
  t.false(transport.destroyed);
});

test('no answer until the second look after the question is the end', (t) => {
  const transport = new Turns(false);
  const keepAlive = keptAlive(transport);
  let looks = 0;
  for (; !transport.destroyed; looks++) {
    transport.turn(() => keepAlive.check());
    // What it looks at it looks at two ends of ticks later.
    for (let i = 0; i < 2; i++) transport.turn(() => undefined);
  }
  t.is(transport.pings, 1);
  t.is(looks, 3);
});

test.serial(
  'nobody is silent for longer than the interval without being asked, on either side',
  async (t) => {
    const clock = stoppedClock(t);
    const roundTrip = await roundTrips(t);
    const { where, pings, pinged } = await standIn(t, ['ping'], () => []);
    await dial(t, where, { keepAliveInterval: 1000 });
    const { port } = await serving(t, { keepAliveInterval: 1000 });
    const peer = await RawPeer.connect(t, port);
    peer.send('0 1 stream-begin sender-settings 0 {"contentEncodings":[],"extensions":["ping"]}');
    await peer.until(() => peer.frames.length > 0);
    for (let ms = 0; ms < 1000; ms += 100) {
      clock.advance(100);
      await roundTrip();
    }
    await pinged(1);
    await peer.until(() => peer.frames.some(({ type }) => type === FrameType.ping));
    t.is(pings(), 1);
  },
);

test('a peer is not charged with the time for which this thread was held up; with its own it is', async (t) => {
  const transport = new Turns(false);
  transport.endOfTick = (run) => setImmediate(run);
  const connection = new Connection(transport, { ...DEFAULT_LIMITS, idleTimeout: 100 }, 2);
  let failed = false;
  const nothing = () => undefined;
  const onFailed = () => {
    failed = true;
  };
  connection.start({
    receive: nothing,
    onEnd: nothing,
    onFailed,
    onClosed: nothing,
    midCommand: false,
    overdue: nothing,
  });
  transport.onData(serverFrame(FrameType.ping, 0).subarray(0, 3));
  for (const since = performance.now(); performance.now() - since < 300; );
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
  t.false(failed, 'what the peer sent meanwhile could not be read');
  while (!failed) await new Promise((resolve) => setTimeout(resolve, 5));
  t.pass('in the middle of a frame');
});

test.serial(
  'events have a comment after that much silence, however short before a look at them the last one was',
  async (t) => {
    const clock = stoppedClock(t);
    const gate = Promise.withResolvers<void>();
    const talk = async function* () {
      yield 'one\n';
      await gate.promise;
      yield 'two\n';
    };
    const { port } = await serving(t, { keepAliveInterval: 1000, commands: { talk } });
    const events = new Wire(t, port).send(
      'POST /rpc/talk HTTP/1.1',
      'Host: x',
      'Accept: text/event-stream',
      '',
      '',
    );
    await events.heard(/data: one\n\n/);
    clock.advance(1000);
    gate.resolve();
    t.regex(await events.heard(/data: two\n\n/), /data: one\n\n[^:]*\r\n:\n\n/);
  },
);
