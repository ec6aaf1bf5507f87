import test from 'ava';
import { RequestTable } from '../../src/reactor/request-table.ts';
import { ServerReactor } from '../../src/reactor/server.ts';
import type { ServerAction } from '../../src/reactor/server-action.ts';
import type { Failure } from '../../src/wire/failure.ts';
import { type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS, type Limits, PIECE_COST } from '../../src/wire/limits.ts';
import { encodeArgumentHead, encodeStreamSettings } from '../../src/wire/payloads.ts';
import { encodeFake, FakeDecoders, frame, outcome, PAYLOADS } from '../helpers/reactors.ts';

const begin = { streamFlags: StreamFlag.begin };
const encoded = { streamFlags: StreamFlag.encoded };
const GONE: Failure = { code: 'worker-died', message: 'gone' };

function reactor(limits: Partial<Limits> = {}, now = () => 0) {
  const decoders = new FakeDecoders();
  const clock = {
    get inputMs() {
      return now();
    },
  };
  return { decoders, r: new ServerReactor({ ...DEFAULT_LIMITS, ...limits }, decoders, false, clock) };
}

// ------------------------------------------------------------------------------- every frame in every state

/** How a reactor gets into a state; every state but the first has stream 1 open, and most have seen settings. */
const STATES: Record<string, (r: ServerReactor, actions: ServerAction[]) => void> = {
  'nothing has come': () => undefined,
  'no settings have come': (r, a) => r.receive(frame(1, 1, 'n', { ...begin, requestId: 9 }), a),
  'settings have come': (r, a) =>
    r.receive(frame(9, 0, PAYLOADS.senderSettings, { ...begin, requestId: 0 }), a),
  'arguments are due': (r, a) => {
    STATES['settings have come'](r, a);
    r.receive(frame(1, 2, 'n'), a);
  },
  'arguments and data are due': (r, a) => {
    STATES['settings have come'](r, a);
    r.receive(frame(1, 6, 'n'), a);
  },
  'the rest of an argument is due': (r, a) => {
    STATES['arguments are due'](r, a);
    r.receive(frame(2, 1, encodeArgumentHead('b', 3, Uint8Array.of(1))), a);
  },
  'data is due': (r, a) => {
    STATES['settings have come'](r, a);
    r.receive(frame(1, 4, 'n'), a);
  },
  'the request runs': (r, a) => {
    STATES['settings have come'](r, a);
    r.receive(frame(1, 1, 'n'), a);
  },
  'the response is on its way': (r, a) => {
    STATES['the request runs'](r, a);
    r.answered(1);
  },
  'the request is over': (r, a) => {
    STATES['the response is on its way'](r, a);
    r.finishResponse(1);
  },
  'the request is over, data is due': (r, a) => {
    STATES['data is due'](r, a);
    r.answered(1);
    r.finishResponse(1);
  },
  'the request was cancelled while data was due': (r, a) => {
    STATES['data is due'](r, a);
    r.receive(frame(10, 0), a);
    r.answered(1);
    r.finishResponse(1);
  },
  'data of another request is due': (r, a) => {
    STATES['settings have come'](r, a);
    r.receive(frame(1, 4, 'n', { requestId: 3 }), a);
  },
  'input has ended': (r, a) => {
    STATES['the request runs'](r, a);
    r.endOfInput(a);
  },
  'there was a protocol error': (r, a) => {
    STATES['the request runs'](r, a);
    outcome(a, () => r.receive(frame(15, 0), a));
  },
};

const argument = PAYLOADS.commandArgument;
const ofNoRequest = { requestId: 0 };

