import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer as createNetServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { parseTarget, showTarget } from '../../src/cli/arguments.ts';
import { bytes, duration, oneLine, plural } from '../../src/cli/show.ts';
import { contents, fill, tempFolder } from '../files/helper.ts';

const MILLRACE = fileURLToPath(new URL('../../src/cli/millrace.ts', import.meta.url));
const SHELL = '/bin/sh';
const DEMO = fileURLToPath(new URL('../../src/cli/demo.ts', import.meta.url));

// One process after the other: many at once only wait for each other, and what is timed then means little.

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

interface Running {
  child: ChildProcess;
  /** What it has printed so far. */
  seen: { out: string; err: string };
  ended: Promise<Ended>;
}

/** Starts `millrace` with these arguments; it does not outlive the test. */
function start(
  t: ExecutionContext<unknown>,
  args: readonly string[],
  input?: string | Uint8Array,
  program = MILLRACE,
  uid?: number,
  env?: NodeJS.ProcessEnv,
): Running {
  const [file, first] = program === SHELL ? [SHELL, []] : [process.execPath, [program]];
  const child = spawn(file, [...first, ...args], { stdio: 'pipe', uid, env });
  t.teardown(() => child.kill('SIGKILL'));
  const seen = { out: '', err: '' };
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    seen.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    seen.err += text;
  });
  child.stdin.on('error', () => {});
  if (input !== undefined) child.stdin.end(input);
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...seen }));
  return { child, seen, ended };
}

function millrace(t: ExecutionContext<unknown>, ...args: string[]): Promise<Ended> {
  return start(t, args, '').ended;
}

