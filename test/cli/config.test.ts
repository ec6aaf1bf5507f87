/** Settings: where they come from, what is said when they cannot be, and what SIGHUP does to a server that serves. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import test from 'ava';
import { parse } from 'yaml';
import { freePort } from '../../bench/peers/listen.ts';
import type { Io } from '../../src/cli/io.ts';
import { reporter } from '../../src/cli/serving.ts';
import { connect } from '../../src/index.ts';
import { combine, SettingError, variables } from '../../src/ops/config.ts';
import { tempFolder } from '../files/helper.ts';
import { isOneLine, millrace, run, serve, TREE } from './helper.ts';

const fileOf = (t: Parameters<typeof tempFolder>[0], text: string | Uint8Array, name = 'millrace.yaml') => {
  const path = join(tempFolder(t), name);
  writeFileSync(path, text);
  return path;
};

test('flags go before variables, variables before the file, the file before defaults; limits one by one', async (t) => {
  const file = fileOf(t, 'port: 1\nlevel: 1\nworkers: 1\nlimits:\n  maxPings: 1\n  maxPayload: 500\n');
  const env = {
    MILLRACE_LEVEL: '2',
    MILLRACE_WORKERS: '2',
    MILLRACE_LIMITS: 'maxPings=2, maxCancels=2',
    MILLRACE_CONFIG: file,
  };
  const { code, out, err } = await run(
    ['config', '.', '--workers', '3', '--limit', 'maxCancels=3'],
    '',
    undefined,
    env,
  ).ended;
  t.like({ code, err }, { code: 0, err: '' });
  t.like(parse(out), { dir: '.', workers: 3, level: 2, port: 1, host: '127.0.0.1' });
  t.deepEqual(parse(out).limits, { maxCancels: 3, maxPings: 2, maxPayload: 500 });
  const places = Object.fromEntries(
    [...out.matchAll(/^ *(\w+): \S+ +# (.*)$/gm)].map(([, name, place]) => [
      name,
      place.replace(file, 'file'),
    ]),
  );
  t.like(places, {
    dir: 'argument',
    workers: '--workers',
    level: 'MILLRACE_LEVEL',
    port: 'file:1:1',
    host: 'default',
    maxCancels: '--limit maxCancels',
    maxPings: 'MILLRACE_LIMITS',
    maxPayload: 'file:6:3',
  });
});

test('what is printed is a file that says the same', async (t) => {
  const first = await millrace(
    'config',
    '.',
    '--admin',
    '[::1]:0',
    '--cache-bytes',
    '64K',
    '--access-log',
    '--tuning',
    'records',
    '--origin',
    'https://app.example',
    '--origin',
    'https://other.example:8443',
  );
  const again = await millrace('config', '--config', fileOf(t, first.out));
  t.deepEqual(parse(again.out), parse(first.out));
  t.like(parse(first.out), { admin: '[::1]:0', cacheBytes: 65_536, accessLog: true });
  t.deepEqual(parse(first.out).origins, ['https://app.example', 'https://other.example:8443']);
});

test('a flag that takes something away goes before all else, and says nothing where it is not given', async (t) => {
  const env = { MILLRACE_CONFIG: fileOf(t, 'page: true\n') };
  const page = async (...flags: string[]) =>
    /^page: .*/m.exec((await run(['config', '.', ...flags], '', undefined, env).ended).out)?.[0];
  t.regex((await page('--no-page')) ?? '', /^page: false +# --no-page$/);
  t.regex((await page()) ?? '', /^page: true +# \S+:1:1$/);
});

test('a secret is not printed', async (t) => {
  const file = fileOf(t, 'tlsPassphrase: swordfish\n');
  t.notRegex((await millrace('config', '--config', file)).out, /swordfish/);
  isOneLine(
    t,
    await millrace('config', '--config', fileOf(t, 'tlsPassphrase: [swordfish]\n')),
    2,
    /tlsPassphrase: It has to be text/,
  );
});