/** Frames of request 1, named by type and flags. */
const FRAMES: Record<string, Frame> = {
  'name eos': frame(1, 1, 'n'),
  'name args': frame(1, 2, 'n'),
  'name data': frame(1, 4, 'n'),
  'name -': frame(1, 0, 'n'),
  'name eos+args': frame(1, 3, 'n'),
  'arg -': frame(2, 0, argument),
  'arg eoa': frame(2, 2, argument),
  'data more': frame(3, 1, 'v'),
  'data eos': frame(3, 2, 'v'),
  'data -': frame(3, 0, 'v'),
  'data both': frame(3, 3, 'v'),
  bytes: frame(4, 2, 'v'),
  error: frame(5, 1, 'v'),
  text: frame(6, 0, PAYLOADS.textOutput),
  progress: frame(7, 0, PAYLOADS.progress),
  'stream-settings': frame(8, 0, PAYLOADS.streamSettings, { ...ofNoRequest, ...begin, streamId: 5 }),
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

/** What a frame does in a state where no command is being received, once settings have come. */
const BETWEEN: Record<string, string> = {
  'name eos': 'run',
  'name args': 'nothing',
  'name data': 'run',
  'name -': 'error command-missing-flags',
  'name eos+args': 'error command-conflicting-flags',
  'arg -': 'error expected-command',
  'arg eoa': 'error expected-command',
  'data more': 'error expected-command',
  'data eos': 'error expected-command',
  'data -': 'error expected-command',
  'data both': 'error expected-command',
  bytes: 'error expected-command',
  error: 'error peer-reported',
  text: 'error expected-command',
  progress: 'error expected-command',
  'stream-settings': 'nothing',
  'sender-settings': 'error settings-not-first',
  cancel: 'nothing',
  credit: 'credit',
  ping: 'ping',
  pong: 'pong',
  goaway: 'error wrong-direction',
  'type 0': 'error expected-command',
  'dictionary-held': 'dictionary-held',
  'type 15': 'error unknown-type',
};

/** The same while some command is being received. */
const RECEIVING: Record<string, string> = {
  ...BETWEEN,
  bytes: 'error wrong-direction',
  text: 'error wrong-direction',
  progress: 'error wrong-direction',
  'type 0': 'error unknown-type',
};

function each(names: readonly string[], result: string): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, result]));
}

const NAMES = ['name eos', 'name args', 'name data', 'name -', 'name eos+args'];
const ARGS = ['arg -', 'arg eoa'];
const DATA = ['data more', 'data eos', 'data -', 'data both'];

const EXPECTED: Record<string, Record<string, string>> = {
  'nothing has come': {
    ...BETWEEN,
    'sender-settings': 'settings',
    ...each(['cancel', 'credit', 'ping', 'pong', 'dictionary-held'], 'error extension-without-settings'),
  },
  'no settings have come': {
    ...BETWEEN,
    ...each(['cancel', 'credit', 'ping', 'pong', 'dictionary-held'], 'error extension-without-settings'),
  },
  'settings have come': BETWEEN,
  'arguments are due': {
    ...RECEIVING,
    ...each(NAMES, 'error request-already-received'),
    'arg -': 'nothing',
    'arg eoa': 'run',
    ...each(DATA, 'error not-expecting-data'),
    cancel: 'cancel',
  },
  'arguments and data are due': {
    ...RECEIVING,
    ...each(NAMES, 'error request-already-received'),
    'arg -': 'nothing',
    'arg eoa': 'run',
    ...each(DATA, 'error not-expecting-data'),
    cancel: 'cancel',
  },
  'the rest of an argument is due': {
    ...RECEIVING,
    ...each(NAMES, 'error request-already-received'),
    ...each(ARGS, 'error partial-argument-value'),
    ...each(DATA, 'error not-expecting-data'),
    cancel: 'cancel',
  },
  'data is due': {
    ...RECEIVING,
    ...each(NAMES, 'error request-already-received'),
    ...each(ARGS, 'error not-expecting-arguments'),
    'data more': 'data',
    'data eos': 'data',
    ...each(['data -', 'data both'], 'error data-missing-flags'),
    cancel: 'cancel',
  },
  'the request runs': {
    ...BETWEEN,
    ...each(NAMES, 'error request-already-active'),
    cancel: 'cancel',
  },
  'the response is on its way': {
    ...BETWEEN,
    ...each(NAMES, 'error request-already-active'),
  },
  'the request is over': BETWEEN,
  'the request is over, data is due': {
    ...RECEIVING,
    ...each(NAMES, 'error request-already-received'),
    ...each(ARGS, 'error not-expecting-arguments'),
    ...each(['data more', 'data eos'], 'unwanted'),
    ...each(['data -', 'data both'], 'error data-missing-flags'),
  },
  'the request was cancelled while data was due': {
    ...BETWEEN,
    ...each(ARGS, 'nothing'),
    ...each(DATA, 'unwanted'),
  },
  'data of another request is due': {
    ...RECEIVING,
    ...each([...ARGS, ...DATA], 'error request-not-receiving'),
  },
  'input has ended': each(Object.keys(FRAMES), 'error frame-after-end'),
  'there was a protocol error': each(Object.keys(FRAMES), 'error already-errored'),
};

