/** How the command line reaches a server: by the published frames alone, and with a token. */

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { diagnose, type Facts } from '../../src/cli/doctor.ts';
import { createServer } from '../../src/index.ts';
import { encodeFrame, type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { contents, tempFolder } from '../files/helper.ts';
import { isOneLine, millrace, rogue, run, serve, TREE } from './helper.ts';

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

/** A command as a server of part A alone has it when it is whole. */
interface Command {
  name: string;
  args: Record<string, string>;
  data: string;
}

/**
 * A server of the published protocol and nothing else, as the reference implementation of 2018 is: it runs a command when it is
 * whole, begins stream 2 anew for every response, never ends it, and calls every other type a protocol error.
 */
class PublishedServer {
  readonly commands: Command[] = [];
  readonly #open = new Map<number, Command>();

  serve(socket: Socket): void {
    const splitter = new Splitter({
      maxPayload: 65_535,
      onFrame: (frame) => {
        const error = this.#take(frame, socket);
        if (error === undefined) return;
        socket.write(response(frame.requestId, FrameType.errorResponse, 1, error));
        socket.end();
      },
    });
    socket.on('data', (bytes) => splitter.push(bytes as Buffer));
    socket.on('end', () => socket.end());
  }

  #take({ requestId, type, flags, payload }: Frame, socket: Socket): string | undefined {
    const command = this.#open.get(requestId);
    if (command === undefined) {
      if (type !== FrameType.commandName) return `expected command frame; got ${type}`;
      this.#open.set(requestId, { name: text(payload), args: {}, data: '' });
      if ((flags & 1) !== 0) this.#run(requestId, socket);
    } else if (type === FrameType.commandArgument) {
      const view = Buffer.from(payload);
      const end = 4 + view.readUInt16LE(0);
      command.args[text(view.subarray(4, end))] = text(view.subarray(end));
      if ((flags & 2) !== 0 && !('data' in command.args)) this.#run(requestId, socket);
    } else if (type === FrameType.commandData) {
      command.data += text(payload);
      if ((flags & 2) !== 0) this.#run(requestId, socket);
    } else return `expected command frame; got ${type}`;
    return undefined;
  }

  #run(requestId: number, socket: Socket): void {
    const command = this.#open.get(requestId) as Command;
    this.#open.delete(requestId);
    this.commands.push(command);
    if (command.name === 'fail') {
      socket.write(response(requestId, FrameType.errorResponse, 2, 'no such command'));
      return;
    }
    socket.write(response(requestId, FrameType.textOutput, 0, '\x05\x00\x00\x00note\n'));
    socket.write(response(requestId, FrameType.bytesResponse, 1, `${command.name} `));
    socket.write(response(requestId, FrameType.bytesResponse, 2, command.data, 0));
  }
}

function response(
  requestId: number,
  type: number,
  flags: number,
  payload: string,
  streamFlags: number = StreamFlag.begin,
): Uint8Array {
  return encodeFrame({
    requestId,
    streamId: 2,
    streamFlags,
    type,
    flags,
    payload: Buffer.from(payload, 'latin1'),
  });
}

async function published(t: ExecutionContext<unknown>) {
  const server = new PublishedServer();
  const address = await rogue(t, (socket) => server.serve(socket));
  return { server, address };
}

test.serial('call --plain talks to a server that knows the published frames alone', async (t) => {
  const { server, address } = await published(t);
  t.deepEqual(await millrace('call', address, 'capabilities', '--plain'), {
    code: 0,
    out: 'capabilities ',
    err: 'note\n',
  });
  await millrace('call', address, 'lookup', 'key=tip', 'more=1', '--plain');
  const sent = await run(['call', address, 'push', 'data=1', '--data', '-', '--plain'], 'the data').ended;
  t.is(sent.out, 'push the data');
  isOneLine(t, await millrace('call', address, 'fail', '--plain'), 1, /no such command/);
  t.deepEqual(
    server.commands.map(({ name, args }) => [name, args]),
    [
      ['capabilities', {}],
      ['lookup', { key: 'tip', more: '1' }],
      ['push', { data: '1' }],
      ['fail', {}],
    ],
  );
});