test('what cannot be is one line that begins with its place', async (t) => {
  const files: [text: string | Uint8Array, message: RegExp][] = [
    ['port: 1\nprot: 2\n', /millrace\.yaml:2:1: there is no setting 'prot', did you mean 'port'\?$/m],
    ['{ "port": 1,\n  "level": "high" }', /:2:3: level: It has to be a whole number from -131072 to 22\.$/m],
    ['limits:\n  maxPing: 2\n', /:2:3: there is no limit 'maxPing', did you mean 'maxPings'\?$/m],
    ['limits: { maxPings: 0 }', /:1:11: limits\.maxPings: It has to be a whole number from 1/],
    ['limits: 3', /:1:1: limits: It has to be a mapping/],
    ['limits:\n', /:1:1: limits: It has to be a mapping/],
    ['relay: localhost:6379', /relay: It has to be a URL that begins with redis:\/\/ or rediss:\/\/\.$/m],
    ['metrics: true\nprocesses: 2\n', /(processes|metrics) cannot be used with (metrics|processes)/],
    ['policy: shard', /policy: It has to be one of shared, .*; did you mean 'shared'\?$/m],
    ['origins: [https://app.example/]', /origins\.0: It has to be an origin/],
    ['accessLog: yes', /accessLog: It has to be true or false/],
    ['port: 1\nport: 2\n', /:2:1: /],
    ['limits:\n  maxPings: 1\n  maxPings: 2\n', /:3:3: Map keys must be unique$/m],
    [`${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`, /millrace\.yaml/],
    ['port: [1\n', /millrace\.yaml:\d+:\d+: /],
    ['- port\n', /millrace\.yaml:1:1: It has to be a mapping/],
    ['text', /millrace\.yaml:1:1: It has to be a mapping/],
    ['__proto__: { port: 1 }', /there is no setting '__proto__'/],
    ['constructor: 1', /there is no setting 'constructor'/],
    [
      'socket: x\nport: 1\n',
      /:2:1: port cannot be used with socket \(.*:1:1\)$|socket cannot be used with port/m,
    ],
    [Uint8Array.of(0xff, 0xfe, 0xfd), /not UTF-8/],
    [`# ${'x'.repeat(300_000)}`, /more than 262144 bytes/],
    [`a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]`, /millrace\.yaml/],
  ];
  for (const [text, message] of files)
    isOneLine(t, await millrace('config', '--config', fileOf(t, text)), 2, message);
  const pipe = join(tempFolder(t), 'pipe');
  if (process.platform !== 'win32') execFileSync('mkfifo', [pipe]);
  isOneLine(t, await millrace('config', '--config', pipe), 2, /not a file|no such file/);
  isOneLine(t, await millrace('config', '--config', tempFolder(t)), 2, /not a file|a folder|directory/);
  isOneLine(t, await millrace('serve', '--config', '/nowhere/x.yaml'), 2, /\/nowhere\/x\.yaml: no such file/);
});

test('variables are held to the same, and one that nobody knows is a mistake', (t) => {
  const problem = (env: Record<string, string>) =>
    t.throws(() => combine([variables(env)]), { instanceOf: SettingError }).message;
  t.is(
    problem({ MILLRACE_PROT: '1' }),
    "MILLRACE_PROT: there is no such variable, did you mean 'MILLRACE_PORT'?",
  );
  t.regex(
    problem({ MILLRACE_PORT: 'tcp://10.0.0.1:7711' }),
    /^MILLRACE_PORT: port: It has to be a whole number/,
  );
  t.regex(problem({ MILLRACE_LIMITS: 'maxPings' }), /^MILLRACE_LIMITS: /);
  t.deepEqual(
    combine([variables({ MILLRACE_DEBUG: '1', PATH: 'x', MILLRACE_ACCESS_LOG: 'false' })]).settings.accessLog,
    false,
  );
});

test('what a stronger source says rules out what a weaker one says against it', async (t) => {
  const file = fileOf(t, 'socket: /run/x\n');
  const { out } = await millrace('config', '.', '--port', '5', '--config', file);
  t.is(parse(out).port, 5);
  t.is(parse(out).socket, undefined);
});

