/** What a client's user gives a call, and what that does, is that call's alone. */

import { Readable } from 'node:stream';
import ava, { type ExecutionContext } from 'ava';
import {
  type CallOptions,
  type Client,
  CommandError,
  createServer,
  ProgressOutput,
  TextOutput,
} from '../../src/index.ts';
import { OUTPUT_NAMES, output } from '../fixtures/mistakes.ts';
import { dial, failure, reach, type Serving, serve, serving } from '../helpers/serving.ts';

const test = ava.serial;
const LANE = {
  module: new URL('../fixtures/mistakes.ts', import.meta.url),
  export: 'handlers',
  options: { prefix: '' },
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

let running: Serving;
let client: Client;
test.before(async () => {
  running = await serve({
    commands: {
      async *talk() {
        yield new TextOutput('a line\n');
        yield new ProgressOutput(1, 2, 'half');
        yield 'the ';
        await turn();
        yield new TextOutput('another line\n');
        yield 'body';
      },
      async *count({ data }) {
        const all: number[] = [];
        for await (const piece of data) all.push(...piece);
        yield JSON.stringify(all);
      },
      argument: ({ args }) => JSON.stringify([...(args.get('value') as Uint8Array)]),
      innocent: LANE,
      hello: () => 'hello',
      async *lines() {
        yield new TextOutput('100 % of %s, 50 %%\n');
        yield new TextOutput('one ', { format: '%s ', labels: ['em'], args: ['two'] }, 'é\n');
      },
    },
  });
  client = await reach(running.address);
});
test.after.always(async () => {
  await client.close();
  await running.server.close(0);
});

/** Does `work` while another call goes on, which has to come out right, as has one that comes after. */
async function beside(t: ExecutionContext, work: () => Promise<unknown>): Promise<void> {
  const done = Promise.withResolvers<void>();
  const innocent = client.call('innocent', {
    data: (async function* () {
      yield 'before, ';
      await done.promise;
      yield 'after';
    })(),
  });
  await work();
  done.resolve();
  t.is(await innocent.text(), 'before, after');
  t.is(await client.call('hello').text(), 'hello');
}

const broken = (): never => {
  throw new Error('a mistake');
};
const nothing = (): never => {
  throw undefined;
};

const CALLBACKS: Record<string, () => unknown> = {
  throws: broken,
  rejects: async () => broken(),
  'throws nothing': nothing,
  'rejects with nothing': () => Promise.reject(),
  'gives a thenable that throws': () => Object.defineProperty({}, 'then', { get: broken }),
};
for (const [what, callback] of Object.entries(CALLBACKS)) {
  for (const name of ['onText', 'onProgress']) {
    test(`an ${name} that ${what} fails its own call alone`, (t) =>
      beside(t, async () => {
        const error = await failure(client.call('talk', { [name]: callback }).text());
        t.true(error instanceof Error);
        t.regex(error.message, /a mistake|not an Error was thrown: undefined/);
      }));
  }
}

test('text of strings is shown as it is, with atoms beside it', async (t) => {
  const lines: string[] = [];
  await client.call('lines', { onText: (line) => lines.push(line) }).bytes();
  t.deepEqual(lines, ['100 % of %s, 50 %%\n', 'one two é\n']);
});

test('a callback that rejects when its call is over disturbs nobody', (t) =>
  beside(t, async () => {
    const late = Promise.withResolvers<void>();
    const text = await client.call('talk', { onText: () => late.promise as unknown as undefined }).text();
    t.is(text, 'the body');
    late.reject(new Error('too late'));
    await turn();
  }));

test('no callback is called for a call that one of them has ended', (t) =>
  beside(t, async () => {
    const lines: string[] = [];
    const onText = (line: string) => {
      lines.push(line);
      broken();
    };
    await failure(client.call('talk', { onText }).text());
    await client.ping();
    t.deepEqual(lines, ['a line\n']);
  }));

const iterable = (next: unknown, more: object = {}) => ({
  [Symbol.asyncIterator]: () => ({ next, ...more }),
});
const transfer = (bytes: Uint8Array) =>
  structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });

/** Data that is none, with what the call fails with. */
const NO_DATA: Record<string, [make: () => unknown, message: RegExp]> = {
  'a number': [() => 7, /^command data is made of .*, not of a number$/],
  null: [() => null, /not of null$/],
  'an object': [() => ({}), /not of an object$/],
  'a function': [() => () => 'text', /not of a function$/],
  'pieces of numbers': [() => [7], /not of a number$/],
  'pieces of null': [() => [null], /not of null$/],
  'pieces of arrays': [() => [[1, 2]], /not of an array$/],
  'a stream of numbers': [() => ReadableStream.from([7]), /not of a number$/],
  'a stream of objects': [() => Readable.from([{}]), /not of an object$/],
  'an iterator that throws': [() => iterable(broken), /^a mistake$/],
  'an iterator that throws nothing': [() => iterable(nothing), /undefined/],
  'an iterator that gives undefined': [() => iterable(async () => undefined), /undefined/],
  'an iterator without next': [() => iterable(7), /not a function/],
  'no iterator': [() => ({ [Symbol.asyncIterator]: () => 7 }), /not an object/],
  'a getter that throws': [
    () => Object.defineProperty({}, Symbol.asyncIterator, { get: broken }),
    /a mistake/,
  ],
  'a piece whose type throws': [() => [new Proxy({}, { get: broken, getPrototypeOf: broken })], /a mistake/],
  'an iterator that throws in the middle': [
    async function* () {
      yield 'x';
      await turn();
      throw Object.freeze({ broken: true });
    },
    /^not an Error was thrown: \{"broken":true\}$/,
  ],
  'bytes that are gone': [
    () => {
      const bytes = new Uint8Array(9);
      transfer(bytes);
      return bytes;
    },
    /their buffer was transferred/,
  ],
  'bytes that go while they are sent': [
    () => {
      const bytes = new Uint8Array(1 << 20);
      setImmediate(() => transfer(bytes));
      return (async function* () {
        yield bytes;
      })();
    },
    /transferred or shrunk before they were sent/,
  ],
};
for (const [what, [make, message]] of Object.entries(NO_DATA)) {
  test(`command data that is ${what} fails its own call alone`, (t) =>
    beside(t, async () => {
      const error = await failure(client.call('count', { data: make() as CallOptions['data'] }).text());
      t.true(error instanceof Error);
      t.regex(error.message, message);
    }));
}

test('a data iterator whose return throws, or that never ends, disturbs nobody', (t) =>
  beside(t, async () => {
    for (const end of [broken, nothing, () => new Promise<never>(() => undefined)]) {
      const endless = iterable(async () => ({ value: 'x'.repeat(100_000) }), { return: end });
      const response = client.call('innocent', { data: endless as CallOptions['data'] });
      for await (const _piece of response) break;
      t.is(await client.call('hello', { data: endless as CallOptions['data'] }).text(), 'hello');
    }
  }));

// A rejection that nobody deals with would end a process, and ends this one's run.
test('a promise in place of a value is refused, and that it rejects later disturbs nobody', (t) =>
  beside(t, async () => {
    const promised = () => Promise.reject(new Error('too late'));
    const topic = running.server.topic('promised');
    for (const call of [
      client.call('count', { data: promised() as unknown as string }).text(),
      client.call('hello', { args: { a: promised() as unknown as string } }).text(),
      client.publish('promised', promised() as unknown as string),
    ])
      t.regex((await failure(call)).message, /made of .* not of an object$/);
    t.throws(() => topic.publish(promised() as unknown as string), { message: /not of an object$/ });
    await turn();
  }));

test('what watches a call or a connection and rejects, or is nonsense, disturbs nobody', async (t) => {
  const rejects = () => Promise.reject(new Error('of who watches'));
  const end = rejects as unknown as () => void;
  const traces: unknown[] = [rejects, () => null, () => 7, () => ({ end }), () => ({ traceparent: 7, end })];
  traces.push(() => Object.defineProperty({ end }, 'traceparent', { get: broken }));
  const logged: string[] = [];
  const { error } = console;
  console.error = (...line) => logged.push(line.join(' '));
  t.teardown(() => {
    console.error = error;
  });
  for (const call of traces) {
    const watched = await reach(running.address, { tracing: { call: call as () => undefined } });
    watched.on('closed', rejects as unknown as () => void);
    t.is(await watched.call('hello').text(), 'hello');
    await watched.close();
  }
  await turn();
  t.is(logged.length, traces.length);
  t.true(logged.every((line) => line === "millrace: a listener for 'closed' threw: Error: of who watches"));
});