/** Waits until a condition holds; what never comes true is better said here than by the runner's timeout. */
async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 4000) throw new Error(`not within 20 seconds: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A server for a new folder with these files. */
async function serve(
  t: ExecutionContext<unknown>,
  files: Readonly<Record<string, string | Uint8Array>>,
  ...options: string[]
) {
  const folder = tempFolder(t);
  const dir = join(folder, 'served');
  mkdirSync(dir);
  fill(dir, files);
  const where = options.includes('--socket') ? [] : ['--port', '0'];
  const server = start(t, ['serve', dir, '--workers', '2', ...where, ...options]);
  await until(() => server.seen.out.includes('\n') || server.child.exitCode !== null);
  const address = / on (\S+) \(/.exec(server.seen.out)?.[1] ?? 'none';
  return { ...server, folder, dir, dest: join(folder, 'dest'), address };
}

/** A server on a free port that does something else than speak our protocol. */
async function rogue(t: ExecutionContext<unknown>, onSocket: (socket: Socket) => void): Promise<string> {
  const server: Server = createNetServer((socket) => {
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

function isOneLine(t: ExecutionContext<unknown>, ended: Ended, code: number, message: RegExp): void {
  t.is(ended.code, code, ended.err);
  t.regex(ended.err, /^millrace: [^\n]+\n$/);
  t.regex(ended.err, message);
  t.is(ended.out, '');
}

const TREE = { 'a.txt': 'text', 'b/c.js': 'code', 'b/large': Buffer.alloc(700_000, 'abcdefgh'), empty: '' };

test('numbers, sizes and times are shown as people read them', (t) => {
  t.deepEqual([0, 1, 999, 1000, 1_234_567, 1e18].map(bytes), [
    '0 bytes',
    '1 bytes',
    '999 bytes',
    '1.00 kB',
    '1.23 MB',
    '1.00e+3 PB',
  ]);
  t.deepEqual([0.25, 2, 59.6, 65, 7260, Infinity].map(duration), [
    '0.25 s',
    '2.0 s',
    '1 min 00 s',
    '1 min 05 s',
    '2 h 01 min',
    '–',
  ]);
  t.is(plural(1, 'file'), '1 file');
  t.is(oneLine(' a\r\n  b\x1b[2J\t'), 'a b\ufffd[2J');
});

test('addresses are HOST:PORT or unix:PATH', (t) => {
  for (const text of ['127.0.0.1:80', '[::1]:7711', 'docs.example:1', 'unix:/run/x']) {
    t.is(showTarget(parseTarget(text)), text);
  }
  t.deepEqual(parseTarget(':80'), { host: '127.0.0.1', port: 80 });
  for (const text of [
    '',
    'host',
    'host:',
    'host:0',
    'host:65536',
    'host:x',
    '::1:80',
    'unix:',
    'http://h:80',
  ]) {
    t.throws(() => parseTarget(text), undefined, text);
  }
});

test.serial('a bench that is ended by a signal leaves no process behind', async (t) => {
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const { child, ended, seen } = start(t, ['bench', 'limit', '--quick'], '');
    await until(() => seen.err.includes('limit'));
    child.kill(signal);
    // Whoever is left would hold the pipes open.
    t.is((await ended).code, code);
  }
});

test.serial('--help says how, everywhere, with examples', async (t) => {
  t.notRegex((await millrace(t, 'experiment', '--help')).out, /\[\]|1000000/);
  for (const command of [[], ['serve'], ['pull'], ['call'], ['frame', 'encode'], ['frame', 'decode']]) {
    const { code, out, err } = await millrace(t, ...command, '--help');
    t.is(code, 0);
    t.is(err, '');
    t.regex(out, /^Usage: millrace/);
    t.regex(out, /\nExamples:\n {2}(millrace|tar|nc) /);
  }
  t.notRegex((await millrace(t, 'frame', '--help')).out, /help \[command\]/);
  t.regex((await millrace(t, '--version')).out, /^\d+\.\d+\.\d+\n$/);
});

test.serial('a mistake gets one line and exit code 2', async (t) => {
  const mistakes: [string[], RegExp][] = [
    [[], /a command is missing/],
    [['frame'], /a command is missing/],
    [['serv'], /unknown command 'serv'.*serve/],
    [['serve'], /missing required argument 'dir'/],
    [['serve', '.', '--prot', '1'], /unknown option '--prot'.*--port/],
    [['serve', '.', 'more'], /too many arguments/],
    [['serve', '.', '--port', '70000'], /from 0 to 65535/],
    [['serve', '.', '--host', ''], /must not be empty/],
    [['serve', ''], /must not be empty/],
    [['pull', ':80', ''], /must not be empty/],
    [['serve', '.', '--record', '/nowhere/capture'], /\/nowhere\/capture: no such file$/m],
    [['serve', '.', '--record', 'package.json'], /package\.json: something else is in its place$/m],
    [['serve', '.', '--profile-from', 'nope.json'], /nope\.json: no such file$/m],
    [['experiment', 'generate:json900', '--grid', 'nope.yaml'], /nope\.yaml: no such file$/m],
    [['experiment', 'generate:json900', '--codecs', 'nope.js'], /cannot load nope\.js: /],
    [['serve', '.', '--profile', 'nope'], /unknown profile 'nope'/],
    [['serve', '.', '--policy', 'nope'], /policy.*shared/],
    [['serve', '.', '--limit', 'nope=1'], /no limit 'nope'/],
    [['serve', '.', '--port', '1', '--socket', 'x'], /cannot be used with/],
    [['serve', '.', '--cache-bytes', '64X'], /number of bytes/],
    [['pull', 'nowhere', 'dest'], /HOST:PORT/],
    [['pull', ':80'], /missing required argument 'dest'/],
    [['call', ':80', 'echo', 'value'], /name=value/],
    [['call', ':80', 'echo', 'a=1', 'a=2'], /'a' is given twice/],
    [['frame', 'encode', '1 1'], /a frame is/],
    [['frame', 'encode', '1 1 0 nope 0 x'], /nope/],
    [['frame', 'decode', 'xyz'], /hexadecimal/],
  ];
  for (const [args, message] of mistakes) isOneLine(t, await millrace(t, ...args), 2, message);
});

test.serial('a frame is encoded to hexadecimal and decoded from it', async (t) => {
  const text = '1 1 stream-begin command-name eos capabilities';
  const hex = '0c000001000101116361706162696c6974696573';
  t.like(await millrace(t, 'frame', 'encode', text), { code: 0, out: `${hex}\n`, err: '' });
  t.like(await millrace(t, 'frame', 'decode', hex), { code: 0, out: `${text}\n`, err: '' });
  t.is(
    (await start(t, ['frame', 'decode'], `${hex}\n${hex}\n`).ended).out,
    `${text}\n${text}\n`,
    'from a pipe',
  );
  t.is((await start(t, ['frame', 'decode'], Buffer.from(hex, 'hex')).ended).out, `${text}\n`, 'raw');
  const raw = await start(t, ['frame', 'encode', '--raw'], `${text}\n`).ended;
  t.is(Buffer.from(raw.out, 'latin1').toString('hex'), hex);
});

test.serial('what is left of a cut frame is an error after the whole ones', async (t) => {
  const { code, out, err } = await millrace(t, 'frame', 'decode', '000000010001011104');
  t.is(code, 1);
  t.is(out, '1 1 stream-begin command-name eos \n');
  t.regex(err, /^millrace: .*1 of 8 bytes\n$/);
});

test.serial('a served folder is pulled, and the next pull has nothing to do', async (t) => {
  const { dir, dest, address, seen } = await serve(t, TREE);
  t.regex(seen.out, /^millrace serves \/.* on 127\.0\.0\.1:\d+ \(2 workers, policy shared, .*\)\n$/);
  const first = await millrace(t, 'pull', address, dest);
  t.is(first.code, 0, first.err);
  t.is(first.err, '');
  t.regex(first.out, /^4 files, 700 kB \(\S+ \S+ on the wire\) in \S+ s\n$/);
  t.deepEqual(contents(dest), contents(dir));
  const second = await millrace(t, 'pull', address, dest, '--json');
  t.is(second.code, 0, second.err);
  t.like(JSON.parse(second.out), { files: 0, bytes: 0, skipped: 4, failed: [] });
  t.is(second.out.split('\n').length, 2);
});

test.serial('a Unix socket serves as well, even where a killed server has left its own', async (t) => {
  const folder = tempFolder(t);
  const socket = join(folder, 'socket');
  const killed = await serve(t, {}, '--socket', socket);
  killed.child.kill('SIGKILL');
  await killed.ended;
  t.true(existsSync(socket));
  const { dir, dest, address } = await serve(t, TREE, '--socket', socket);
  t.is(address, `unix:${socket}`);
  t.is((await millrace(t, 'pull', address, dest)).code, 0);
  t.deepEqual(contents(dest), contents(dir));
  isOneLine(t, await millrace(t, 'serve', dir, '--socket', socket), 1, /in use/);
});

const TLS = fileURLToPath(new URL('../fixtures-limits/tls/', import.meta.url));
const SERVER_TLS = ['--tls-cert', `${TLS}server.pem`, '--tls-key', `${TLS}server.key`];
const [CA, ALICE, STRANGER] = [
  ['--tls-ca', `${TLS}ca.pem`],
  ['--tls-cert', `${TLS}client.pem`, '--tls-key', `${TLS}client.key`],
  ['--tls-cert', `${TLS}stranger.pem`, '--tls-key', `${TLS}stranger.key`],
];

test.serial('a folder is served and pulled over TLS; who does not know the server stops', async (t) => {
  const { address, dir, dest, seen } = await serve(t, TREE, ...SERVER_TLS);
  t.regex(seen.out, /\(TLS, 2 workers/);
  const pulled = await millrace(t, 'pull', address, dest, ...CA);
  t.is(pulled.code, 0, pulled.err);
  t.deepEqual(contents(dest), contents(dir));
  isOneLine(t, await millrace(t, 'pull', address, dest, '--tls'), 1, /cannot connect .*certificate/);
  isOneLine(
    t,
    await millrace(t, 'pull', address, dest),
    1,
    /does not speak the millrace protocol, or wants TLS/,
  );
});

test.serial('with --tls-client-ca only who has a certificate of that authority is served', async (t) => {
  const { address, seen } = await serve(t, TREE, ...SERVER_TLS, '--tls-client-ca', `${TLS}ca.pem`);
  t.regex(seen.out, /\(mutual TLS, 2 workers/);
  const call = (...options: string[]) => millrace(t, 'call', address, 'echo', 'value=inside', ...options);
  t.like(await call(...CA, ...ALICE), { code: 0, out: 'inside' });
  isOneLine(t, await call(...CA), 1, /certificate that it knows/);
  isOneLine(t, await call(...CA, ...STRANGER), 1, /certificate that it knows/);
});

test.serial(
  'files for TLS that are missing, mixed up or nonsense are one line and exit code 2',
  async (t) => {
    const [cert, key] = [`${TLS}server.pem`, `${TLS}server.key`];
    const server = ['serve', tempFolder(t), '--port', '0'];
    const client = ['call', '127.0.0.1:9', 'echo'];
    const cases: [args: string[], message: RegExp][] = [
      [[...server, '--tls-cert', cert], /--tls-cert and --tls-key go together/],
      [[...client, '--tls-key', key], /--tls-cert and --tls-key go together/],
      [[...server, '--tls-client-ca', cert], /--tls-client-ca needs --tls-cert and --tls-key/],
      [[...server, '--tls-cert', `${TLS}none.pem`, '--tls-key', key], /cannot read .*none.pem: no such file/],
      [[...server, '--tls-cert', key, '--tls-key', key], /server.key is no certificate/],
      [[...client, '--tls-cert', cert, '--tls-key', cert], /server.pem is no private key/],
      [
        [...server, '--tls-cert', cert, '--tls-key', `${TLS}client.key`],
        /client.key is not the key of .*server.pem/,
      ],
      [[...client, '--tls-ca', `${TLS}README.md`], /README.md is no certificate/],
    ];
    for (const [args, message] of cases) isOneLine(t, await millrace(t, ...args), 2, message);
  },
);

test.serial('every policy and profile serves the same bytes', async (t) => {
  for (const options of [
    ['--policy', 'affinity', '--streams', '3'],
    ['--policy', 'per-request', '--profile', 'zlib', '--level', '1'],
    ['--policy', 'single', '--profile', 'identity'],
    ['--profile', 'zstd-8mb', '--level', '9', '--window-log', '20', '--cache-bytes', '1M'],
  ]) {
    const { dir, dest, address } = await serve(t, TREE, ...options);
    const { code, err } = await millrace(t, 'pull', address, dest);
    t.is(code, 0, `${options}: ${err}`);
    t.deepEqual(contents(dest), contents(dir));
  }
});

test.serial('a file that cannot be had is one line and exit code 1, the others come', async (t) => {
  const { dest, address } = await serve(t, TREE);
  fill(dest, { 'b/large/in-the-way': '' });
  const { code, out, err } = await millrace(t, 'pull', address, dest);
  t.is(code, 1);
  t.is(err, 'millrace: b/large: a folder is in its place\n');
  t.regex(out, /^3 files, .* 1 failed\n$/);
});

test.serial('more requests than the server allows are not sent at once', async (t) => {
  const files = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${i}`, `content ${i}`]));
  const { dir, dest, address } = await serve(t, files, '--limit', 'maxConcurrentRequests=5');
  const { code, err } = await millrace(t, 'pull', address, dest, '--in-flight', '500');
  t.is(code, 0, err);
  t.deepEqual(contents(dest), contents(dir));
});