for (const [state, enter] of Object.entries(STATES)) {
  test(`server, when ${state}: every frame does what the table says`, (t) => {
    const actual = Object.fromEntries(
      Object.entries(FRAMES).map(([name, next]) => {
        const { r } = reactor();
        const actions: ServerAction[] = [];
        enter(r, actions);
        // On a fresh connection the frame begins its stream; later, stream 1 is open.
        const fresh = state === 'nothing has come' && next.streamId === 1;
        return [name, outcome(actions, () => r.receive(fresh ? { ...next, ...begin } : next, actions))];
      }),
    );
    t.deepEqual(actual, EXPECTED[state]);
  });
}

test('server: after a protocol error the end of input is no error, and abandons what was being received', (t) => {
  const { r } = reactor();
  const actions: ServerAction[] = [];
  STATES['data is due'](r, actions);
  t.is(
    outcome(actions, () => r.receive(frame(15, 0), actions)),
    'error unknown-type',
  );
  t.is(
    outcome(actions, () => r.endOfInput(actions)),
    'nothing',
  );
  t.false(r.midCommand);
});

// --------------------------------------------------------------------------------------------------- streams

test('server: streams of the wrong parity, closed streams and misplaced settings are refused', (t) => {
  const zlib = encodeStreamSettings('zlib', new Uint8Array(0));
  const settings = (more: Partial<Frame>) => frame(8, 0, zlib, { requestId: 0, ...more });
  const cases: [string, Frame[]][] = [
    ['error even-stream-id', [frame(1, 1, 'n', { streamId: 2, ...begin })]],
    ['error even-stream-id', [frame(1, 1, 'n', { streamId: 0, ...begin })]],
    ['error unknown-stream', [frame(1, 1, 'n', { streamId: 3 })]],
    ['error settings-not-on-begin', [frame(1, 1, 'n', begin), settings({})]],
    ['error settings-encoded', [settings({ streamFlags: StreamFlag.begin | StreamFlag.encoded })]],
    ['error unknown-profile', [frame(8, 0, encodeStreamSettings('brotli'), { ...begin, requestId: 0 })]],
    ['error bad-payload', [frame(8, 0, Uint8Array.of(9, 1), { ...begin, requestId: 0 })]],
    [
      'error unknown-stream',
      [
        frame(1, 1, 'n', { streamFlags: StreamFlag.begin | StreamFlag.end }),
        frame(1, 1, 'n', { requestId: 3 }),
      ],
    ],
    [
      'error unknown-stream',
      [
        frame(1, 1, 'n', begin),
        frame(1, 1, 'n', { requestId: 3 }),
        frame(1, 1, 'n', { requestId: 5, streamFlags: StreamFlag.end }),
        frame(1, 1, 'n', { requestId: 7 }),
      ],
    ],
    [
      'error settings-not-on-begin',
      [frame(1, 1, 'n', begin), frame(1, 1, 'n', { requestId: 3 }), settings({})],
    ],
    [
      'run',
      [
        frame(1, 1, 'n', { streamFlags: StreamFlag.begin | StreamFlag.end }),
        frame(1, 1, 'n', { requestId: 3, ...begin }),
      ],
    ],
    ['run', [frame(1, 1, 'n', begin), frame(1, 1, 'n', { requestId: 3, ...begin })]],
    ['nothing', [settings(begin)]],
    ['nothing', [frame(8, 0, encodeStreamSettings('identity'), { ...begin, requestId: 0 })]],
  ];
  for (const [expected, frames] of cases) {
    const { r } = reactor();
    const actions: ServerAction[] = [];
    const last = frames.pop() as Frame;
    for (const each of frames) r.receive(each, actions);
    t.is(
      outcome(actions, () => r.receive(last, actions)),
      expected,
      JSON.stringify(last),
    );
  }
});

test('server: contexts begin, begin again and end with their streams', (t) => {
  const { r, decoders } = reactor();
  const actions: ServerAction[] = [];
  const zlib = encodeStreamSettings('zlib');
  const open = () => r.receive(frame(8, 0, zlib, { requestId: 0, streamId: 3, ...begin }), actions);
  const name = (requestId: number, streamFlags: number) =>
    r.receive(frame(1, 1, encodeFake('n'), { requestId, streamId: 3, streamFlags }), actions);
  open();
  name(1, StreamFlag.encoded);
  name(3, 0);
  open();
  name(5, StreamFlag.encoded | StreamFlag.end);
  open();
  r.receive(frame(1, 1, 'n', { requestId: 7, streamId: 3, ...begin }), actions);
  name(9, StreamFlag.encoded);
  t.deepEqual(decoders.log, [
    'open 3',
    'decode 3',
    'close 3',
    'open 3',
    'decode 3',
    'close 3',
    'open 3',
    'close 3',
  ]);
  const names = actions.map((action) => action.kind === 'run' && action.command.command);
  // Without `encoded` nothing is decoded, nor is it on a stream without settings: identity.
  t.deepEqual(names, ['n', 'o', 'n', 'n', 'o']);
  r.stop();
  t.is(decoders.open_.size, 0);
});