const NODE_NAMES: Record<string, () => unknown> = {
  'Node stream': () => Readable.from([Buffer.from([1, 2]), Buffer.from([3, 4])]),
  'Node stream of text': () => Readable.from(['\x01\x02', '\x03\x04']),
  'array of pieces': () => [Uint8Array.of(1), '\x02', Uint8Array.of(3, 4).buffer],
  'sync generator': function* () {
    yield Uint8Array.of(1, 2);
    yield new DataView(Uint8Array.of(3, 4).buffer);
  },
};
const DATA: [string, () => unknown][] = [
  ...OUTPUT_NAMES.map((name): [string, () => unknown] => [name, () => output(name)]),
  ...Object.entries(NODE_NAMES),
];
for (const [name, make] of DATA) {
  test(`command data that is a ${name} arrives as the bytes it is, whole and as a piece`, async (t) => {
    const whole = client.call('count', { data: make() as CallOptions['data'] });
    t.is(await whole.text(), '[1,2,3,4]');
    const nested = name === 'array of pieces' || name === 'sync generator' ? undefined : make();
    if (nested === undefined) return;
    const pieces = (async function* () {
      yield Uint8Array.of(0);
      yield nested;
      yield '\x05';
    })();
    t.is(await client.call('count', { data: pieces }).text(), '[0,1,2,3,4,5]');
  });
}

test('an event that never happens is said to be none', (t) => {
  t.throws(() => client.on('close' as 'closed', () => undefined), {
    instanceOf: TypeError,
    message: "there is no event 'close', only goaway, closed",
  });
});

test('a deadline that is longer than any server can take is as long as one can be', async (t) => {
  for (const deadlineMs of [Number.MAX_SAFE_INTEGER, 1e300])
    t.is(await client.call('hello', { deadlineMs }).text(), 'hello');
});

test('an argument of any buffer or view is the bytes it is', async (t) => {
  for (const name of OUTPUT_NAMES.filter((each) => !/Blob|ReadableStream|iterable/.test(each))) {
    const value = output(name) as string;
    t.is(await client.call('argument', { args: { value } }).text(), '[1,2,3,4]', name);
  }
  const error = await failure(client.call('argument', { args: { value: output('Blob') as string } }).text());
  t.true(error instanceof TypeError);
});

test('a command that is more than its server takes fails alone, and says which limit', (t) =>
  beside(t, async () => {
    const many = (count: number, size: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`name${i}`, 'v'.repeat(size)]));
    for (const [command, options, limit] of [
      ['h'.repeat(256), {}, 'maxCommandName'],
      ['é'.repeat(128), {}, 'maxCommandName'],
      ['hello', { args: many(129, 1) }, 'maxArguments'],
      ['hello', { args: many(127, 1), sensitive: true, deadlineMs: 60_000 }, 'maxArguments'],
      ['hello', { args: many(17, 65_000) }, 'maxArgumentBytes'],
    ] as const) {
      const error = await failure(client.call(command, options).text());
      t.true(error instanceof RangeError);
      t.true(error.message.startsWith(limit), error.message);
    }
    t.is(
      await client.call('hello', { args: many(126, 1), sensitive: true, deadlineMs: 60_000 }).text(),
      'hello',
    );
    t.regex((await failure(client.call('h'.repeat(255)).text())).message, /^unknown command/);
  }));

