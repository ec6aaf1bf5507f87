/** The command line, in this process; process.test.ts has what takes a process of its own. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { parseServer, parseTarget, showTarget } from '../../src/cli/arguments.ts';
import { bytes, duration, oneLine, plural } from '../../src/cli/show.ts';
import { createServer } from '../../src/index.ts';
import { messageRecord, positionRecord } from '../../src/wire/topic-records.ts';
import { contents, fill, tempFolder } from '../files/helper.ts';
import { frame, onCommand } from '../helpers/raw-peer.ts';
import { isOneLine, millrace, rogue, run, STAYS_OPEN, serve, TREE } from './helper.ts';

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
  // As anybody may publish it to whom `subscribe` shows it; in quadratic time it would take an hour.
  t.is(oneLine(`a${' '.repeat(1 << 22)}b`).length, (1 << 22) + 2);
  t.is(oneLine(' a\r\n  b\tc\x1b[2J\u2028\u202etxt.exe\u200b\n'), 'a b c\\u001b[2J \\u202etxt.exe\\u200b');
});

test('servers are there, or behind the URL of a WebSocket', (t) => {
  t.deepEqual(parseServer('a.example:7711'), { host: 'a.example', port: 7711 });
  for (const text of ['ws://127.0.0.1:7711/', 'wss://a.example/mill', 'WS://a.example/'])
    t.is(String(parseServer(text)), text.replace('WS', 'ws'));
  for (const text of ['https://a.example/', 'ws://', 'wss://a b/', 'ws://a.example/#here'])
    t.throws(() => parseServer(text), { message: /^A URL has to be one of ws:\/\/ or wss:\/\// }, text);
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

test.serial('--help says how, everywhere, with examples', async (t) => {
  t.notRegex((await millrace('experiment', '--help')).out, /\[\]|1000000/);
  for (const command of [[], ['serve'], ['pull'], ['call'], ['frame', 'encode'], ['frame', 'decode']]) {
    const { code, out, err } = await millrace(...command, '--help');
    t.is(code, 0);
    t.is(err, '');
    t.regex(out, /^Usage: millrace/);
    t.regex(out, /\nExamples:\n {2}(millrace|tar|nc) /);
  }
  for (const command of [[], ['serve'], ['frame', 'encode']])
    t.deepEqual(await millrace('help', ...command), await millrace(...command, '--help'));
  t.notRegex((await millrace('frame', '--help')).out, /help \[command\]/);
  t.regex((await millrace('--version')).out, /^\d+\.\d+\.\d+\n$/);
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
    [['serve', '.', '--dictionary', 'package.json'], /package\.json: not a zstd dictionary/],
    [['serve', '.', '--dictionary', 'nope.dict'], /nope\.dict/],
    [['serve', '.', '--dictionary', 'test/fixtures/mill.dict=files.get,nope'], /no command 'nope'/],
    [['serve', '.', '--dictionary', 'test/fixtures/mill.dict=files.get,'], /FILE=COMMAND/],
    [['serve', '.', '--contexts', 'some'], /contexts.*kept, none, auto/],
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
  for (const [args, message] of mistakes) isOneLine(t, await millrace(...args), 2, message);
});

test.serial('a frame is encoded to hexadecimal and decoded from it', async (t) => {
  const text = '1 1 stream-begin command-name eos capabilities';
  const hex = '0c000001000101116361706162696c6974696573';
  t.like(await millrace('frame', 'encode', text), { code: 0, out: `${hex}\n`, err: '' });
  t.like(await millrace('frame', 'decode', hex), { code: 0, out: `${text}\n`, err: '' });
  t.is((await run(['frame', 'decode'], `${hex}\n${hex}\n`).ended).out, `${text}\n${text}\n`, 'from a pipe');
  t.is((await run(['frame', 'decode'], Buffer.from(hex, 'hex')).ended).out, `${text}\n`, 'raw');
  const raw = await run(['frame', 'encode', '--raw'], `${text}\n`).ended;
  t.is(Buffer.from(raw.out, 'latin1').toString('hex'), hex);
});

test.serial('what is left of a cut frame is an error after the whole ones', async (t) => {
  const { code, out, err } = await millrace('frame', 'decode', '000000010001011104');
  t.is(code, 1);
  t.is(out, '1 1 stream-begin command-name eos \n');
  t.regex(err, /^millrace: .*1 of 8 bytes\n$/);
});

test.serial('a served folder is pulled, and the next pull has nothing to do', async (t) => {
  const { dir, dest, address, seen } = await serve(t, TREE);
  t.regex(seen.out, /^millrace serves \/.* on 127\.0\.0\.1:\d+ \(1 worker, policy shared, .*\)\n$/);
  const first = await millrace('pull', address, dest);
  t.is(first.code, 0, first.err);
  t.is(first.err, '');
  t.regex(first.out, /^4 files, 700 kB \(\S+ \S+ on the wire\) in \S+ s\n$/);
  t.deepEqual(contents(dest), contents(dir));
  const second = await millrace('pull', address, dest, '--json');
  t.is(second.code, 0, second.err);
  t.like(JSON.parse(second.out), { files: 0, bytes: 0, skipped: 4, failed: [] });
  t.is(second.out.split('\n').length, 2);
});

test.serial('a Unix socket serves as well, but not one that is in use', async (t) => {
  const socket = join(tempFolder(t), 'socket');
  const { dir, dest, address } = await serve(t, TREE, '--socket', socket);
  t.is(address, `unix:${socket}`);
  t.is((await millrace('pull', address, dest)).code, 0);
  t.deepEqual(contents(dest), contents(dir));
  isOneLine(t, await millrace('serve', dir, '--socket', socket), 1, /in use/);
});

const TLS = fileURLToPath(new URL('../fixtures/tls/', import.meta.url));
const SERVER_TLS = ['--tls-cert', `${TLS}server.pem`, '--tls-key', `${TLS}server.key`];
const [CA, ALICE, STRANGER] = [
  ['--tls-ca', `${TLS}ca.pem`],
  ['--tls-cert', `${TLS}client.pem`, '--tls-key', `${TLS}client.key`],
  ['--tls-cert', `${TLS}stranger.pem`, '--tls-key', `${TLS}stranger.key`],
];

test.serial('a folder is served and pulled over TLS; who does not know the server stops', async (t) => {
  const { address, dir, dest, seen } = await serve(t, TREE, ...SERVER_TLS);
  t.regex(seen.out, /\(TLS, 1 worker,/);
  const pulled = await millrace('pull', address, dest, ...CA);
  t.is(pulled.code, 0, pulled.err);
  t.deepEqual(contents(dest), contents(dir));
  t.is((await millrace('call', `wss://${address}/`, 'echo', 'value=x', ...CA)).out, 'x');
  isOneLine(t, await millrace('pull', address, dest, '--tls'), 1, /cannot connect .*certificate/);
  isOneLine(
    t,
    await millrace('pull', address, dest),
    1,
    /does not speak the millrace protocol, or wants TLS/,
  );
});

test.serial('with --tls-client-ca only who has a certificate of that authority is served', async (t) => {
  const { address, seen } = await serve(t, TREE, ...SERVER_TLS, '--tls-client-ca', `${TLS}ca.pem`);
  t.regex(seen.out, /\(mutual TLS, 1 worker,/);
  const call = (...options: string[]) => millrace('call', address, 'echo', 'value=inside', ...options);
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
    for (const [args, message] of cases) isOneLine(t, await millrace(...args), 2, message);
  },
);

test.serial('policies and profiles serve the same bytes', async (t) => {
  for (const options of [
    ['--workers', '2', '--policy', 'per-request', '--profile', 'zlib', '--level', '1'],
    ['--policy', 'affinity', '--streams', '3', '--level', '9', '--window-log', '20', '--cache-bytes', '1M'],
  ]) {
    const { dir, dest, address } = await serve(t, TREE, ...options);
    const { code, err } = await millrace('pull', address, dest);
    t.is(code, 0, `${options}: ${err}`);
    t.deepEqual(contents(dest), contents(dir));
  }
});

test.serial('a file that cannot be had is one line and exit code 1, the others come', async (t) => {
  const { dest, address } = await serve(t, TREE);
  fill(dest, { 'b/large/in-the-way': '' });
  const { code, out, err } = await millrace('pull', address, dest);
  t.is(code, 1);
  t.is(err, 'millrace: b/large: a folder is in its place\n');
  t.regex(out, /^3 files, .* 1 failed\n$/);
});

test.serial('more requests than the server allows are not sent at once', async (t) => {
  const files = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${i}`, `content ${i}`]));
  const { dir, dest, address } = await serve(t, files, '--limit', 'maxConcurrentRequests=5');
  const { code, err } = await millrace('pull', address, dest, '--in-flight', '500');
  t.is(code, 0, err);
  t.deepEqual(contents(dest), contents(dir));
});

test.serial('--retry: over a connection that is made again; it ends where there never is one', async (t) => {
  const { dir, dest, address } = await serve(t, TREE);
  const { code, err } = await millrace('pull', address, dest, '--retry', '2');
  t.is(code, 0, err);
  t.deepEqual(contents(dest), contents(dir));
  const nowhere = join(dir, 'no.sock');
  const failed = await millrace('pull', `unix:${nowhere}`, dest, '--retry', '1');
  isOneLine(t, failed, 1, /no server can be reached: cannot connect to .*no\.sock: there is no such socket/);
});

test.serial('--limit changes limits of the whole server, too', async (t) => {
  const { address } = await serve(t, TREE, '--limit', 'maxConnections=1', '--limit', 'keepAliveInterval=0');
  const first = connect(Number(address.split(':')[1]), '127.0.0.1');
  t.teardown(() => first.destroy());
  await once(first, 'connect');
  isOneLine(t, await millrace('call', address, 'files.get', 'path=a.txt'), 1, /protocol/);
});

test.serial('a server that has answered with an error hears of no broken connection', async (t) => {
  const errors: unknown[] = [];
  const server = createServer({ workers: 1, onError: (error) => errors.push(error) });
  t.teardown(() => server.close({ graceMs: 0 }));
  const address = showTarget(await server.listen({ port: 0 }));
  for (const args of [
    ['call', address, 'nothing'],
    ['subscribe', address, 'nothing'],
    ['publish', address, 'nothing'],
    ['pull', address, join(tempFolder(t), 'nothing')],
  ])
    for (let i = 0; i < 5; i++) t.is((await millrace(...args)).code, 1);
  await server.close();
  t.deepEqual(errors, []);
});

test.serial('what the server leaves out makes the exit code 1, and --json names it', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  symlinkSync('nowhere', join(dir, 'broken'));
  const { code, out, err } = await millrace('pull', address, dest, '--json');
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
    t.like(await millrace('pull', address, dest, '--path', path), { code: 0, err: '' });
    t.deepEqual(Object.keys(contents(dest)).sort(), ['b/c.js', 'b/large'], path);
    rmSync(dest, { recursive: true });
  }
  for (const path of ['../b', 'b/../..', '/b', 'b/..'])
    isOneLine(t, await millrace('pull', address, dest, '--path', path), 1, /the path (is abs|leaves)/);
});

test.serial('call writes the response to standard output', async (t) => {
  const { address } = await serve(t, TREE);
  t.like(await millrace('call', address, 'files.get', 'path=a.txt'), { code: 0, out: 'text', err: '' });
  t.is((await millrace('call', address, 'files.get', 'path=b/large', 'offset=1', 'length=5')).out, 'bcdef');
  const capabilities = JSON.parse((await millrace('call', address, 'capabilities')).out);
  t.true(capabilities.commands.includes('files.get'));
});

test.serial('call sends a file or standard input as command data', async (t) => {
  const { address, dir } = await serve(t, TREE);
  const large = TREE['b/large'].toString();
  t.true((await millrace('call', address, 'echo', '--data', join(dir, 'b/large'))).out === large);
  t.true((await run(['call', address, 'echo', 'value=>', '--data', '-'], large).ended).out === `>${large}`);
  isOneLine(t, await millrace('call', address, 'echo', '--data', join(dir, 'nope')), 1, /nope: no such file/);
});

test.serial('subscribe prints the messages of a topic that serve has, and publish adds to it', async (t) => {
  const { address } = await serve(t, TREE, '--topic', 'news=2', '--topic', 'a=b=0');
  for (const [i, text] of ['one', 'two\nlines', 'three'].entries())
    t.like(await run(['publish', address, 'news'], text).ended, { code: 0, out: `${i + 1}\n`, err: '' });
  const lines = run(['subscribe', address, 'news', '--after', '0']);
  await lines.said('out', /three\n/);
  t.is(lines.seen.out, 'two lines\nthree\n');
  t.regex(lines.seen.err, /^millrace: 1 message lost before number 2\n$/);
  lines.signals.emit('SIGINT', 'SIGINT');
  t.is((await lines.ended).code, 130);
  const json = run(['subscribe', address, 'news', '--json', '--after', '0']);
  await json.said('out', /three/);
  t.is((await run(['publish', address, 'news'], Buffer.from([0xff, 0])).ended).out, '4\n');
  await json.said('out', /base64/);
  t.deepEqual(
    json.seen.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [
      { lost: 1, sequence: 2 },
      { sequence: 2, text: 'two\nlines' },
      { sequence: 3, text: 'three' },
      { sequence: 4, base64: '/wA=' },
    ],
  );
  json.signals.emit('SIGINT', 'SIGINT');
  await json.ended;
  isOneLine(t, await run(['publish', address, 'none'], 'x').ended, 1, /no topic 'none'/);
  isOneLine(t, await millrace('serve', '.', '--topic', 'x'.repeat(256)), 2, /a name of 1 to 255 bytes/);
  isOneLine(t, await millrace('serve', '.', '--topic', 'a', '--topic', 'a=1'), 2, /given twice/);
});

test.serial(
  'publish ends by a signal while its input goes on, and by what the server says of too much of it',
  async (t) => {
    const { address } = await serve(t, TREE, '--topic', 'news');
    const waiting = run(['publish', address, 'news'], STAYS_OPEN);
    isOneLine(
      t,
      await run(['publish', address, 'news'], Buffer.alloc(3 << 20)).ended,
      1,
      /^millrace: maxMessageBytes: /,
    );
    waiting.signals.emit('SIGINT', 'SIGINT');
    isOneLine(t, await waiting.ended, 130, /stopped/);
    t.is((await run(['publish', address, 'news'], 'first').ended).out, '1\n', 'nothing was published before');
  },
);

test.serial('errors of the server and of the network are one line and exit code 1', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  isOneLine(t, await millrace('call', address, 'nope'), 1, /unknown command.*nope/);
  isOneLine(t, await millrace('call', address, 'files.get', 'path=nope'), 1, /no such file: nope/);
  isOneLine(t, await millrace('call', address, 'files.get', 'path=../x'), 1, /\.\./);
  isOneLine(t, await millrace('pull', address, dest, '--path', 'nope'), 1, /no such file: nope/);
  isOneLine(
    t,
    await millrace('pull', '127.0.0.1:1', dest),
    1,
    /cannot connect to 127.0.0.1:1: nothing listens/,
  );
  isOneLine(t, await millrace('call', 'unix:/nowhere', 'x'), 1, /cannot connect to .*\/nowhere/);
  isOneLine(
    t,
    await millrace('serve', dir, '--port', address.split(':')[1]),
    1,
    /cannot listen on .*: it is in use/,
  );
  isOneLine(t, await millrace('serve', join(dir, 'nope')), 1, /cannot serve .*: no such file/);
  isOneLine(t, await millrace('serve', join(dir, 'a.txt')), 1, /cannot serve .*: not a folder/);
  isOneLine(t, await millrace('pull', address, join(dir, 'a.txt')), 1, /a\.txt: something else is in/);
  if (existsSync('/proc/self')) isOneLine(t, await millrace('pull', address, '/proc/x/y'), 1, /no such file/);
  isOneLine(t, await millrace('pull', address, dest, '--tls'), 1, /: it does not speak TLS$/m);
  isOneLine(t, await millrace('pull', '[::1]:1', dest), 1, /cannot connect to \[::1\]:1: /);
  isOneLine(t, await millrace('experiment', join(dir, 'nope')), 1, /nope: no such file$/m);
  isOneLine(
    t,
    await millrace('experiment', 'generate:json900', '--out', join(dir, 'a.txt')),
    1,
    /a\.txt: something else is in its place$/m,
  );
  isOneLine(t, await millrace('serve', dir, '--socket', '/nowhere/s'), 1, /its folder is not there/);
  isOneLine(t, await millrace('serve', dir, '--socket', 's'.repeat(200)), 1, /the path is too long/);
});

test.serial('a peer that does not speak the protocol is found out', async (t) => {
  const http = await rogue(t, (socket) => {
    socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'));
  });
  isOneLine(t, await millrace('call', http, 'capabilities'), 1, /./);
  const ssh = await rogue(t, (socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n'));
  isOneLine(t, await millrace('pull', ssh, join(tempFolder(t), 'dest')), 1, /./);
  const closing = await rogue(t, (socket) => socket.end());
  isOneLine(t, await millrace('call', closing, 'capabilities'), 1, /./);
});

test.serial(
  'what a server and its topics say cannot steer the terminal, nor stop the command by its name',
  async (t) => {
    const where = await rogue(t, (socket) => {
      socket.write(
        frame('0 2 stream-begin sender-settings 0 {"extensions":["cancel","error-codes","topics"]}'),
      );
      onCommand(socket, (id) =>
        socket.write(frame(`${id} 2 0 error-response application `, Buffer.from('constructor\0a\u202eb'))),
      );
    });
    isOneLine(t, await millrace('call', where, 'x'), 1, /^millrace: a\\u202eb$/m);
    const topics = await rogue(t, (socket) => {
      socket.write(
        frame('0 2 stream-begin sender-settings 0 {"extensions":["cancel","error-codes","topics"]}'),
      );
      const records = Buffer.concat([
        positionRecord(1),
        messageRecord(Buffer.from('a\u202eb\u009b2J\u{e0041}')),
      ]);
      onCommand(socket, (id) => socket.write(frame(`${id} 2 0 bytes-response eos `, records)));
    });
    const { out } = await millrace('subscribe', topics, 'x', '--json');
    t.is(out, '{"sequence":1,"text":"a\\u202eb\\u009b2J\\udb40\\udc41"}\n');
    t.is((await millrace('subscribe', topics, 'x')).out, 'a\\u202eb\\u009b2J\\u{e0041}\n');
  },
);

test.serial('names and messages from a server cannot steer the terminal', async (t) => {
  const { address, dir, dest } = await serve(t, {});
  writeFileSync(join(dir, 'x\x1b[2Jy\u202etxt'), 'x');
  fill(dest, { 'x\x1b[2Jy\u202etxt/z': '' });
  const { code, err } = await millrace('pull', address, dest);
  t.is(code, 1);
  t.is(err, 'millrace: x\\u001b[2Jy\\u202etxt: a folder is in its place\n');
  const { out } = await millrace('pull', address, dest, '--json');
  t.true(out.includes('x\\u001b[2Jy\\u202etxt'));
  t.is(JSON.parse(out).failed[0].path, 'x\x1b[2Jy\u202etxt');
  symlinkSync('nowhere', join(dir, 'gone\u2066'));
  const listed = await millrace('call', address, 'files.list');
  t.is(listed.err, 'left out: the link leads nowhere: gone\\u2066\n');
  const asked = await millrace('call', address, 'files.get', 'path=\u202dx');
  t.is(asked.err, 'millrace: no such file: \\u202dx\n');
});

const fifoIn = (folder: string) => {
  const path = join(folder, 'fifo');
  execFileSync('mkfifo', [path]);
  return path;
};
for (const [what, line] of Object.entries<(fifo: string, dir: string) => string[]>({
  'a certificate': (fifo, dir) => ['serve', dir, '--port', '0', '--tls-cert', fifo, '--tls-key', fifo],
  authorities: (fifo) => ['call', '127.0.0.1:1', 'echo', '--tls-ca', fifo],
  'a grid': (fifo, dir) => ['experiment', 'generate:json200', '--grid', fifo, '--out', join(dir, 'out')],
  'a source': (fifo, dir) => ['experiment', fifo, '--out', join(dir, 'out')],
  results: (fifo, dir) => ['serve', dir, '--port', '0', '--profile-from', fifo],
  'a module of codecs': (fifo, dir) => [
    'experiment',
    'generate:json200',
    '--codecs',
    fifo,
    '--out',
    join(dir, 'out'),
  ],
  'a recording': (fifo, dir) => ['serve', dir, '--port', '0', '--record', fifo],
})) {
  test(`a FIFO where ${what} should be is refused, not waited for`, async (t) => {
    const dir = tempFolder(t);
    const { code, err } = await millrace(...line(fifoIn(dir), dir));
    t.not(code, 0);
    t.regex(err, /fifo/);
    t.is(err.trimEnd().split('\n').length, 1, err);
  });
}

test.serial('a FIFO or a device as --data is refused, not waited for', async (t) => {
  const { dir, address } = await serve(t, { a: 'x' });
  for (const file of [fifoIn(join(dir, '..')), '/dev/zero']) {
    const { code, err } = await millrace('call', address, 'echo', '--data', file);
    t.is(code, 1);
    t.regex(err, /cannot read .*: not a file/);
  }
});
