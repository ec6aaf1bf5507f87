import test from 'ava';
import { type ClientAction, ClientReactor } from '../../src/reactor/client.ts';
import { type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { encodeStreamSettings } from '../../src/wire/payloads.ts';
import { frame as anyFrame, encodeFake, FakeDecoders, outcome, PAYLOADS } from '../helpers/reactors.ts';

type Actions = ClientAction<string>[];

const begin = { streamFlags: StreamFlag.begin };

/** A frame of request 1 on the server's stream 2. */
function frame(
  type: number,
  flags: number,
  payload: Uint8Array | string = '',
  more: Partial<Frame> = {},
): Frame {
  return anyFrame(type, flags, payload, { streamId: 2, ...more });
}

function reactor() {
  const decoders = new FakeDecoders();
  return { decoders, r: new ClientReactor<string>(DEFAULT_LIMITS, decoders, () => 0) };
}

const STATES: Record<string, (r: ClientReactor<string>, actions: Actions) => void> = {
  'nothing was asked': () => undefined,
  'a request is open': (r) => r.open(1, 'one'),
  'a response has begun': (r, a) => {
    r.open(1, 'one');
    r.receive(frame(4, 1, 'v', begin), a);
  },
  'a response is whole': (r, a) => {
    r.open(1, 'one');
    r.receive(frame(4, 2, 'v', begin), a);
  },
  'a request has failed': (r, a) => {
    r.open(1, 'one');
    r.receive(frame(5, 2, 'v', begin), a);
  },
  'a request was given up': (r) => {
    r.open(1, 'one');
    r.forget(1);
  },
  'the connection is over': (r) => {
    r.open(1, 'one');
    r.stop();
  },
};

/** States in which stream 2 is open and frames have come. */
const LATER = new Set(['a response has begun', 'a response is whole', 'a request has failed']);

const ofNoRequest = { requestId: 0 };

const FRAMES: Record<string, Frame> = {
  name: frame(1, 1, 'n'),
  argument: frame(2, 2, PAYLOADS.commandArgument),
  data: frame(3, 2, 'v'),
  'bytes -': frame(4, 0, 'v'),
  'bytes more': frame(4, 1, 'v'),
  'bytes eos': frame(4, 2, 'v'),
  'bytes both': frame(4, 3, 'v'),
  'error -': frame(5, 0, 'v'),
  'error protocol': frame(5, 1, 'v'),
  'error application': frame(5, 2, 'v'),
  'error both': frame(5, 3, 'v'),
  text: frame(6, 0, PAYLOADS.textOutput),
  progress: frame(7, 0, PAYLOADS.progress),
  'stream-settings': frame(8, 0, PAYLOADS.streamSettings, { ...ofNoRequest, ...begin, streamId: 4 }),
  'sender-settings': frame(9, 0, PAYLOADS.senderSettings, ofNoRequest),
  cancel: frame(10, 0),
  credit: frame(11, 0, PAYLOADS.credit, ofNoRequest),
  ping: frame(12, 0, PAYLOADS.ping, ofNoRequest),
  pong: frame(12, 1, PAYLOADS.ping, ofNoRequest),
  goaway: frame(13, 0, PAYLOADS.goaway, ofNoRequest),
  'type 0': frame(0, 0),
  'dictionary-held': frame(14, 0, PAYLOADS.dictionaryHeld, ofNoRequest),
  'type 15': frame(15, 0),
};

/** What a frame does while request 1 is not open, after the first frame. */
const CLOSED: Record<string, string> = {
  name: 'error wrong-direction',
  argument: 'error wrong-direction',
  data: 'error wrong-direction',
  'bytes -': 'error response-flags',
  'bytes more': 'error unknown-request',
  'bytes eos': 'error unknown-request',
  'bytes both': 'error response-flags',
  'error -': 'error error-flags',
  'error protocol': 'peer-error',
  'error application': 'error unknown-request',
  'error both': 'error error-flags',
  text: 'error unknown-request',
  progress: 'error unknown-request',
  'stream-settings': 'nothing',
  'sender-settings': 'error settings-not-first',
  cancel: 'error wrong-direction',
  credit: 'credit',
  ping: 'ping',
  pong: 'pong',
  goaway: 'goaway',
  'type 0': 'error unknown-type',
  'dictionary-held': 'error wrong-direction',
  'type 15': 'error unknown-type',
};

const OPEN: Record<string, string> = {
  ...CLOSED,
  'bytes more': 'bytes',
  'bytes eos': 'bytes',
  'error application': 'error',
  text: 'text',
  progress: 'progress',
};

const GIVEN_UP: Record<string, string> = {
  ...CLOSED,
  'bytes more': 'unwanted',
  'bytes eos': 'unwanted',
  'error application': 'nothing',
  text: 'nothing',
  progress: 'nothing',
};

const first = { 'sender-settings': 'settings' };

const EXPECTED: Record<string, Record<string, string>> = {
  'nothing was asked': { ...CLOSED, ...first },
  'a request is open': { ...OPEN, ...first },
  'a response has begun': OPEN,
  'a response is whole': CLOSED,
  'a request has failed': CLOSED,
  'a request was given up': { ...GIVEN_UP, ...first },
  'the connection is over': Object.fromEntries(
    Object.keys(FRAMES).map((name) => [name, 'error already-errored']),
  ),
};

for (const [state, enter] of Object.entries(STATES)) {
  test(`client, when ${state}: every frame does what the table says`, (t) => {
    const actual = Object.fromEntries(
      Object.entries(FRAMES).map(([name, next]) => {
        const { r } = reactor();
        const actions: Actions = [];
        enter(r, actions);
        const begins = !LATER.has(state) && next.streamId === 2;
        return [name, outcome(actions, () => r.receive(begins ? { ...next, ...begin } : next, actions))];
      }),
    );
    t.deepEqual(actual, EXPECTED[state]);
  });
}

test('client: every type is in the table', (t) => {
  t.deepEqual(
    [...new Set(Object.values(FRAMES).map(({ type }) => type))].sort((a, b) => a - b),
    [0, ...Object.values(FrameType), 15],
  );
});

test('client: an ID is free again when the last frame of its response has come, also of one that was given up', (t) => {
  const { r } = reactor();
  const actions: Actions = [];
  t.deepEqual([r.freeId(), r.freeId(), r.freeId()], [1, 3, 5]);
  r.open(1, 'one');
  r.open(3, 'three');
  r.forget(3);
  t.is(r.openRequests, 2);
  t.deepEqual([...r.requests()], ['one'], 'what was given up waits for nothing');
  for (let id = 7; id <= 65_535; id += 2) t.is(r.freeId(), id);
  t.is(r.freeId(), 5, 'it wraps, and skips what is busy');
  r.receive(frame(5, 2, 'cancelled', { requestId: 3, ...begin }), actions);
  t.is(r.openRequests, 1);
  t.deepEqual(actions, []);
  for (let id = 7; id <= 65_535; id += 2) r.freeId();
  t.is(r.freeId(), 3);
});

test('client: when all IDs are busy there is none to give', (t) => {
  const { r } = reactor();
  for (let id = 1; id <= 65_535; id += 2) r.open(id, 'busy');
  t.throws(() => r.freeId(), { message: 'all request IDs are busy' });
});

test('client: frames on streams of the wrong parity, and on closed ones, are refused', (t) => {
  for (const [streamId, streamFlags, code] of [
    [1, 1, 'odd-stream-id'],
    [0, 1, 'odd-stream-id'],
    [4, 0, 'unknown-stream'],
  ] as const) {
    const { r } = reactor();
    r.open(1, 'one');
    const actions: Actions = [];
    const bytes = frame(4, 2, 'v', { streamId, streamFlags });
    t.is(
      outcome(actions, () => r.receive(bytes, actions)),
      `error ${code}`,
    );
  }
});

test('client: a server may begin stream 2 anew for every response, and each life has its own context', (t) => {
  const { r, decoders } = reactor();
  const actions: Actions = [];
  const zlib = encodeStreamSettings('zlib');
  for (const requestId of [1, 3, 5]) {
    r.open(requestId, `${requestId}`);
    r.receive(frame(8, 0, zlib, { requestId, ...begin }), actions);
    r.receive(frame(4, 2, encodeFake('v'), { requestId, streamFlags: StreamFlag.encoded }), actions);
  }
  t.deepEqual(decoders.log, [
    'open 2',
    'decode 2',
    'close 2',
    'open 2',
    'decode 2',
    'close 2',
    'open 2',
    'decode 2',
  ]);
  t.deepEqual(
    actions.map((action) => action.kind === 'bytes' && new TextDecoder().decode(action.bytes)),
    ['v', 'v', 'v'],
  );
  r.stop();
  t.is(decoders.open_.size, 0);
});

test('client: responses whose frames come over several streams keep their order', (t) => {
  const { r, decoders } = reactor();
  const actions: Actions = [];
  for (const streamId of [2, 4, 6]) {
    r.receive(frame(8, 0, encodeStreamSettings('zlib'), { requestId: 0, streamId, ...begin }), actions);
  }
  decoders.later = true;
  r.open(1, 'one');
  r.open(3, 'three');
  const encoded = { streamFlags: StreamFlag.encoded };
  r.receive(frame(4, 1, encodeFake('a'), { streamId: 2, ...encoded }), actions);
  r.receive(frame(4, 1, encodeFake('b'), { streamId: 4, ...encoded }), actions);
  r.receive(frame(6, 0, PAYLOADS.textOutput, { streamId: 6 }), actions);
  r.receive(frame(4, 2, encodeFake('x'), { requestId: 3, streamId: 6, ...encoded }), actions);
  r.receive(frame(4, 2, 'c', { streamId: 6 }), actions);
  const seen = () =>
    actions
      .splice(0)
      .map((a) => (a.kind === 'bytes' ? a.request + new TextDecoder().decode(a.bytes) : a.kind));
  r.decoded(decoders.answer(4), actions);
  t.deepEqual(seen(), []);
  r.decoded(decoders.answer(6), actions);
  t.deepEqual(seen(), ['threex']);
  r.decoded(decoders.answer(2), actions);
  t.deepEqual(seen(), ['onea', 'oneb', 'text', 'onec']);
});

test('client: credit from the server is checked', (t) => {
  const { r } = reactor();
  const actions: Actions = [];
  t.is(
    outcome(actions, () => r.receive(frame(11, 0, Uint8Array.of(1), { requestId: 0, ...begin }), actions)),
    'error bad-payload',
  );
});