test('server: open streams, and begins per second, are limited', (t) => {
  let now = 0;
  const { r } = reactor({ maxIncomingStreams: 3, maxStreamBegins: 5 }, () => now);
  const actions: ServerAction[] = [];
  let requestId = -1;
  const use = (streamId: number, streamFlags: number) => {
    requestId += 2;
    const next = frame(1, 1, 'n', { requestId, streamId, streamFlags });
    return outcome(actions, () => r.receive(next, actions));
  };
  for (const id of [1, 3, 5]) t.is(use(id, StreamFlag.begin), 'run');
  t.is(use(5, StreamFlag.end), 'run');
  t.is(use(7, StreamFlag.begin), 'run');
  t.is(use(1, StreamFlag.begin), 'run', 'an open one may be begun afresh');
  now = 1000;
  for (let i = 0; i < 5; i++) t.is(use(3, StreamFlag.begin), 'run');
  t.is(use(3, StreamFlag.begin), 'error limit', 'the sixth within a second');
  const second = reactor({ maxIncomingStreams: 3 });
  for (const streamId of [1, 3, 5]) {
    second.r.receive(frame(1, 1, 'n', { requestId: streamId, streamId, ...begin }), actions);
  }
  t.is(
    outcome(actions, () =>
      second.r.receive(frame(1, 1, 'n', { requestId: 7, streamId: 7, ...begin }), actions),
    ),
    'error limit',
  );
});

// ----------------------------------------------------------------------------------------------------- order

test('server: frames of one request wait for each other across streams, those of others do not', (t) => {
  const { r, decoders } = reactor();
  const actions: ServerAction[] = [];
  const zlib = encodeStreamSettings('zlib');
  for (const streamId of [3, 5]) r.receive(frame(8, 0, zlib, { requestId: 0, streamId, ...begin }), actions);
  decoders.later = true;
  const data = (streamId: number, requestId: number, text: string, last = false) => {
    const plain = streamId === 1;
    const payload = plain ? text : encodeFake(text);
    r.receive(frame(3, last ? 2 : 1, payload, { streamId, requestId, ...(plain ? {} : encoded) }), actions);
  };
  r.receive(frame(1, 4, 'n', { requestId: 1, ...begin }), actions);
  r.receive(frame(1, 4, 'n', { requestId: 3 }), actions);
  actions.length = 0;
  data(3, 1, 'a');
  data(5, 1, 'b');
  data(1, 1, 'c');
  data(1, 3, 'x');
  data(3, 1, 'd', true);
  data(5, 3, 'y', true);
  const seen = () =>
    actions
      .splice(0)
      .map((action) =>
        action.kind === 'data' ? `${action.requestId}${new TextDecoder().decode(action.bytes)}` : action.kind,
      );
  t.deepEqual(seen(), ['3x'], 'a plain frame of a request that waits for nothing');
  t.true(r.heldBytes % PIECE_COST === 5 && r.decoding);
  r.decoded(decoders.answer(5), actions);
  t.deepEqual(seen(), [], 'b is there, but a is not');
  r.decoded(decoders.answer(5), actions);
  t.deepEqual(seen(), ['3y']);
  r.decoded(decoders.answer(3), actions);
  t.deepEqual(seen(), ['1a', '1b', '1c']);
  r.endOfInput(actions);
  t.deepEqual(seen(), [], 'the end waits for what has come before it');
  r.decoded(decoders.answer(3), actions);
  t.deepEqual(seen(), ['1d']);
  t.true(r.heldBytes === 0 && !r.decoding && !r.midCommand);
});

