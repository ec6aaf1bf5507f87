/** An option that is misspelt or of the wrong kind is an error that says so, wherever options are given. */

import test from 'ava';
import { connectOver } from '../../src/browser.ts';
import {
  CommandError,
  type ConnectOptions,
  type ConnectPoolOptions,
  connect,
  connectPool,
  createServer,
  DEFAULT_LIMITS,
  memoryPair,
  pull,
  type ServerOptions,
} from '../../src/index.ts';
import { nearest } from '../../src/options/nearest.ts';
import { dial, LONG, PATIENT_POOL, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

const where = { port: 1 };
const call = () => undefined;

const SERVER: [string, unknown, RegExp][] = [
  ['policy', { policy: 'foo' }, /^option policy: 'foo' is not allowed, only 'shared', .* or a function$/],
  ['policy, nearly', { policy: 'afinity' }, /did you mean 'affinity'\?/],
  ['no object', 'fast', /^createServer takes an object with options, not 'fast'$/],
  ['null', null, /^createServer takes an object/],
  [
    'an unknown name',
    { worker: 2 },
    /^option worker: createServer takes no such option, did you mean 'workers'\?/,
  ],
  [
    'null for a value',
    { workers: null },
    /^option workers: null is not allowed, only an integer from 1 to 256$/,
  ],
  ['a number as text', { workers: '2' }, /^option workers: '2' is not/],
  ['NaN', { coalesceMs: Number.NaN }, /^option coalesceMs: NaN/],
  ['a switch as text', { halfDuplex: 'no' }, /^option halfDuplex: 'no' is not allowed, only true or false$/],
  ['a limit', { limits: { maxPayloads: 5 } }, /^option limits\.maxPayloads: .* did you mean 'maxPayload'\?/],
  ['record', { record: { path: 'a', maxByte: 5 } }, /^option record\.maxByte: .*'maxBytes'/],
  ['record without a path', { record: {} }, /^option record\.path: missing$/],
  [
    'resourceLimits',
    { resourceLimits: { maxOldGenerationSize: 5 } },
    /did you mean 'maxOldGenerationSizeMb'\?/,
  ],
  ['quarantine', { quarantine: { death: 1 } }, /^option quarantine\.death: .* did you mean 'deaths'\?/],
  [
    'deaths of a quarantine',
    { quarantine: { deaths: 0 } },
    /^option quarantine\.deaths: 0 is not allowed, only an integer from 1 to 1000$/,
  ],
  ['tls', { tls: { requestCerts: true } }, /^option tls\.requestCerts: .* did you mean 'requestCert'\?/],
  ['a switch of tls', { tls: { requestCert: 'yes' } }, /^option tls\.requestCert: 'yes' is not allowed/],
  ['what tls must leave to us', { tls: { pauseOnConnect: false } }, /^option tls\.pauseOnConnect: /],
  ['a codec module', { codecs: [{ url: 'x', export: 'y' }] }, /^option codecs\.0\.codecs: missing$/],
  ['codecs', { codecs: {} }, /^option codecs: an object is not allowed, only an array of codec modules$/],
  ['authorize', { authorize: true }, /^option authorize: true is not allowed, only a function$/],
  [
    'a command',
    { commands: { a: 5 } },
    /^command 'a' is neither a function nor names a handler or a module, but 5$/,
  ],
  [
    'a command with a typo',
    { commands: { a: { handler: call, sensetive: true } } },
    /^option commands\.a\.sensetive: commands\.a takes no such option, did you mean 'sensitive'\?/,
  ],
  [
    'a handler with a typo',
    { commands: { a: { handlr: call } } },
    /^option commands\.a\.handlr: commands\.a .* did you mean 'handler'\?/,
  ],
  [
    'a mode',
    { commands: { a: { handler: call, mode: 'r' } } },
    /^option commands\.a\.mode: 'r' is not allowed, only 'ro', 'rw'/,
  ],
  [
    'an export of a handler',
    { commands: { a: { handler: call, export: 'b' } } },
    /^option commands\.a\.export: /,
  ],
  ['a handler and a module', { commands: { a: { handler: call, module: 'b' } } }, /one or the other$/],
  ['a command without a name', { commands: { '': call } }, /no name/],
  ['a name that is not UTF-8', { commands: { 'a\ud800': call } }, /^the name of command 'a.' is not UTF-8$/],
  [
    'a module beside one of ours',
    { commands: { a: { module: './handlers.js' } } },
    /^option commands\.a\.module: '\.\/handlers\.js' is not allowed, only a URL, such as new URL\(/,
  ],
  [
    'options that no worker can be given',
    { commands: { a: { module: 'b', options: { call } } } },
    /^option commands\.a\.options: they cannot be cloned for a worker: /,
  ],
  [
    'a heap that no worker can begin in',
    { resourceLimits: { maxOldGenerationSizeMb: 2 } },
    /a number from 8 on$/,
  ],
  ['a stack that no worker can begin on', { resourceLimits: { stackSizeMb: 0.1 } }, /a number from 1 on$/],
  ['a root that is nothing, which is no folder', { root: '' }, /^option root: '' is not allowed/],
  [
    'an origin with a path',
    { http: { origins: ['https://app.example/'] } },
    /^option http\.origins\.0: 'https:/,
  ],
  [
    'an origin that is a host',
    { http: { origins: ['*', 'app.example'] } },
    /^option http\.origins\.1: 'app\./,
  ],
  [
    'an origin with its own port',
    { http: { origins: ['https://app.example:443'] } },
    /^option http\.origins\.0: 'https:/,
  ],
];

test('origins are what browsers send', async (t) => {
  const origins = ['*', 'null', 'https://app.example', 'http://localhost:8080', 'chrome-extension://abcdef'];
  await t.notThrowsAsync(createServer({ workers: 1, http: { origins } }).close(0));
});

test('a CommandError with an option that there is not is none', (t) => {
  t.throws(() => new CommandError('no', { cod: 'dry' } as object), {
    instanceOf: TypeError,
    message: "CommandError takes no option 'cod', only code, data, notStarted and cause",
  });
  t.is(new CommandError('no', { cause: t }).cause, t);
});

for (const [name, options, message] of SERVER) {
  test(`createServer: ${name}`, (t) => {
    const error = t.throws(() => createServer(options as ServerOptions), { instanceOf: TypeError });
    t.regex(error.message, message);
  });
}

const CONNECT: [string, unknown, unknown, RegExp][] = [
  ['no place', undefined, {}, /^connect takes an object with options, not undefined$/],
  ['no port', { host: 'here' }, {}, /^option port: missing/],
  [
    'a port as text',
    { port: '80' },
    {},
    /^option port: '80' is not allowed, only an integer from 1 to 65535$/,
  ],
  ['a port that is none', { port: 65_536 }, {}, /^option port: /],
  ['a port and a path', { port: 1, path: 'x' }, {}, /^option path: /],
  ['a place with a typo', { hots: 'x', port: 1 }, {}, /^option hots: .* did you mean 'host'\?/],
  ['a unit forgotten', where, { timeout: 5 }, /^option timeout: .* did you mean 'timeoutMs'\?/],
  [
    'profiles',
    where,
    { profiles: ['zstd-8m'] },
    /^option profiles\.0: 'zstd-8m' .* did you mean 'zstd-8mb'\?/,
  ],
  ['encodeData', where, { encodeData: 'zstd' }, /^option encodeData: 'zstd' .* did you mean 'zstd-8mb'\?/],
  [
    'encodeData that nothing portable encodes',
    where,
    { codecs: 'portable', encodeData: 'zstd-8mb' },
    /^option encodeData: 'zstd-8mb' is not allowed, only 'zlib', 'identity'$/,
  ],
  [
    'a host and a port in one text',
    '127.0.0.1:1',
    {},
    /^option address: '127\.0\.0\.1:1' .* or \{ host, port \}/,
  ],
  [
    'a URL of another kind',
    new URL('http://127.0.0.1:1/'),
    {},
    /^option address: 'http:.* ws:\/\/ or wss:\/\//,
  ],
  [
    'a URL of another kind with secrets, which are not shown',
    'https://user:secret@a.example/rpc?token=secret#secret',
    {},
    /^option address: 'https:\/\/a\.example\/rpc' is not allowed/,
  ],
  ['a URL that ends in a fragment', 'ws://127.0.0.1:1/#here', {}, /^option address: .* no fragment \(#…\)$/],
  ['headers that go nowhere', where, { headers: { cookie: 'a' } }, /^option headers: only a WebSocket /],
  ['tls that there is none of', 'ws://127.0.0.1:1/', { tls: {} }, /^option tls: ws:\/\/ is without it/],
  ['codecs', where, { codecs: 'natve' }, /^option codecs: 'natve' .* did you mean 'native'\?/],
  ['a window', where, { requestWindow: 0 }, /^option requestWindow: 0 is not allowed/],
  [
    'limits',
    where,
    { limits: { maxpayload: 1 } },
    /^option limits\.maxpayload: .* did you mean 'maxPayload'\?/,
  ],
  ['tls', where, { tls: { rejectUnauthorised: false } }, /did you mean 'rejectUnauthorized'\?/],
  ['tls with a place', where, { tls: { host: 'x' } }, /^option tls\.host: /],
  ['tls as a switch', where, { tls: true }, /^option tls: true is not allowed, only an object$/],
];

for (const [name, place, options, message] of CONNECT) {
  test(`connect: ${name}`, async (t) => {
    // Nothing listens there, and nothing is asked whether it does.
    const target = place === where ? { port: 1 } : place;
    const error = await t.throwsAsync(connect(target as typeof where, options as ConnectOptions), {
      instanceOf: TypeError,
    });
    t.regex(error.message, message);
  });
}

test('connect and connectPool take the URL of a WebSocket as text and as a URL', async (t) => {
  const { port } = await serving(t);
  const url = new URL(`ws://127.0.0.1:${port}/`);
  for (const address of [url, url.href]) {
    const client = await connect(address);
    t.is(await client.call('ping').text(), 'pong');
    await client.close();
    const pool = connectPool([address]);
    t.is(await pool.call('ping').text(), 'pong');
    await pool.close();
  }
});

test('connectOver has the rules of connect, but for what only Node.js has', async (t) => {
  const transport = {} as never;
  await t.throwsAsync(connectOver(transport, { tls: {} } as never), { message: /^option tls: connectOver/ });
  await t.throwsAsync(connectOver(transport, { palin: true } as never), {
    message: /did you mean 'plain'\?/,
  });
});

const POOL: [string, unknown, unknown, RegExp][] = [
  ['a typo', where, { siez: 1 }, /^option siez: connectPool takes no such option, did you mean 'size'\?/],
  ['a bound', where, { size: 1025 }, /^option size: 1025 is not allowed, only an integer from 1 to 1024$/],
  [
    'its connections',
    where,
    { connect: { timeout: 5 } },
    /^option connect\.timeout: .* did you mean 'timeoutMs'\?/,
  ],
  ['a signal', where, { connect: { signal: AbortSignal.abort() } }, /^option connect\.signal: /],
  ['an address', [where, { prot: 1 }], {}, /^option prot: connectPool .* did you mean 'port'\?/],
];

for (const [name, place, options, message] of POOL) {
  test(`connectPool: ${name}`, (t) => {
    const error = t.throws(() => connectPool(place as typeof where, options as ConnectPoolOptions), {
      instanceOf: TypeError,
    });
    t.regex(error.message, message);
  });
}

test('close(), accept() and memoryPair() refuse what they do not know', async (t) => {
  const { server, address } = await serving(t);
  const [near] = memoryPair();
  t.throws(() => server.accept(near, { remot: 'x' } as never), { message: /did you mean 'remote'\?/ });
  t.throws(() => server.accept(near, { remote: 5 } as never), { message: /^option remote: 5/ });
  t.throws(() => server.accept(near, { principal: 'me' } as never), { message: /^option principal: / });
  t.throws(() => memoryPair({ highWatermark: 1 } as never), { message: /did you mean 'highWaterMark'\?/ });
  const client = await dial(t, address);
  t.throws(() => client.close({ grace: 5 } as never), { message: /did you mean 'graceMs'\?/ });
  t.throws(() => server.close({ graceMs: '5' } as never), { message: /^option graceMs: '5'/ });
});

const CALLS: [string, unknown, RegExp][] = [
  ['a typo', { sensetive: true }, /^option sensetive: call takes no such option, did you mean 'sensitive'\?/],
  ['a switch as text', { sensitive: 'yes' }, /^option sensitive: 'yes' is not allowed/],
  ['a signal that is none', { signal: new AbortController() }, /^option signal: .* only an AbortSignal$/],
  ['a deadline as text', { deadlineMs: '5' }, /^option deadlineMs: '5'/],
  ['a deadline that is none', { deadlineMs: Number.NaN }, /^option deadlineMs: NaN/],
  ['a callback', { onText: 'log' }, /^option onText: 'log' is not allowed, only a function$/],
  ['arguments', { args: [['a', 'b']] }, /^option args: an array/],
  ['no object', 'x', /^call takes an object with options, not 'x'$/],
  ['null', null, /^call takes an object with options, not null$/],
];

test('call() never throws: a mistake in its options is in the response, and nothing is sent', async (t) => {
  let calls = 0;
  const { address } = await serving(t, { commands: { count: () => String(++calls) } });
  const client = await dial(t, address);
  for (const [name, options, message] of CALLS) {
    const response = client.call('count', options as never);
    const error = await t.throwsAsync(response.text(), { instanceOf: TypeError }, name);
    t.regex(error.message, message, name);
    t.is(response.requestId, 0);
  }
  await t.throwsAsync(client.call(undefined as never).text(), { message: /name is a string, not undefined/ });
  const fine = { args: undefined, signal: undefined, sensitive: undefined, deadlineMs: LONG };
  t.is(await client.call('count', fine).text(), '1');
});

test('a mistake in the options of a call fails it alone in a pool, too', async (t) => {
  let calls = 0;
  const { address } = await serving(t, { commands: { count: () => String(++calls) } });
  const pool = connectPool(address, PATIENT_POOL);
  t.teardown(() => pool.destroy());
  const broken = {
    get sensitive(): boolean {
      throw new TypeError('option sensitive: theirs');
    },
  };
  const mistakes: typeof CALLS = [
    ...CALLS,
    ['a getter that throws', broken, /theirs$/],
    ['again', { idempotent: 1 }, /^option idempotent: 1 is not allowed/],
  ];
  for (const [name, options, message] of mistakes) {
    const error = await t.throwsAsync(pool.call('count', options as never).text(), undefined, name);
    t.regex(error.message, message, name);
  }
  await t.throwsAsync(pool.call(undefined as never).text(), { message: /name is a string, not undefined/ });
  t.is(pool.stats().calls.waiting, 0);
  t.is(await pool.call('count', { idempotent: true }).text(), '1');
});

test('a secret is in no message, even when it is no text', async (t) => {
  const { address } = await serving(t);
  const authorization = Buffer.from('secret') as never;
  const error = await t.throwsAsync(connect(address, { authorization }), {
    message: /^option authorization: /,
  });
  t.notRegex(error.message, /secret/);
});

const PLACES: [unknown, RegExp][] = [
  [{ fd: '3' }, /^option fd: '3' is not allowed/],
  [{ fd: 3, port: 0 }, /^option port: listen on a descriptor takes no such option/],
  [{ port: '7711' }, /^option port: '7711' is not allowed, only an integer from 0 to 65535$/],
  [{ port: -1 }, /^option port: /],
  [{ hostname: '::1' }, /^option hostname: .* did you mean 'host'\?/],
  [{ path: '' }, /^option path: /],
  [{ path: 'x', port: 0 }, /^option path: /],
  [7711, /^listen takes an object/],
];

test('listen() refuses what it does not know, and can be asked again', async (t) => {
  const server = createServer({ workers: 1 });
  t.teardown(() => server.close());
  for (const [place, message] of PLACES) {
    const error = await t.throwsAsync(server.listen(place as never), { instanceOf: TypeError });
    t.regex(error.message, message);
    t.is(server.address, undefined);
  }
  t.true('port' in (await server.listen({ port: 0 })));
});

test('pull() refuses what it does not know before it touches anything', async (t) => {
  const client = { call: () => t.fail() } as never;
  const refused = (options: unknown) => t.throwsAsync(pull(client, '/nowhere/at/all', options as never));
  t.regex((await refused({ inflight: 5 })).message, /^option inflight: .* did you mean 'inFlight'\?/);
  t.regex((await refused({ maxBytes: '5' })).message, /^option maxBytes: '5'/);
  t.regex((await refused({ retries: -1 })).message, /^option retries: -1 is not allowed/);
  t.regex((await refused({ path: 5 })).message, /^option path: 5 is not allowed, only a string$/);
  await t.throwsAsync(pull(client, undefined as never), { message: /^option dest: undefined/ });
});

test('an option that is undefined is one that is not given', async (t) => {
  const options = { workers: 1, policy: undefined, limits: { maxPayload: undefined }, tls: undefined };
  const { address } = await serving(t, options as ServerOptions);
  const client = await dial(t, address, { tls: undefined, profiles: undefined } as ConnectOptions);
  t.is(client.serverSettings?.maxFrameSize, DEFAULT_LIMITS.maxPayload);
});

test('the name that was meant is near, or has another unit', (t) => {
  const known = ['workers', 'keepAliveInterval', 'timeoutMs', 'tls', 'sensitive'];
  const meant = [
    'worker',
    'wrokers',
    'KEEPALIVEINTERVAL',
    'keepAlive',
    'timeout',
    'tsl',
    'sensetive',
    'colour',
  ];
  t.deepEqual(
    meant.map((name) => nearest(name, known)),
    [
      'workers',
      'workers',
      'keepAliveInterval',
      'keepAliveInterval',
      'timeoutMs',
      'tls',
      'sensitive',
      undefined,
    ],
  );
  t.is(nearest('x'.repeat(1e6), known), undefined);
});