test.serial('without --plain such a server is told of, and so is the option', async (t) => {
  const { address } = await published(t);
  isOneLine(t, await millrace('call', address, 'capabilities'), 1, /got 9.*--plain/);
  isOneLine(t, await millrace('pull', address, join(tempFolder(t), 'x')), 1, /got 9.*--plain/);
});

test.serial('--plain sends nothing that is not published, whatever the environment has', async (t) => {
  const { server, address } = await published(t);
  process.env.MILLRACE_TOKEN = 'secret';
  t.teardown(() => delete process.env.MILLRACE_TOKEN);
  t.is((await millrace('call', address, 'capabilities', '--plain')).code, 0);
  t.deepEqual(server.commands, [{ name: 'capabilities', args: {}, data: '' }]);
  for (const option of ['--deadline=5', '--sensitive', '--token-file=x'])
    isOneLine(t, await millrace('call', address, 'x', '--plain', option), 2, /cannot be used with/);
});

test.serial('pull --plain fetches from a server of ours', async (t) => {
  const { address, dir, dest } = await serve(t, TREE);
  t.is((await millrace('pull', address, dest, '--plain')).code, 0);
  t.deepEqual(contents(dest), contents(dir));
});

/** A server that lets in who shows the token. */
async function guarded(t: ExecutionContext<unknown>, token: string) {
  const shown: string[] = [];
  const server = createServer({
    workers: 1,
    onError: () => {},
    commands: {
      hello: async function* () {
        yield 'in';
      },
    },
    authorize: ({ command, authorization }) => {
      if (command === undefined) return true;
      shown.push(authorization ?? '');
      return authorization === token;
    },
  });
  const address = await server.listen({ port: 0 });
  t.teardown(() => server.close());
  return { shown, address: `127.0.0.1:${(address as { port: number }).port}` };
}