test('--check reads the files that are named, and says one thing', async (t) => {
  t.regex((await millrace('config', '.', '--check')).out, /^all well: \d+ settings\n$/);
  isOneLine(
    t,
    await millrace('config', '.', '--check', '--tls-cert', 'no', '--tls-key', 'no'),
    2,
    /cannot read no/,
  );
  isOneLine(t, await millrace('config', '/nowhere', '--check'), 1, /cannot serve \/nowhere/);
});

test('--check finds whatever keeps a server from being made, in the words that serve has for it', async (t) => {
  const wrong: [flags: string, message: RegExp][] = [
    ['--profile nope', /unknown profile 'nope'/],
    ['--profile zlib --level 20', /zlib level must be/],
    ['--profile zlib --window-log 23', /zlib window log must be/],
    ['--profile zlib --tuning records', /zlib has no tuning/],
    ['--policy adaptive --level 3', /levels of its own/],
    ['--dictionary nowhere.dict', /nowhere\.dict/],
    ['--dictionary README.md', /README\.md/],
    ['--processes 2 --topic prices', /needs --relay/],
    ['--processes 2 --record new.capture', /cannot be used with --processes/],
  ];
  for (const [flags, message] of wrong) {
    const served = await millrace('serve', '.', '--port', '0', ...flags.split(' '));
    isOneLine(t, served, 2, message);
    t.deepEqual(await millrace('config', '.', '--check', ...flags.split(' ')), served);
  }
  const capture = join(tempFolder(t), 'new.capture');
  t.is((await millrace('config', '.', '--check', '--record', capture)).code, 0);
  t.false(existsSync(capture));
});

test("what follows a topic's name is a number, or a mistake, and no part of the name", async (t) => {
  const named = async (...topics: string[]) =>
    parse((await millrace('config', ...topics.flatMap((each) => ['--topic', each]))).out).topics;
  t.deepEqual(await named('prices', 'news=10', 'a=b=3'), ['prices=0', 'news=10', 'a=b=3']);
  for (const topic of [
    'prices=1K',
    'prices=',
    'prices=-1',
    '=5',
    `prices=${2 ** 53}`,
    'x'.repeat(256),
    'é'.repeat(128),
  ])
    isOneLine(t, await millrace('config', '--topic', topic), 2, /NAME or NAME=MESSAGES/);
  const several = combine([variables({ MILLRACE_TOPICS: 'prices=5;news' })]).settings.topics;
  t.deepEqual(several, [
    { name: 'prices', history: 5 },
    { name: 'news', history: 0 },
  ]);
  t.throws(() => combine([variables({ MILLRACE_TOPICS: 'prices=5,news' })]), { message: /; between them/ });
});

test('a limit that there is none of is told which was meant, as a setting is', async (t) => {
  isOneLine(
    t,
    await millrace('config', '--limit', 'maxPingz=5'),
    2,
    /no limit 'maxPingz', did you mean 'maxPings'\?$/m,
  );
});

test.serial(
  'what goes wrong with the server itself is said without being asked for, some of it a second',
  async (t) => {
    const { said, seen } = await serve(
      t,
      TREE,
      '--topic',
      'prices',
      '--relay',
      `redis://127.0.0.1:${await freePort()}`,
    );
    await said('err', /\n/);
    t.regex(seen.err, /^millrace: server: the relay: .*ECONNREFUSED/);

    const lines: string[] = [];
    const io = { complain: (line: string) => lines.push(line) } as unknown as Io;
    const report = reporter(() => false, io);
    const error = new Error('too many open files');
    for (let i = 0; i < 50; i++) {
      report(error, {});
      report(error, { remote: '192.0.2.1:9' });
    }
    t.deepEqual(lines, new Array(10).fill('server: too many open files'));
  },
);

// ---------------------------------------------------------------------------------------------- SIGHUP