test.serial('--limit changes limits of the whole server, too', async (t) => {
  const { address } = await serve(t, TREE, '--limit', 'maxConnections=1', '--limit', 'keepAliveInterval=0');
  const first = connect(Number(address.split(':')[1]), '127.0.0.1');
  t.teardown(() => first.destroy());
  await once(first, 'connect');
  isOneLine(t, await millrace(t, 'call', address, 'files.get', 'path=a.txt'), 1, /protocol/);
});

test.serial('a file that the server cannot read is one line', async (t) => {
  const nobody = 65_534;
  const isRoot = process.getuid?.() === 0;
  const folder = tempFolder(t);
  chmodSync(folder, 0o755);
  fill(folder, { good: 'x', 'sub/secret': 'y', 'dark/file': 'y', secret: 'y' });
  chmodSync(join(folder, 'secret'), 0);
  chmodSync(join(folder, 'dark'), 0o444); // its names can be read, and nothing else
  chmodSync(join(folder, 'sub'), 0);
  // The super-user can read everything: the server must be somebody else.
  const server = start(t, ['serve', folder, '--port', '0'], undefined, MILLRACE, isRoot ? nobody : undefined);
  await until(() => server.seen.out.includes('\n') || server.child.exitCode !== null);
  if (server.child.exitCode !== null) {
    t.pass(`not to be had here: ${server.seen.err}`);
    return;
  }
  const address = / on (\S+) \(/.exec(server.seen.out)![1];
  const { code, out, err } = await millrace(t, 'pull', address, join(tempFolder(t), 'dest'));
  t.is(code, 1);
  t.deepEqual(err.trimEnd().split('\n').sort(), [
    'millrace: dark/file: left out: permission denied',
    'millrace: permission denied: secret',
    'millrace: sub: left out: permission denied',
  ]);
  t.regex(out, /^1 file, .* 3 failed\n$/);
});

test.serial('what the server leaves out makes the exit code 1, and --json names it', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  symlinkSync('nowhere', join(dir, 'broken'));
  const { code, out, err } = await millrace(t, 'pull', address, dest, '--json');
  t.is(err, '');
  t.is(code, 1);
  t.like(JSON.parse(out), {
    files: 4,
    failed: [{ path: 'broken', error: 'left out: the link leads nowhere' }],
  });
});