function tokenFile(t: ExecutionContext<unknown>, content: string | Uint8Array, mode = 0o600): string {
  const file = join(tempFolder(t), 'token');
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

test.serial('a token comes from a file or the environment, and the file comes first', async (t) => {
  const { shown, address } = await guarded(t, 'let-me-in');
  t.deepEqual(await millrace('call', address, 'hello', '--token-file', tokenFile(t, 'let-me-in\n')), {
    code: 0,
    out: 'in',
    err: '',
  });
  process.env.MILLRACE_TOKEN = 'let-me-in';
  t.teardown(() => delete process.env.MILLRACE_TOKEN);
  t.is((await millrace('call', address, 'hello')).out, 'in');
  const refused = await millrace('call', address, 'hello', '--token-file', tokenFile(t, 'another'));
  t.is(refused.code, 1);
  t.false(/let-me-in|another/.test(refused.err));
  process.env.MILLRACE_TOKEN = '';
  await millrace('call', address, 'hello');
  t.deepEqual(shown, ['let-me-in', 'let-me-in', 'another', '']);
});

test.serial('what is no token is one line that does not tell it', async (t) => {
  const folder = tempFolder(t);
  execFileSync('mkfifo', ['-m', '600', join(folder, 'fifo')]);
  mkdirSync(join(folder, 'folder'), { mode: 0o700 });
  symlinkSync('/dev/zero', join(folder, 'zero'));
  const wrong: [string, RegExp][] = [
    [join(folder, 'none'), /cannot read .*none: no such file/],
    [join(folder, 'fifo'), /fifo: .*file/],
    [join(folder, 'folder'), /folder: .*f/],
    [join(folder, 'zero'), /zero: .*file/],
    [tokenFile(t, 'SECRET', 0o644), /others than its owner.*chmod 600/],
    [tokenFile(t, 'SECRET', 0o620), /others than its owner/],
    [tokenFile(t, ' \n'), /there is no token in it/],
    [tokenFile(t, 'SECRET\nSECRET'), /one line of text/],
    [tokenFile(t, 'SECRET\x00'), /one line of text/],
    [tokenFile(t, Buffer.from([0x53, 0xff, 0xfe])), /one line of text/],
    [tokenFile(t, 'SECRET'.repeat(1366)), /8192 bytes at most/],
    [tokenFile(t, 'SECRET'.repeat(1_000_000)), /8192 bytes at most/],
  ];
  for (const [file, message] of wrong) {
    const ended = await millrace('call', ':1', 'hello', '--token-file', file);
    isOneLine(t, ended, 2, message);
    t.false(ended.err.includes('SECRET'));
  }
  process.env.MILLRACE_TOKEN = 'SECRET\nSECRET';
  t.teardown(() => delete process.env.MILLRACE_TOKEN);
  const ended = await millrace('pull', ':1', 'x');
  isOneLine(t, ended, 2, /MILLRACE_TOKEN: a token is one line/);
  t.false(ended.err.includes('SECRET'));
  const typed = await millrace('call', ':1', 'hello', '--token=SECRET');
  isOneLine(t, typed, 2, /unknown option '--token'/);
  t.false(typed.err.includes('SECRET'));
});

test.serial('a token that would go over the network in clear is warned of', async (t) => {
  const file = tokenFile(t, 'x');
  const { err } = await millrace('call', '0.0.0.0:1', 'hello', '--token-file', file);
  t.regex(err, /^millrace: the token goes over the network in clear/);
  t.regex((await millrace('call', 'ws://0.0.0.0:1/', 'hello', '--token-file', file)).err, /in clear: wss:/);
  for (const hidden of ['127.0.0.1:1', 'ws://127.0.0.1:1/', 'ws://[::1]:1/', 'wss://0.0.0.0:1/'])
    t.notRegex((await millrace('call', hidden, 'hello', '--token-file', file)).err, /in clear/, hidden);
});

test.serial('a server is reached by a WebSocket where its address is the URL of one', async (t) => {
  const { address, dir, dest } = await serve(t, TREE, '--topic', 'news=5');
  const url = `ws://${address}/`;
  t.is((await millrace('call', url, 'echo', 'value=x')).out, 'x');
  t.is((await millrace('pull', url, dest)).code, 0);
  t.deepEqual(contents(dest), contents(dir));
  t.is((await millrace('pull', url, dest, '--retry', '1')).code, 0);
  t.is((await run(['publish', url, 'news'], 'hello').ended).out, '1\n');
  isOneLine(t, await millrace('call', url, 'ping', '--tls'), 2, /wss:\/\/ has it/);
});

const WELL: Facts = {
  nodeProblem: undefined,
  nodeVersion: '26.0.0',
  zstdProblem: undefined,
  zstdVersion: '1.5.7',
  cores: 4,
  machineCores: 8,
  glibc: '2.36',
  isMallocSet: false,
  canRestart: true,
  descriptors: 65_536,
  nowMs: Date.UTC(2026, 1),
  clockSource: 'tsc',
  memory: 2 ** 33,
  machineMemory: 2 ** 34,
  heap: 2 ** 32,
};

test('the doctor says what to mend', (t) => {
  t.true(diagnose(WELL).every(({ verdict }) => verdict === 'ok'));
  const ill: [Partial<Facts>, check: string, verdict: string, mend: RegExp][] = [
    [{ nodeProblem: 'too old' }, 'node', 'fail', /too old/],
    [{ zstdProblem: 'broken' }, 'zstd', 'fail', /broken/],
    [{ cores: 1 }, 'cores', 'warn', /take turns/],
    [{ canRestart: false }, 'malloc', 'warn', /MALLOC_ARENA_MAX=2/],
    [{ descriptors: 1024 }, 'files', 'warn', /832 connections of 10000; ulimit/],
    [{ descriptors: 100 }, 'files', 'fail', /0 connections/],
    [{ nowMs: 0 }, 'clock', 'fail', /not set/],
    [{ clockSource: 'hpet' }, 'clock', 'warn', /slow/],
    [{ memory: 2 ** 26 }, 'memory', 'fail', /needs/],
    [{ memory: 2 ** 28 }, 'memory', 'warn', /--context-memory/],
    [{ memory: 2 ** 31 }, 'memory', 'warn', /--max-old-space-size=1024/],
  ];
  for (const [facts, check, verdict, mend] of ill) {
    const findings = diagnose({ ...WELL, ...facts }).filter((each) => each.verdict !== 'ok');
    t.is(findings.length, 1);
    t.like(findings[0], { check, verdict });
    t.regex(findings[0].mend ?? '', mend);
  }
  t.true(diagnose({ ...WELL, glibc: undefined, canRestart: false }).every(({ verdict }) => verdict === 'ok'));
});

test.serial('doctor prints one line per check, or JSON', async (t) => {
  const { out, err } = await millrace('doctor');
  t.is(err, '');
  const lines = out.trimEnd().split('\n');
  t.is(lines.length, 7);
  for (const line of lines) t.regex(line, /^(ok {2}|warn|fail) {2}\w+ +\S/);
  const findings = JSON.parse((await millrace('doctor', '--json')).out);
  t.deepEqual(
    findings.map(({ check }: { check: string }) => check),
    ['node', 'zstd', 'cores', 'malloc', 'files', 'clock', 'memory'],
  );
});

const bash = spawnSync('bash', ['--version']).status === 0 ? test.serial : test.serial.skip;

bash('bash completes commands, options and values by what millrace prints', async (t) => {
  const script = (await millrace('completion', 'bash')).out;
  const complete = (...words: string[]) => {
    const line = `COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _millrace; echo "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', `${script}\n${line}`, 'bash', 'millrace', ...words]);
    t.is(stderr.toString(), '');
    return stdout.toString().trim().split(' ').filter(Boolean);
  };
  t.deepEqual(complete('pul'), ['pull']);
  t.deepEqual(complete('frame', ''), ['encode', 'decode', '--help']);
  t.deepEqual(complete('frame', 'encode', '--r'), ['--raw']);
  t.deepEqual(complete('pull', ':1', 'x', '--token'), ['--token-file']);
  t.deepEqual(complete('serve', '.', '--policy', 'a'), ['affinity', 'adaptive']);
  t.deepEqual(complete('completion', 'f'), ['fish']);
  t.deepEqual(complete('call', ':1', 'frame', 'enc'), []);
  t.deepEqual(complete('pull', '--path', ''), []);
  const help = (await millrace('--help')).out;
  for (const command of complete('').filter((word) => !word.startsWith('-')))
    t.regex(help, new RegExp(`\\n {2}${command}\\b`));
});

test.serial('zsh and fish get every option of every command', async (t) => {
  for (const shell of ['zsh', 'fish']) {
    const { code, out } = await millrace('completion', shell);
    t.is(code, 0);
    for (const word of ['pull', 'in-flight', 'affinity', 'tls-client-ca', 'raw', 'lock-ms'])
      t.true(out.includes(word), word);
    if (spawnSync(shell, ['--version']).status === 0)
      t.is(spawnSync(shell, ['-n'], { input: out }).status, 0);
  }
  isOneLine(t, await millrace('completion', 'tcsh'), 2, /bash, zsh, fish/);
});

test('who publishes to a server that is not there listens to no signals afterwards', async (t) => {
  const { ended, signals } = run(['publish', 'unix:/nowhere/millrace', 'prices'], 'a message');
  t.is((await ended).code, 1);
  t.deepEqual(signals.eventNames(), []);
});

test.serial('who has what it came for hangs up, and is not counted as lost', async (t) => {
  const server = createServer({ workers: 1 });
  t.teardown(() => server.close(0));
  server.topic('news');
  const { host, port } = (await server.listen({})) as { host: string; port: number };
  t.is((await millrace('call', `${host}:${port}`, 'capabilities')).code, 0);
  t.is((await run(['publish', `${host}:${port}`, 'news', '--data', '-'], 'x').ended).code, 0);
  while ((await server.stats()).connections > 0) await turn();
  t.deepEqual((await server.stats()).connectionTotals.closed, { ok: 2 });
});