test('server: a lost decoder fails the requests whose frames it had, and no others', (t) => {
  const { r, decoders } = reactor();
  const actions: ServerAction[] = [];
  r.receive(frame(8, 0, encodeStreamSettings('zlib'), { requestId: 0, streamId: 3, ...begin }), actions);
  decoders.later = true;
  r.receive(frame(1, 4, 'n', { requestId: 1, ...begin }), actions);
  r.receive(frame(1, 4, 'n', { requestId: 3 }), actions);
  const inLane = { streamId: 3, ...encoded };
  r.receive(frame(3, 1, encodeFake('a'), { requestId: 1, ...inLane }), actions);
  r.receive(frame(1, 1, encodeFake('n'), { requestId: 5, ...inLane }), actions);
  r.receive(frame(3, 2, 'b', { requestId: 1 }), actions);
  actions.length = 0;
  for (const { ticket } of decoders.waiting.splice(0)) {
    ticket.lost = GONE;
    r.decoded(ticket, actions);
  }
  t.deepEqual(actions, [
    { kind: 'lost-data' },
    { kind: 'fail', requestId: 1, failure: GONE },
    { kind: 'unwanted', bytes: 1 },
    { kind: 'fail', requestId: 5, failure: GONE },
  ]);
  t.true(r.isRunning(1) && r.isRunning(5), 'their IDs are busy until the errors are sent');
  r.receive(frame(3, 2, 'x', { requestId: 3 }), actions);
  t.is(actions.at(-1)?.kind, 'data');
  r.finishResponse(1);
  t.is(
    outcome(actions, () => r.receive(frame(1, 1, 'n', { requestId: 1 }), actions)),
    'run',
  );
});

test('server: a lost decoder says nothing of a request that was answered already', (t) => {
  const { r, decoders } = reactor();
  const actions: ServerAction[] = [];
  r.receive(frame(8, 0, encodeStreamSettings('zlib'), { requestId: 0, streamId: 3, ...begin }), actions);
  decoders.later = true;
  r.receive(frame(1, 4, 'n', begin), actions);
  r.receive(frame(3, 1, encodeFake('a'), { streamId: 3, ...encoded }), actions);
  r.answered(1);
  r.finishResponse(1);
  actions.length = 0;
  const [{ ticket }] = decoders.waiting;
  ticket.lost = GONE;
  t.is(
    outcome(actions, () => r.decoded(ticket, actions)),
    'lost-data',
  );
});

test('server: half duplex holds output until the end of input has been decoded', (t) => {
  const decoders = new FakeDecoders();
  const r = new ServerReactor(DEFAULT_LIMITS, decoders, true, { inputMs: 0 });
  const actions: ServerAction[] = [];
  r.receive(frame(8, 0, encodeStreamSettings('zlib'), { requestId: 0, ...begin }), actions);
  decoders.later = true;
  r.receive(frame(1, 1, encodeFake('n'), encoded), actions);
  r.endOfInput(actions);
  t.deepEqual(actions, []);
  t.true(r.holdsOutput);
  r.decoded(decoders.answer(1), actions);
  t.deepEqual(
    actions.map(({ kind }) => kind),
    ['run', 'release-output'],
  );
  t.false(r.holdsOutput);
});

// ------------------------------------------------------------------------------------------------- requests

test('server: arguments arrive by name, in pieces or whole, up to their limits', (t) => {
  const { r } = reactor({ maxArguments: 3, maxArgumentBytes: 20 });
  const actions: ServerAction[] = [];
  r.receive(frame(1, 2, 'n', begin), actions);
  r.receive(frame(2, 1, encodeArgumentHead('a', 4, Uint8Array.of(1))), actions);
  r.receive(frame(2, 1, Uint8Array.of(2, 3)), actions);
  r.receive(frame(2, 0, Uint8Array.of(4)), actions);
  r.receive(frame(2, 0, encodeArgumentHead('b', 0, new Uint8Array(0))), actions);
  r.receive(frame(2, 2, encodeArgumentHead('c', 2, Uint8Array.of(5, 6))), actions);
  const [action] = actions;
  t.deepEqual(action.kind === 'run' && [...action.command.args].map(([name, v]) => [name, [...v]]), [
    ['a', [1, 2, 3, 4]],
    ['b', []],
    ['c', [5, 6]],
  ]);
  const refused: [string, Frame[]][] = [
    ['error duplicate-argument', [frame(2, 0, argument), frame(2, 0, argument)]],
    [
      'error limit',
      ['a', 'b', 'c', 'd'].map((name) => frame(2, 0, encodeArgumentHead(name, 0, new Uint8Array(0)))),
    ],
    ['error limit', [frame(2, 1, encodeArgumentHead('a', 20, Uint8Array.of(1)))]],
    [
      'error partial-argument-value',
      [frame(2, 1, encodeArgumentHead('a', 2, Uint8Array.of(1))), frame(2, 0, Uint8Array.of(1, 2))],
    ],
    [
      'error partial-argument-value',
      [frame(2, 1, encodeArgumentHead('a', 3, Uint8Array.of(1))), frame(2, 0, Uint8Array.of(1))],
    ],
    ['error partial-argument-value', [frame(2, 3, encodeArgumentHead('a', 2, Uint8Array.of(1)))]],
    ['error partial-argument-name', [frame(2, 0, Uint8Array.of(9, 0, 0, 0, 97))]],
    ['error bad-argument-name', [frame(2, 0, Uint8Array.of(1, 0, 0, 0, 200))]],
    ['error bad-payload', [frame(2, 0, Uint8Array.of(1, 0))]],
  ];
  for (const [expected, frames] of refused) {
    const fresh = reactor({ maxArguments: 3, maxArgumentBytes: 20 }).r;
    fresh.receive(frame(1, 2, 'n', begin), actions);
    const results = frames.map((each) => outcome(actions, () => fresh.receive(each, actions)));
    t.is(results.at(-1), expected);
  }
});

