/** A mistake of the user's code, whatever it is and whenever it comes, fails its own call and nothing else. */

import ava, { type ExecutionContext } from 'ava';
import { type Client, CommandError, type Response } from '../../src/index.ts';
import { handlers, MISTAKES, OUTPUT_NAMES } from '../fixtures/mistakes.ts';
import {
  dial,
  failure,
  type Report,
  reach,
  type Serving,
  serve,
  servingOnSharedLanes,
} from '../helpers/serving.ts';

const serving = servingOnSharedLanes(ava);

// One after the other, on one connection: its limit on concurrent requests must not make them wait for each other.
const test = ava.serial;
const module = new URL('../fixtures/mistakes.ts', import.meta.url);
const THREADS = ['main', 'lane'] as const;
type Thread = (typeof THREADS)[number];
const on = (thread: Thread, name: string) => (thread === 'main' ? name : `lane-${name}`);

const main = handlers({ prefix: '' });
const options = { prefix: 'lane-' };
const inLanes = Object.fromEntries(
  Object.keys(handlers(options)).map((name) => [name, { module, export: 'handlers', options }]),
);
const commands = { ...main, ...inLanes };

let running: Serving;
let client: Client;
test.before(async () => {
  running = await serve({ commands });
  client = await reach(running.address);
});
test.after.always(async () => {
  await client.close();
  await running.server.close(0);
});

/** A call that goes on beside others until it is told to end, and has to come out right. */
class Innocent {
  readonly #response: Promise<string>;
  #next = Promise.withResolvers<string | undefined>();
  #sent = '';

  constructor(client: Client, command: string) {
    this.#response = client.call(command, { data: this.#data() }).text();
  }

  async *#data(): AsyncGenerator<string> {
    for (;;) {
      const piece = await this.#next.promise;
      if (piece === undefined) return;
      this.#next = Promise.withResolvers();
      yield piece;
    }
  }

  say(piece: string): void {
    this.#sent += piece;
    this.#next.resolve(piece);
  }

  async endsWell(t: ExecutionContext): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#next.resolve(undefined);
    t.is(await this.#response, this.#sent);
  }
}

const innocents = (client: Client) => {
  const both = THREADS.map((thread) => new Innocent(client, on(thread, 'innocent')));
  for (const each of both) each.say('before, ');
  return both;
};

async function unhurt(t: ExecutionContext, both: Innocent[]): Promise<void> {
  for (const each of both) each.say('after');
  for (const each of both) await each.endsWell(t);
}

const reportOf = (command: string) => (report: Report) => report.about.command === command;

for (const thread of THREADS) {
  for (const name of MISTAKES) {
    test(`${thread} thread: a handler that ${name} fails its own call alone`, async (t) => {
      const both = innocents(client);
      const command = on(thread, name);
      const error = await failure(client.call(command).bytes());
      t.true(error instanceof CommandError);
      t.is(error.message, `command '${command}' failed: internal error`);
      const report = await running.reported(reportOf(command));
      t.true(report.error instanceof Error);
      t.is(typeof (report.error as Error).message, 'string');
      await unhurt(t, both);
      t.false(running.reports.some(({ about }) => about.lane !== undefined));
    });
  }

  for (const name of OUTPUT_NAMES) {
    test(`${thread} thread: output that is a ${name} goes out as the bytes it is`, async (t) => {
      const ask = (command: string) => client.call(on(thread, command), { args: { name } }).bytes();
      t.deepEqual([...(await ask('output'))], [1, 2, 3, 4]);
      t.deepEqual([...(await ask('promised output'))], [1, 2, 3, 4]);
      t.deepEqual([...(await ask('output in the middle'))], [97, 1, 2, 3, 4, 122]);
    });
  }

  const ENDS = ['throws', 'throws when it is looked for', 'rejects with nothing', 'never settles'];
  for (const how of ENDS) {
    test(`${thread} thread: an iterator whose return ${how} is its own call's, after the cancel`, async (t) => {
      const both = innocents(client);
      const command = on(thread, 'stopped');
      const response = client.call(command, { args: { how } });
      await started(response);
      response.cancel();
      await unhurt(t, both);
      await client.call(on(thread, 'innocent'), { data: 'a round trip' }).text();
      t.false(running.reports.some(({ about }) => about.lane !== undefined));
    });
  }

  for (const how of ['throws', 'throws as a property', 'throws as an object', 'throws nothing', 'rejects']) {
    test(`${thread} thread: a listener of the signal that ${how} is its own call's`, async (t) => {
      const both = innocents(client);
      const command = on(thread, 'listening');
      const earlier = running.reports.filter(reportOf(command)).length;
      const response = client.call(command, { args: { how } });
      const failed = failure(response.bytes());
      await client.call(on(thread, 'innocent'), { data: 'a round trip' }).text();
      response.cancel();
      t.is((await failed).message, 'cancelled');
      await running.reported(() => running.reports.filter(reportOf(command)).length > earlier);
      t.is(running.reports.filter(reportOf(command)).length, earlier + 1);
      await unhurt(t, both);
    });
  }

  test(`${thread} thread: a handler that rejects with a promise that rejects, after the cancel, disturbs nobody`, async (t) => {
    const both = innocents(client);
    const response = client.call(on(thread, 'late'));
    const failed = failure(response.bytes());
    await client.call(on(thread, 'innocent'), { data: 'a round trip' }).text();
    response.cancel();
    t.is((await failed).message, 'cancelled');
    await unhurt(t, both);
    t.false(running.reports.some(({ about }) => about.lane !== undefined));
  });

  test(`${thread} thread: what a handler does to its arguments is its own call's`, async (t) => {
    const both = innocents(client);
    const response = client.call(on(thread, 'careless'), { args: { a: 'value' } });
    const failed = failure(response.bytes());
    await client.ping();
    response.cancel();
    t.is((await failed).message, 'cancelled');
    await unhurt(t, both);
  });
}