test.serial('--path is spelled as people spell paths', async (t) => {
  const { address, dest } = await serve(t, TREE);
  for (const path of ['b/', './b', 'b//', './/b/./']) {
    t.like(await millrace(t, 'pull', address, dest, '--path', path), { code: 0, err: '' });
    t.deepEqual(Object.keys(contents(dest)).sort(), ['b/c.js', 'b/large'], path);
    rmSync(dest, { recursive: true });
  }
  for (const path of ['../b', 'b/../..', '/b', 'b/..'])
    isOneLine(t, await millrace(t, 'pull', address, dest, '--path', path), 1, /the path (is abs|leaves)/);
});

test.serial('a pull that was killed leaves nothing for the next one to keep, nor to be served', async (t) => {
  const { address, dest, dir } = await serve(t, HUGE);
  const stopping = await bottleneck(t, address, () => {});
  const { child, ended } = start(t, ['pull', stopping, dest], '');
  await until(() => partsIn(dest).length > 0);
  child.kill('SIGKILL');
  await ended;
  t.is(partsIn(dest).length, 1);
  const second = start(t, ['serve', dest, '--port', '0', '--workers', '1']);
  await until(() => second.seen.out.includes('\n'));
  const { out } = await millrace(t, 'call', / on (\S+) \(/.exec(second.seen.out)![1], 'files.list');
  t.false(out.includes('.part'), out);
  t.like(await millrace(t, 'pull', address, dest), { code: 0, err: '' });
  t.deepEqual(partsIn(dest), []);
  t.deepEqual(contents(dest), contents(dir));
});

test.serial('with few descriptors both sides wait for one', async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [`f${i}`, Buffer.alloc(i % 2 ? 300_000 : 30_000, `${i} `)]),
  );
  const folder = tempFolder(t);
  fill(join(folder, 'served'), files);
  const few = (...args: string[]) =>
    start(t, ['-c', 'ulimit -n 40; exec "$0" "$@"', process.execPath, MILLRACE, ...args], '', SHELL);
  const server = few('serve', join(folder, 'served'), '--port', '0', '--workers', '2');
  await until(() => server.seen.out.includes('\n') || server.child.exitCode !== null);
  const address = / on (\S+) \(/.exec(server.seen.out)![1];
  const { code, err } = await few('pull', address, join(folder, 'dest')).ended;
  t.deepEqual({ code, err }, { code: 0, err: '' });
  t.deepEqual(contents(join(folder, 'dest')), contents(join(folder, 'served')));
});