test('server: requests being received and running count as one each, up to the limit', (t) => {
  const { r } = reactor({ maxConcurrentRequests: 3 });
  const actions: ServerAction[] = [];
  r.receive(frame(1, 4, 'n', { requestId: 1, ...begin }), actions);
  r.receive(frame(1, 2, 'n', { requestId: 3 }), actions);
  r.receive(frame(1, 1, 'n', { requestId: 5 }), actions);
  t.is(r.openRequests, 3);
  r.finishResponse(5);
  t.is(r.openRequests, 2);
  r.receive(frame(1, 1, 'n', { requestId: 7 }), actions);
  actions.length = 0;
  r.receive(frame(1, 1, 'n', { requestId: 9 }), actions);
  t.like(actions, [{ kind: 'fail', requestId: 9, failure: { code: 'overloaded' } }]);
});

test('server: while there is room for more, a command looks at none of the others', (t) => {
  const { r } = reactor({ maxConcurrentRequests: 5 });
  const actions: ServerAction[] = [];
  r.receive(frame(1, 4, 'n', { requestId: 1, ...begin }), actions);
  let looks = 0;
  const { values } = RequestTable.prototype;
  RequestTable.prototype.values = function () {
    looks++;
    return values.call(this);
  };
  try {
    for (const requestId of [3, 5, 7, 9]) r.receive(frame(1, 1, 'n', { requestId }), actions);
    t.is(looks, 0);
    r.receive(frame(1, 1, 'n', { requestId: 11 }), actions);
    t.true(looks > 0);
  } finally {
    RequestTable.prototype.values = values;
  }
  t.like(actions.at(-1), { kind: 'fail', requestId: 11, failure: { code: 'overloaded' } });
});

test('server: more requests than a client may expect without settings end the connection, answered ones do not count', (t) => {
  const { r } = reactor({ maxConcurrentRequests: 3 });
  const actions: ServerAction[] = [];
  for (let i = 0; i < 300; i++)
    r.receive(frame(1, 1, 'n', { requestId: 2 * i + 1, ...(i === 0 ? begin : {}) }), actions);
  const { r: other } = reactor({ maxConcurrentRequests: 128 });
  for (let i = 0; i < 128; i++)
    other.receive(frame(1, 1, 'n', { requestId: 2 * i + 1, ...(i === 0 ? begin : {}) }), actions);
  t.is(
    outcome(actions, () => other.receive(frame(1, 1, 'n', { requestId: 999 }), actions)),
    'error limit',
  );
});

test('server: empty data frames in a row are limited, others between them start the count anew', (t) => {
  const { r } = reactor({ maxEmptyDataFrames: 2 });
  const actions: ServerAction[] = [];
  r.receive(frame(1, 4, 'n', begin), actions);
  for (const text of ['', '', 'x', '', '']) r.receive(frame(3, 1, text), actions);
  t.is(
    outcome(actions, () => r.receive(frame(3, 1, ''), actions)),
    'error limit',
  );
});

test('server: every type is in the table, and no two frames have one name', (t) => {
  t.deepEqual(
    [...new Set(Object.values(FRAMES).map(({ type }) => type))].sort((a, b) => a - b),
    [0, ...Object.values(FrameType), 15],
  );
});