/** Resolves with the first piece of a response, which goes on. */
async function started(response: Response): Promise<void> {
  const { done } = await response[Symbol.asyncIterator]().next();
  if (done) throw new Error('the response is over');
}

const broken = () => {
  throw new Error('secret: broken');
};
const later = async () => broken();

/** Hooks by what they do wrong; each is asked for every command, and misbehaves for those named `bad`. */
const RULES: Record<string, unknown> = {
  throws: broken,
  rejects: later,
  'gives a number': () => 7,
  'gives a symbol': () => Symbol('key'),
  'gives an object that throws': () => Object.defineProperty({}, 'length', { get: broken }),
  'does what it likes to the arguments': (args: Map<string, unknown>) => {
    args.clear();
    args.set('x', null);
    return broken();
  },
};
for (const [what, affinityKey] of Object.entries(RULES)) {
  test(`an affinityKey that ${what} fails its own call alone`, async (t) => {
    const rules = { affinityKey: affinityKey as () => string };
    const lane = { module, export: 'handlers', options: { prefix: 'bad-' } };
    const own = await serving(t, {
      policy: 'affinity',
      commands: { ...commands, bad: { handler: () => 'x', ...rules }, 'bad-output': { ...lane, ...rules } },
    });
    const client = await dial(t, own.address);
    const both = innocents(client);
    for (const command of ['bad', 'bad-output']) {
      const error = await failure(client.call(command, { args: { name: 'string' } }).bytes());
      t.is(error.message, 'internal error: no stream for the response');
      t.true((await own.reported(reportOf(command))).error instanceof Error);
    }
    await unhurt(t, both);
  });
}

const CHOICES: Record<string, () => unknown> = {
  throws: broken,
  'throws nothing': () => {
    throw undefined;
  },
  rejects: later,
  'chooses NaN': () => Number.NaN,
  'chooses -1': () => -1,
  'chooses half a stream': () => 0.5,
  'chooses a huge one': () => 1e300,
  'chooses a symbol': () => Symbol('stream'),
  'chooses an object that throws': () => ({ toString: broken, valueOf: broken }),
};
for (const [what, choose] of Object.entries(CHOICES)) {
  test(`a policy that ${what} fails its own call alone`, async (t) => {
    const own = await serving(t, {
      policy: ({ command }) => (command.endsWith('output') ? (choose() as number) : 0),
      commands,
    });
    const client = await dial(t, own.address);
    const both = innocents(client);
    for (const command of ['output', 'lane-output']) {
      const error = await failure(client.call(command, { args: { name: 'string' } }).bytes());
      t.is(error.message, 'internal error: no stream for the response');
      t.true((await own.reported(reportOf(command))).error instanceof Error);
    }
    await unhurt(t, both);
  });
}

test('a policy cannot take streams away', async (t) => {
  const own = await serving(t, {
    policy: ({ command }, streams) => {
      if (command === 'output') (streams as unknown[]).length = 0;
      return 0;
    },
    commands,
  });
  const client = await dial(t, own.address);
  const both = innocents(client);
  await failure(client.call('output', { args: { name: 'string' } }).bytes());
  await unhurt(t, both);
});

const ANSWERS: Record<string, () => unknown> = {
  throws: broken,
  'rejects with nothing': () => Promise.reject(),
  'gives a thenable that throws': () => Object.defineProperty({}, 'then', { get: broken }),
  'gives an object whose principal throws': () => Object.defineProperty({}, 'principal', { get: broken }),
  'gives a number': () => 1,
};
for (const [what, answer] of Object.entries(ANSWERS)) {
  test(`an authorize hook that ${what} refuses its own call alone`, async (t) => {
    const own = await serving(t, {
      authorize: ({ command, args }) => {
        if (command?.endsWith('output') !== true) return true;
        (args as Map<string, unknown>).set('x', null);
        return answer() as boolean;
      },
      commands,
    });
    const client = await dial(t, own.address);
    const both = innocents(client);
    for (const command of ['output', 'lane-output']) {
      const error = await failure(client.call(command, { args: { name: 'string' } }).bytes());
      t.regex(error.message, /^not authorized/);
    }
    await unhurt(t, both);
  });
}