test.serial('a server whose output nobody reads serves on', async (t) => {
  const folder = tempFolder(t);
  fill(folder, { 'served/file': 'x' });
  const socket = join(folder, 's');
  const server = start(t, ['serve', join(folder, 'served'), '--socket', socket, '--workers', '1'], '');
  server.child.stdout!.destroy();
  server.child.stderr!.destroy();
  await until(() => existsSync(socket) || server.child.exitCode !== null);
  const { out } = await millrace(t, 'call', `unix:${socket}`, 'files.get', 'path=file');
  t.is(out, 'x');
  server.child.kill('SIGTERM');
  t.like(await server.ended, { code: 0, signal: null });
});

test.serial('output that cannot be written is one line and exit code 1', async (t) => {
  if (!existsSync('/dev/full')) return t.pass('there is no such device here');
  const { address, dest } = await serve(t, TREE);
  const full = (...args: string[]) =>
    start(t, ['-c', 'exec "$0" "$@" > /dev/full', process.execPath, MILLRACE, ...args], '', SHELL).ended;
  const line = 'millrace: cannot write the output: the disk is full\n';
  for (const args of [['call', address, 'capabilities'], ['pull', address, dest], ['--help']])
    t.like(await full(...args), { code: 1, err: line }, args[0]);
  t.deepEqual(Object.keys(contents(dest)).sort(), Object.keys(TREE).sort(), 'the pull has done its work');
});

