import test, { type ExecutionContext } from 'ava';
import { failureOf } from '../../src/reactor/failure-of.ts';
import { CommandError } from '../../src/wire/errors.ts';

const INTERNAL = { code: 'internal', message: 'it failed' };

function told(thrown: unknown) {
  const reported: unknown[] = [];
  const failure = failureOf(thrown, INTERNAL.message, (error) => void reported.push(error));
  return { failure, reported };
}

/** Reported, and not told. */
function isInternal(t: ExecutionContext, thrown: unknown): Error {
  const { failure, reported } = told(thrown);
  t.deepEqual(failure, INTERNAL);
  t.is(reported.length, 1);
  t.true(reported[0] instanceof Error);
  return reported[0] as Error;
}

test('a CommandError is told with its code, its message and its data as JSON', (t) => {
  const { failure, reported } = told(
    new CommandError('no such row', { code: 'not-found', data: { row: 7 } }),
  );
  t.deepEqual(failure, { code: 'not-found', message: 'no such row', data: '{"row":7}' });
  t.deepEqual(told(new CommandError('no')).failure, { code: 'internal', message: 'no', data: undefined });
  t.deepEqual(reported, []);
});

test('of anything else nothing is told, and all is reported', (t) => {
  const error = new Error('secret');
  t.is(isInternal(t, error), error);
  t.regex(isInternal(t, 'secret').message, /secret/);
  for (const thrown of [undefined, null, Object.create(null)]) isInternal(t, thrown);
});

test('data that JSON has no word for is left out, and reported where it throws', (t) => {
  const circle: { self?: unknown } = {};
  circle.self = circle;
  const { failure, reported } = told(new CommandError('no', { code: 'x', data: circle }));
  t.deepEqual(failure, { code: 'x', message: 'no', data: undefined });
  t.true(reported[0] instanceof TypeError);
  t.deepEqual(told(new CommandError('no', { data: () => 1 })).reported, []);
});

test('a CommandError whose code was changed to none, or that cannot be read, is no better than another error', (t) => {
  const changed = Object.assign(new CommandError('secret'), { code: 'not a code' });
  t.regex(isInternal(t, changed).message, /code of a CommandError/);
  const broken = Object.defineProperty(new CommandError('secret'), 'code', {
    get() {
      throw new Error('mine');
    },
  });
  t.is(isInternal(t, broken).message, 'mine');
});
