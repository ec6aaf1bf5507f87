/** Commands with schemas: what their handlers get, what fails before they run, and what the compiler knows of both ends. */

import test from 'ava';
import { z } from 'zod';
import {
  type Client,
  CommandError,
  connect,
  createServer,
  defineCommands,
  type Pool,
} from '../../src/index.ts';
import { dial, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

const LANE = new URL('../fixtures/lane-input.ts', import.meta.url);
const SUM = z.object({
  a: z.coerce.number(),
  b: z.string().transform(Number),
  unit: z.enum(['m', 'km']).optional(),
});
/** Arguments of the handlers that ran, of all tests. */
const ran: (string | undefined)[] = [];

const commands = defineCommands({
  plain: (request) => `plain ${request.text('x')} ${request.input satisfies undefined}`,
  sum: {
    args: SUM,
    handler: (request) => {
      ran.push(request.text('a'));
      const { a, b, unit = 'm' } = request.input;
      return JSON.stringify({
        sum: (a satisfies number) + (b satisfies number),
        unit: unit satisfies 'm' | 'km',
      });
    },
  },
  slow: {
    args: z.object({ n: z.string().refine(async (n) => n !== 'bad', 'no good') }),
    async *handler({ input }) {
      yield input.n satisfies string;
    },
  },
  lane: { module: LANE, args: SUM },
  broken: {
    args: z.unknown().transform(() => {
      throw new Error('inner');
    }),
    handler: () => 'never',
  },
});

/** Never called, as the next. */
export async function poolMistakes(pool: Pool<unknown, typeof commands>): Promise<void> {
  pool.call('sum', { args: { a: '1', b: '2' }, idempotent: true });
  // @ts-expect-error no such command
  pool.call('som');
  // @ts-expect-error its arguments are missing
  pool.call('sum', { idempotent: true });
}

/** Never called: `npm run types` refuses it when one of these stops being a mistake. */
export async function mistakes(client: Client<typeof commands>): Promise<void> {
  // @ts-expect-error no such command
  client.call('som');
  // @ts-expect-error its arguments are missing
  client.call('sum');
  // @ts-expect-error one argument is missing
  client.call('sum', { args: { a: '1' } });
  // @ts-expect-error numbers do not travel
  client.call('slow', { args: { n: 1 } });
  // @ts-expect-error an argument that the schema does not know
  client.call('slow', { args: { n: '1', m: '2' } });
  // @ts-expect-error a value that the schema does not know
  client.call('sum', { args: { a: '1', b: '2', unit: 'mile' } });
  // @ts-expect-error an option that there is not
  client.call('plain', { sensetive: true });
  // @ts-expect-error json() is believed, and only that
  (await client.call('sum', { args: { a: '1', b: '2' } }).json<{ sum: number }>()).total;
  const loose: Client = client as never;
  loose.call('anything', { args: { whatever: new Uint8Array(1) } });
  client.call('capabilities');
  client.call('ping');
}

async function typed(t: Parameters<typeof serving>[0]) {
  const errors: unknown[] = [];
  const { address } = await serving(t, { commands, workers: 1, onError: (error) => errors.push(error) });
  const client = await connect<typeof commands>(address);
  t.teardown(() => client.close());
  return { client, errors };
}

test('handlers get what their schema has made of the arguments, on both threads', async (t) => {
  const { client } = await typed(t);
  const args = { a: '1.5', b: '2', unit: 'km' } as const;
  t.deepEqual(await client.call('sum', { args }).json<{ sum: number }>(), { sum: 3.5, unit: 'km' } as never);
  t.deepEqual(await client.call('lane', { args }).json(), { a: 1.5, b: 2, unit: 'km' });
  t.is(await client.call('slow', { args: { n: 'fine' } }).text(), 'fine');
  t.is(await client.call('plain', { args: { x: 'y' } }).text(), 'plain y undefined');
});

test('an argument that is undefined is not given', async (t) => {
  const { client } = await typed(t);
  const unit = undefined as 'km' | undefined;
  const args = { a: '1', b: '2', unit };
  t.deepEqual(await client.call('sum', { args }).json(), { sum: 3, unit: 'm' });
});

test('arguments that a schema does not take fail the request before its handler runs', async (t) => {
  const { client, errors } = await typed(t);
  for (const name of ['sum', 'lane'] as const) {
    const args = { a: 'x', b: '2', unit: 'mile' as never };
    const error = await t.throwsAsync(client.call(name, { args }).text(), { instanceOf: CommandError });
    t.regex(error.message, /^invalid argument: a: .*; unit: /);
    t.is(error.code, 'invalid-argument');
  }
  await t.throwsAsync(client.call('slow', { args: { n: 'bad' } }).text(), {
    message: 'invalid argument: n: no good',
  });
  const bytes = { n: new Uint8Array([0xff]) } as never;
  await t.throwsAsync(client.call('slow', { args: bytes }).text(), { message: /^invalid argument: n: / });
  t.false(ran.includes('x'));
  t.deepEqual(errors, []);
});

test('a schema that throws fails its request, and is reported', async (t) => {
  const { client, errors } = await typed(t);
  await t.throwsAsync(client.call('broken').text(), { code: 'internal', message: /^internal error/ });
  t.regex(String(errors[0]), /inner/);
});

test('what is no schema is refused', (t) => {
  const args = { parse: () => 1 } as never;
  t.throws(() => createServer({ commands: { x: { args, handler: () => '' } } }), {
    message: /^option commands\.x\.args: an object is not allowed, only a Standard Schema/,
  });
});

test('json() says whose response is none', async (t) => {
  const { address } = await serving(t, { commands: { bad: () => '{' } });
  const client = await dial(t, address);
  await t.throwsAsync(client.call('bad').json(), {
    instanceOf: SyntaxError,
    message: /^the response of 'bad' is not JSON/,
  });
});