test.serial('a pull whose output nobody reads ends as the pull did', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  symlinkSync('nowhere', join(dir, 'broken'));
  for (const args of [['--json'], []]) {
    const { child, ended } = start(t, ['pull', address, dest, ...args], '');
    child.stdout!.destroy();
    t.is((await ended).code, 1);
  }
});

test.serial('call writes the response to standard output', async (t) => {
  const { address } = await serve(t, TREE);
  t.like(await millrace(t, 'call', address, 'files.get', 'path=a.txt'), { code: 0, out: 'text', err: '' });
  t.is(
    (await millrace(t, 'call', address, 'files.get', 'path=b/large', 'offset=1', 'length=5')).out,
    'bcdef',
  );
  const capabilities = JSON.parse((await millrace(t, 'call', address, 'capabilities')).out);
  t.true(capabilities.commands.includes('files.get'));
});

test.serial('call sends a file or standard input as command data', async (t) => {
  const { address, dir } = await serve(t, TREE);
  const large = TREE['b/large'].toString();
  t.true((await millrace(t, 'call', address, 'echo', '--data', join(dir, 'b/large'))).out === large);
  t.true(
    (await start(t, ['call', address, 'echo', 'value=>', '--data', '-'], large).ended).out === `>${large}`,
  );
  isOneLine(
    t,
    await millrace(t, 'call', address, 'echo', '--data', join(dir, 'nope')),
    1,
    /nope: no such file/,
  );
});

test.serial('call ends quietly when nobody reads on', async (t) => {
  const { address } = await serve(t, { big: Buffer.alloc(30_000_000) });
  const { child, seen, ended } = start(t, ['call', address, 'files.get', 'path=big'], '');
  await until(() => seen.out.length > 0);
  child.stdout!.destroy();
  const { code, err } = await ended;
  t.is(err, '');
  t.is(code, 0);
});

test.serial('errors of the server and of the network are one line and exit code 1', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  isOneLine(t, await millrace(t, 'call', address, 'nope'), 1, /unknown command.*nope/);
  isOneLine(t, await millrace(t, 'call', address, 'files.get', 'path=nope'), 1, /no such file: nope/);
  isOneLine(t, await millrace(t, 'call', address, 'files.get', 'path=../x'), 1, /\.\./);
  isOneLine(t, await millrace(t, 'pull', address, dest, '--path', 'nope'), 1, /no such file: nope/);
  isOneLine(
    t,
    await millrace(t, 'pull', '127.0.0.1:1', dest),
    1,
    /cannot connect to 127.0.0.1:1: nothing listens/,
  );
  isOneLine(t, await millrace(t, 'call', 'unix:/nowhere', 'x'), 1, /cannot connect to .*\/nowhere/);
  isOneLine(
    t,
    await millrace(t, 'serve', dir, '--port', address.split(':')[1]),
    1,
    /cannot listen on .*: it is in use/,
  );
  isOneLine(t, await millrace(t, 'serve', join(dir, 'nope')), 1, /cannot serve .*: no such file/);
  isOneLine(t, await millrace(t, 'serve', join(dir, 'a.txt')), 1, /cannot serve .*: not a folder/);
  isOneLine(t, await millrace(t, 'pull', address, join(dir, 'a.txt')), 1, /a\.txt: something else is in/);
  if (existsSync('/proc/self'))
    isOneLine(t, await millrace(t, 'pull', address, '/proc/x/y'), 1, /no such file/);
  isOneLine(t, await millrace(t, 'pull', address, dest, '--tls'), 1, /: it does not speak TLS$/m);
  isOneLine(t, await millrace(t, 'pull', '[::1]:1', dest), 1, /cannot connect to \[::1\]:1: /);
  isOneLine(t, await millrace(t, 'experiment', join(dir, 'nope')), 1, /nope: no such file$/m);
  isOneLine(
    t,
    await millrace(t, 'experiment', 'generate:json900', '--out', join(dir, 'a.txt')),
    1,
    /a\.txt: something else is in its place$/m,
  );
  isOneLine(t, await millrace(t, 'serve', dir, '--socket', '/nowhere/s'), 1, /its folder is not there/);
  isOneLine(t, await millrace(t, 'serve', dir, '--socket', 's'.repeat(200)), 1, /the path is too long/);
});