test.serial('SIGHUP changes what can be changed, names what cannot, and drops nobody', async (t) => {
  const file = fileOf(t, 'level: 3\n');
  const { address, signals, said, seen } = await serve(t, TREE, '--config', file);
  const [host, port] = address.split(':');
  const client = await connect({ host, port: Number(port) });
  t.teardown(() => client.destroy());
  await client.ready();
  const limits = async () =>
    (await client.call('capabilities').json<{ limits: Record<string, number> }>()).limits;
  t.is((await limits()).maxPings, 10_000);
  writeFileSync(file, 'level: 9\ncacheBytes: 1M\nlimits: { maxPings: 77, laneTimeout: 5 }\n');
  signals.emit('SIGHUP', 'SIGHUP');
  await said('err', /reloaded: level, limits\.maxPings changed; needs a new start: cacheBytes\n/);
  t.is((await limits()).maxPings, 77);
  t.is(client.state, 'open');
  writeFileSync(file, 'lvel: 9\n');
  signals.emit('SIGHUP', 'SIGHUP');
  await said('err', /not reloaded: .*:1:1: there is no setting 'lvel'/);
  t.is((await limits()).maxPings, 77);
  t.notRegex(seen.err, /laneTimeout/, 'a flag goes before the file');
});

test.serial('a log of errors alone says that a SIGHUP has changed nothing, and why', async (t) => {
  const file = fileOf(t, 'level: 1\n');
  const { signals, said, seen } = await serve(t, TREE, '--config', file, '--log', 'error');
  for (const text of ['level: 2\n', 'lvel: 9\n']) {
    writeFileSync(file, text);
    signals.emit('SIGHUP', 'SIGHUP');
  }
  await said('err', /not reloaded: .*there is no setting 'lvel'/);
  t.notRegex(seen.err, /"reloaded/);
});

test.serial('SIGHUP says that a dictionary was trained anew, which the next start reads', async (t) => {
  const folder = tempFolder(t);
  const dictionary = join(folder, 'a.dict');
  const mill = readFileSync(new URL('../fixtures/mill.dict', import.meta.url));
  writeFileSync(dictionary, mill);
  const { signals, said, seen } = await serve(t, TREE, '--dictionary', dictionary);
  signals.emit('SIGHUP', 'SIGHUP');
  await said('err', /reloaded: nothing has changed\n/);
  const others = [Buffer.concat([mill, Buffer.from('more')]), new Uint8Array((1 << 20) + 1)];
  for (const [before, other] of others.entries()) {
    writeFileSync(dictionary, other);
    signals.emit('SIGHUP', 'SIGHUP');
    await said('err', new RegExp(`(?:needs a new start: dictionaries\\n[^]*?){${before + 1}}`));
  }
  t.is(seen.err.split('new start: dictionaries').length, others.length + 1);
});

test.serial('SIGHUP has a new certificate shown to who comes from then on', async (t) => {
  const folder = tempFolder(t);
  const make = (name: string) => {
    const files = ['cert.pem', 'key.pem'].map((each) => join(folder, each));
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '2',
        '-subj',
        `/CN=${name}`,
        '-keyout',
        files[1],
        '-out',
        files[0],
      ],
      { stdio: 'ignore' },
    );
    return files;
  };
  const [cert, key] = make('first');
  const { address, signals, said } = await serve(t, TREE, '--tls-cert', cert, '--tls-key', key);
  const [host, port] = address.split(':');
  const shown = async () => {
    const socket = connectTls({ host, port: Number(port), rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    t.teardown(() => socket.destroy());
    return socket.getPeerCertificate().subject.CN;
  };
  const client = await connect({ host, port: Number(port) }, { tls: { rejectUnauthorized: false } });
  t.teardown(() => client.destroy());
  t.is(await shown(), 'first');
  make('second');
  signals.emit('SIGHUP', 'SIGHUP');
  await said('err', /certificates read again/);
  t.is(await shown(), 'second');
  t.is(await client.call('echo', { args: { value: 'still here' } }).text(), 'still here');
  writeFileSync(key, 'nonsense');
  signals.emit('SIGHUP', 'SIGHUP');
  await said('err', /not reloaded: .*no private key/);
  t.is(await shown(), 'second');
});