test('a command may have as much as its server says that it takes', async (t) => {
  const value = (bytes: number) => ({ args: { value: 'v'.repeat(bytes) } });
  const commands = { hello: () => 'hello' };
  const { address } = await serving(t, { commands, limits: { maxArguments: 300, maxArgumentBytes: 20 } });
  const own = await dial(t, address);
  t.is(await own.call('hello', value(15)).text(), 'hello');
  t.regex((await failure(own.call('hello', value(16)).text())).message, /^maxArgumentBytes: .* 20 /);
  const more = await serving(t, { commands, limits: { maxArguments: 300 } });
  const args = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${i}`, '']));
  t.is(await (await dial(t, more.address)).call('hello', { args }).text(), 'hello');
});

test('arguments and options that are a Map, or something else to iterate, are no names with values', (t) =>
  beside(t, async () => {
    for (const wrong of [
      new Map([['value', 'x']]),
      new URLSearchParams('value=x'),
      new Set(['x']),
      ['x'],
      new Uint8Array(1),
    ]) {
      const errors = [
        await failure(client.call('hello', { args: wrong as never }).text()),
        await failure(client.call('hello', wrong as never).text()),
        await t.throwsAsync(async () => createServer({ limits: wrong as never })),
        await t.throwsAsync(async () => createServer(wrong as never)),
      ];
      for (const error of errors) t.regex(`${error}`, /TypeError: .*an (iterable|array)/);
    }
  }));

const REASONS: Record<string, unknown> = {
  undefined: undefined,
  null: null,
  'a number': 7,
  'a string': 'enough',
  'a symbol': Symbol('enough'),
  'an object': Object.freeze({ enough: true }),
  'what cannot be a string': {
    toString: broken,
    get message() {
      return broken();
    },
  },
  'what has no prototype': Object.create(null),
  'a proxy that throws': new Proxy({}, { get: broken, getPrototypeOf: broken }),
  'an Error': new RangeError('enough'),
};
for (const [what, reason] of Object.entries(REASONS)) {
  test(`a signal whose reason is ${what} ends its own call alone, before it and in it`, (t) =>
    beside(t, async () => {
      const early = await failure(client.call('hello', { signal: AbortSignal.abort(reason) }).text());
      const controller = new AbortController();
      const response = client.call('innocent', {
        data: iterable(() => new Promise(() => undefined)) as never,
        signal: controller.signal,
      });
      const failed = failure(response.text());
      await client.ping();
      controller.abort(reason);
      const late = await failed;
      const cancelled = client.call('innocent', {
        data: iterable(() => new Promise(() => undefined)) as never,
      });
      cancelled.cancel(reason);
      for (const error of [early, late, await failure(cancelled.text())]) {
        t.true(error instanceof Error);
        if (what === 'an Error') t.is(error, reason as Error);
      }
      if (what === 'a string') t.true(late instanceof CommandError && late.message === 'enough');
    }));
}

test('options whose getters throw, and a signal that is none, fail their own call alone', (t) =>
  beside(t, async () => {
    const trap = (name: string) => Object.defineProperty({}, name, { get: broken, enumerable: true });
    for (const options of [
      trap('signal'),
      trap('args'),
      trap('data'),
      trap('deadlineMs'),
      { signal: 7 },
      { signal: {} },
      { signal: { addEventListener: () => undefined, aborted: true } },
      { args: trap('name') },
    ]) {
      t.true((await failure(client.call('count', options as CallOptions).text())) instanceof Error);
    }
  }));

test('a command has any name in UTF-8, and is the same by frames and by HTTP', async (t) => {
  const commands = { été: () => 'summer', '\ufeffété': () => 'with a mark' };
  const { address, port } = await serving(t, { commands });
  for (const [name, says] of Object.entries(commands)) {
    t.is(await (await dial(t, address)).call(name).text(), says());
    const answer = await fetch(`http://127.0.0.1:${port}/rpc/${encodeURIComponent(name)}`, {
      method: 'POST',
    });
    t.is(await answer.text(), says());
  }
  t.is((await failure((await dial(t, address)).call('hiver à').text())).message, "unknown command 'hiver à'");
});

const UNTOLD: [string, number, number][] = [
  ['maxIncomingStreams', 15, 16],
  ['maxDecodedSize', (1 << 20) - 1, 1 << 20],
  ['maxDecodedRatio', 999, 1000],
  ['maxMessage', (1 << 20) - 1, 1 << 20],
  ['maxEmptyDataFrames', 99, 100],
  ['maxStreamBegins', 999_999, 1_000_000],
  ['maxPayload', 255, 256],
  ['maxWindowSize', 1023, 1024],
];
for (const [limit, little, least] of UNTOLD) {
  test(`a client's ${limit} is not less than an honest server can keep to`, async (t) => {
    const refused = await failure(reach(running.address, { limits: { [limit]: little } }));
    t.regex(refused.message, new RegExp(`limits\\.${limit}.*from ${least} on`));
    const own = await dial(t, running.address, { limits: { [limit]: least } });
    t.is(await own.call('hello').text(), 'hello');
  });
}