test.serial('a peer that does not speak the protocol is found out', async (t) => {
  const http = await rogue(t, (socket) => {
    socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'));
  });
  isOneLine(t, await millrace(t, 'call', http, 'capabilities'), 1, /./);
  const ssh = await rogue(t, (socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n'));
  isOneLine(t, await millrace(t, 'pull', ssh, join(tempFolder(t), 'dest')), 1, /./);
  const closing = await rogue(t, (socket) => socket.end());
  isOneLine(t, await millrace(t, 'call', closing, 'capabilities'), 1, /./);
});

/** A way to the server at `address` that breaks off, or just stops, after some megabytes of its answers. */
function bottleneck(t: ExecutionContext<unknown>, address: string, onFull: (client: Socket) => void) {
  const port = Number(address.split(':')[1]);
  return rogue(t, (client) => {
    const server = connect(port, '127.0.0.1');
    t.teardown(() => server.destroy());
    server.on('error', () => {});
    client.pipe(server);
    let passed = 0;
    server.on('data', (chunk) => {
      client.write(chunk);
      passed += chunk.length;
      if (passed < 5_000_000) return;
      server.pause();
      onFull(client);
    });
  });
}

/** A file that does not get through the bottleneck. */
const HUGE = { ...TREE, huge: randomBytes(10_000_000) };

function partsIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.startsWith('.millrace-') && name.endsWith('.part'));
}

test.serial('a connection that breaks is one line, and no part of a file stays', async (t) => {
  const { address, dest } = await serve(t, HUGE);
  let hasPart = false;
  const breaking = await bottleneck(t, address, async (client) => {
    await until(() => partsIn(dest).length > 0);
    hasPart = true;
    client.resetAndDestroy();
  });
  isOneLine(t, await millrace(t, 'pull', breaking, dest), 1, /files came, the same command fetches the rest/);
  t.true(hasPart);
  t.deepEqual(partsIn(dest), []);
  t.false(existsSync(join(dest, 'huge')));
});

test.serial('Ctrl-C, or a closed terminal, ends a pull with nothing half-written', async (t) => {
  const { address, dest } = await serve(t, HUGE);
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGHUP', 129],
  ] as const) {
    const stopping = await bottleneck(t, address, () => {});
    const { child, ended } = start(t, ['pull', stopping, dest], '');
    await until(() => partsIn(dest).length > 0);
    child.kill(signal);
    isOneLine(t, await ended, code, /stopped; \d of \d files came/);
    t.deepEqual(partsIn(dest), []);
    t.false(existsSync(join(dest, 'huge')));
  }
});

test.serial('the server ends well on SIGINT, on SIGTERM and when its terminal is closed', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const { child, ended, address } = await serve(t, TREE);
    t.is((await millrace(t, 'call', address, 'files.get', 'path=a.txt')).out, 'text');
    child.kill(signal);
    t.like(await ended, { code: 0, signal: null, err: '' });
  }
});

test.serial(
  'a server on Linux has malloc set up, as the process that was started; who has set it up is left alone',
  async (t) => {
    if (process.platform !== 'linux') return t.pass('nothing is set elsewhere');
    const isSetting = (text: string) => /^(MALLOC_|GLIBC_TUNABLES)/.test(text);
    const nothingSet = Object.fromEntries(Object.entries(process.env).filter(([name]) => !isSetting(name)));
    const settingsOf = async (env: NodeJS.ProcessEnv) => {
      const server = start(t, ['serve', tempFolder(t), '--port', '0'], '', MILLRACE, undefined, env);
      await until(() => server.seen.out.includes('\n'));
      const found = readFileSync(`/proc/${server.child.pid}/environ`, 'latin1').split('\0');
      server.child.kill('SIGTERM');
      const { code, err } = await server.ended;
      t.deepEqual({ code, err }, { code: 0, err: '' });
      return found.filter(isSetting);
    };
    t.deepEqual(await settingsOf(nothingSet), ['MALLOC_ARENA_MAX=2', 'MALLOC_MMAP_THRESHOLD_=262144']);
    t.deepEqual(await settingsOf({ ...nothingSet, MALLOC_TRIM_THRESHOLD_: '9' }), [
      'MALLOC_TRIM_THRESHOLD_=9',
    ]);
  },
);