const unreadable = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const NO_RESULTS: Record<string, () => unknown> = {
  throws: broken,
  'throws what cannot be read': () => {
    throw unreadable();
  },
  'rejects with what cannot be read': () => Promise.reject(unreadable()),
  'throws an error whose code is none': () => {
    throw Object.assign(new CommandError('no'), { code: 7 });
  },
  'gives false, as a predicate does': () => false,
  'gives true': async () => true,
  'gives an object of something else': () => ({ success: false }),
  'gives issues that are none': () => ({ issues: 'many' }),
  'gives nothing': () => undefined,
};
for (const [what, validate] of Object.entries(NO_RESULTS)) {
  test(`a schema that ${what} fails its own call alone`, async (t) => {
    const args = { '~standard': { version: 1, vendor: 'us', validate: validate as () => never } } as const;
    const lane = { module, export: 'handlers', options: { prefix: 'bad-' } };
    const own = await serving(t, {
      commands: { ...commands, bad: { handler: () => 'x', args }, 'bad-output': { ...lane, args } },
    });
    const client = await dial(t, own.address);
    const both = innocents(client);
    for (const command of ['bad', 'bad-output']) {
      const error = await failure(client.call(command, { args: { name: 'string' } }).bytes());
      t.is(error.message, 'internal error: the schema of the arguments failed');
      t.true((await own.reported(reportOf(command))).error instanceof Error);
    }
    await unhurt(t, both);
  });
}

test('a schema says its own codes and data, and needs no words', async (t) => {
  const schema = (validate: () => never) =>
    ({ '~standard': { version: 1, vendor: 'us', validate } }) as const;
  const own = await serving(t, {
    commands: {
      own: {
        handler: () => 'x',
        args: schema(() => {
          throw new CommandError('dry', { code: 'no-water', data: { level: 2 } });
        }),
      },
      silent: { handler: () => 'x', args: schema((() => ({ issues: [] })) as unknown as () => never) },
    },
  });
  const client = await dial(t, own.address);
  const { code, data } = (await failure(client.call('own').bytes())) as CommandError;
  t.deepEqual({ code, data }, { code: 'no-water', data: { level: 2 } });
  t.is((await failure(client.call('silent').bytes())).message, 'invalid argument');
});

const NO_PATHS: Record<string, () => unknown> = {
  throws: broken,
  'gives a number': () => 7,
  'gives one path': () => 'a/b',
  'gives paths that are none': () => [undefined],
  'gives nothing': () => undefined,
};
for (const [what, realPaths] of Object.entries(NO_PATHS)) {
  test(`a realPaths that ${what} refuses its own call alone`, async (t) => {
    const bad = { handler: () => 'x', realPaths: realPaths as () => never };
    const own = await serving(t, { authorize: () => true, commands: { ...commands, bad } });
    const client = await dial(t, own.address);
    const both = innocents(client);
    t.is((await failure(client.call('bad').bytes())).message, 'not authorized');
    t.true((await own.reported(reportOf('bad'))).error instanceof Error);
    await unhurt(t, both);
  });
}

test('what watches requests and rejects, or tells nothing, disturbs nobody', async (t) => {
  const rejects = async () => broken();
  const traces = [rejects, () => null, () => ({ run: (work: () => unknown) => work(), end: rejects })];
  const own = await serving(t, {
    tracing: {
      request: ({ command }) => (command === 'echo' ? (traces.shift()?.() as undefined) : undefined),
    },
    commands,
  });
  const client = await dial(t, own.address);
  const both = innocents(client);
  // The first is no trace, and its handler cannot run within it.
  t.regex((await failure(client.call('echo', { args: { value: 'x' } }).text())).message, /internal error/);
  t.is(await client.call('echo', { args: { value: 'x' } }).text(), 'x');
  t.is(await client.call('echo', { args: { value: 'x' } }).text(), 'x');
  await unhurt(t, both);
});

for (const [what, onError] of Object.entries({
  throws: broken,
  rejects: later,
  'throws nothing': () => Promise.reject(),
})) {
  test(`an onError that ${what} disturbs nobody`, async (t) => {
    const own = await serving(t, { commands, onError: onError as () => void });
    const client = await dial(t, own.address);
    const both = innocents(client);
    for (const thread of THREADS) {
      const error = await failure(client.call(on(thread, 'throws undefined')).bytes());
      t.regex(error.message, /internal error$/);
    }
    await unhurt(t, both);
  });
}
