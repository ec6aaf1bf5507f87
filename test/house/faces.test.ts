/** What users hold shows what they use, and nothing of the machinery: here to the last member. */

import test, { type ExecutionContext } from 'ava';
import * as browser from '../../src/browser.ts';
import * as node from '../../src/index.ts';
import { dial, serving } from '../helpers/serving.ts';

/**
 * The members of each face. `npm run types` refuses a table that lacks one of the type's, or has one more; the tests
 * below compare it with what is there when the program runs.
 */
const CLIENT: Record<keyof node.Client, true> = {
  call: true,
  [Symbol.asyncDispose]: true,
  close: true,
  closeReason: true,
  closed: true,
  destroy: true,
  on: true,
  ping: true,
  publish: true,
  ready: true,
  serverSettings: true,
  state: true,
  stats: true,
  subscribe: true,
};

const POOL: Record<keyof node.Pool, true> = {
  [Symbol.asyncDispose]: true,
  call: true,
  close: true,
  closed: true,
  destroy: true,
  on: true,
  publish: true,
  ready: true,
  state: true,
  stats: true,
  subscribe: true,
};

const RESPONSE: Record<keyof node.Response, true> = {
  [Symbol.asyncIterator]: true,
  bytes: true,
  cancel: true,
  command: true,
  ended: true,
  json: true,
  over: true,
  requestId: true,
  text: true,
};

const SERVER: Record<keyof node.Server, true> = {
  [Symbol.asyncDispose]: true,
  accept: true,
  address: true,
  attach: true,
  close: true,
  listen: true,
  recorded: true,
  stats: true,
  topic: true,
  update: true,
};

/** Everything that can be named on an object, its own and inherited, but for what every object has. */
function membersOf(object: object): PropertyKey[] {
  const members: PropertyKey[] = [];
  for (let at = object; at !== Object.prototype; at = Object.getPrototypeOf(at))
    members.push(...Reflect.ownKeys(at).filter((key) => key !== 'constructor'));
  return members;
}

function shows(t: ExecutionContext, face: object, table: object): void {
  const sorted = (keys: PropertyKey[]) => keys.map(String).sort();
  t.deepEqual(sorted(membersOf(face)), sorted(Reflect.ownKeys(table)));
}

test('a client, its responses and a server show what users call, and nothing else', async (t) => {
  const { server, address } = await serving(t);
  const client = await dial(t, address);
  const response = client.call('echo', { args: { value: 'x' } });
  shows(t, server, SERVER);
  shows(t, client, CLIENT);
  shows(t, response, RESPONSE);
  t.is(await response.text(), 'x');
  shows(t, response, RESPONSE);
});

test('a pool and its responses show what users call, and nothing else', async (t) => {
  const { address } = await serving(t);
  const pool = node.connectPool(address);
  t.teardown(() => pool.destroy());
  const response = pool.call('echo', { data: 'x' });
  shows(t, pool, POOL);
  shows(t, response, RESPONSE);
  t.is(await response.text(), 'x');
});

test('what the package exports at run time makes these, and lets nobody build them from parts', (t) => {
  t.deepEqual(Object.keys(node).sort(), [
    'CommandError',
    'ConnectionError',
    'DEFAULT_LIMITS',
    'DecodeError',
    'FINISH_BOUND',
    'ProgressOutput',
    'ProtocolError',
    'TextOutput',
    'cached',
    'connect',
    'connectOver',
    'connectPool',
    'createPool',
    'createServer',
    'defineCommands',
    'extraCodecs',
    'memoryPair',
    'pull',
    'records',
  ]);
  t.deepEqual(Object.keys(browser).sort(), [
    'CommandError',
    'ConnectionError',
    'ProtocolError',
    'connect',
    'connectOver',
    'connectPool',
    'createPool',
    'inWorker',
    'memoryPair',
    'records',
  ]);
});