test.serial('a second signal ends the server at once', async (t) => {
  const { child, ended, address, seen } = await serve(t, { big: Buffer.alloc(50_000_000) });
  const stuck = start(t, ['call', address, 'files.get', 'path=big'], '');
  stuck.child.stdout!.pause();
  await until(() => stuck.child.stdout!.readableLength > 0);
  child.kill('SIGINT');
  await until(() => seen.err.includes('finishing the requests in flight'));
  child.kill('SIGINT');
  t.is((await ended).code, 130);
});

test.serial(
  'a recording that the disk has no room for is told when it stops, and the server goes on',
  async (t) => {
    const folder = tempFolder(t);
    const capture = join(folder, 'capture');
    mkdirSync(join(folder, 'served'));
    fill(join(folder, 'served'), { big: randomBytes(1_000_000) });
    // A process that may write no file of more than some KiB meets the same error as one on a full disk.
    const args = [MILLRACE, 'serve', join(folder, 'served'), '--port', '0', '--record', capture];
    const server = start(t, ['-c', 'ulimit -f 64; exec "$0" "$@"', process.execPath, ...args], '', SHELL);
    await until(() => server.seen.out.includes('\n'));
    const address = / on (\S+) \(/.exec(server.seen.out)![1];
    t.is((await millrace(t, 'call', address, 'files.get', 'path=big')).out.length, 1_000_000);
    await until(() => server.seen.err.includes('\n'));
    t.regex(server.seen.err, /^millrace: recording stopped: the file may not be so large\n$/);
    t.is((await millrace(t, 'call', address, 'files.get', 'path=big')).out.length, 1_000_000);
    server.child.kill('SIGTERM');
    const { code, out } = await server.ended;
    t.is(code, 0);
    t.regex(
      out,
      /recorded \d responses?, \d+(\.\d+)? (bytes|kB), in \S+ \(incomplete: the file may not be so large\)\n$/,
    );
  },
);

test.serial('names and messages from a server cannot steer the terminal', async (t) => {
  const { address, dir, dest } = await serve(t, {});
  writeFileSync(join(dir, 'x\x1b[2Jy'), 'x');
  fill(dest, { 'x\x1b[2Jy/z': '' });
  const { code, err } = await millrace(t, 'pull', address, dest);
  t.is(code, 1);
  t.is(err, 'millrace: x\ufffd[2Jy: a folder is in its place\n');
});

test.serial('the demo compares every byte and shows what the streams saved', async (t) => {
  const folder = tempFolder(t);
  const record = (i: number) =>
    `export const value${i} = { name: 'value ${i}', list: [${i}, ${i * 7}] };\n`.repeat(20);
  fill(folder, Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`d${i % 9}/f${i}.js`, record(i)])));
  const demo = (...args: string[]) => start(t, [folder, ...args], '', DEMO).ended;
  const { code, out, err } = await demo('--json');
  t.is(code, 0, err);
  const result = JSON.parse(out);
  t.like(result, { files: 300, identical: true, lanesUsed: 2 });
  t.deepEqual(Object.keys(result), [
    ...['files', 'bytes', 'wireBytes', 'perRequestBytes', 'perFrameBytes'],
    ...['identical', 'lanesUsed', 'seconds', 'streams', 'lanes'],
  ]);
  t.true(result.wireBytes < 0.7 * result.perRequestBytes, out);
  t.true(result.perRequestBytes <= result.perFrameBytes);
  const bytesOf = (rows: { bytesIn: number }[]) => rows.reduce((sum, { bytesIn }) => sum + bytesIn, 0);
  t.true(bytesOf(result.streams) >= result.bytes, out);
  const shown = await demo();
  t.is(shown.code, 0, shown.err);
  t.regex(shown.out, /300 files, .* every byte is the same/);
  t.regex(shown.out, /npx millrace serve DIR\n.*npx millrace pull HOST:PORT DEST\n$/);
  t.is((await demo('--nope')).code, 2);
});
