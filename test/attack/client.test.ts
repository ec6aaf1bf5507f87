/** A hostile server: what it can do to a client, and to the folder that a client pulls into. */

import { existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import zlib from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { pull } from '../../src/files/pull.ts';
import { noise, text, zstdBlock, zstdBomb, zstdHeader } from '../encoding/helpers.ts';
import { tempFolder } from '../files/helper.ts';
import { frame, frames, times } from '../helpers/raw-peer.ts';
import { impostor, reach } from '../helpers/serving.ts';
import { streamSettingsPayload } from '../independent/client.ts';

const HELLO =
  '0 2 stream-begin sender-settings 0 {"extensions":["credit","cancel","ping","goaway","progress"]}';

/** A server that answers the first thing it hears after the settings with `says`. */
async function liar(t: ExecutionContext, says: Uint8Array): Promise<{ port: number }> {
  return impostor(t, (socket) => {
    socket.once('data', () => {
      socket.write(frames(HELLO));
      socket.once('data', () => socket.write(says));
    });
  });
}

interface Lie {
  name: string;
  says: Uint8Array | (() => Uint8Array);
  /** How the call ends: its bytes, or its error. */
  gives: string | RegExp;
}

const begin = (profile: string, extra?: Uint8Array) =>
  frame('0 4 stream-begin stream-settings 0 ', streamSettingsPayload(profile, extra));
const encoded = (payload: Uint8Array) => frame('1 4 encoded bytes-response eos ', payload);
const plain = (line: string) => `1 2 0 ${line}`;

const LIES: Lie[] = [
  { name: 'an answer', says: frames(plain('bytes-response eos truth')), gives: 'truth' },
  {
    name: 'an answer to nobody',
    says: frames('3 2 0 bytes-response eos x'),
    gives: /unknown-request|not open/,
  },
  {
    name: 'an answer after the answer',
    says: frames(plain('bytes-response eos x'), plain('bytes-response eos y')),
    gives: 'x',
  },
  {
    name: 'an answer on a client stream',
    says: frames('1 1 stream-begin bytes-response eos x'),
    gives: /stream 1/,
  },
  { name: 'an answer on stream 0', says: frames('1 0 stream-begin bytes-response eos x'), gives: /stream 0/ },
  {
    name: 'an answer on a closed stream',
    says: frames('1 6 0 bytes-response eos x'),
    gives: /closed stream 6/,
  },
  { name: 'an answer without a flag', says: frames(plain('bytes-response 0 x')), gives: /exactly one flag/ },
  {
    name: 'an answer with both flags',
    says: frames(plain('bytes-response continuation|eos x')),
    gives: /exactly one flag/,
  },
  { name: 'an error without a flag', says: frames(plain('error-response 0 x')), gives: /exactly one flag/ },
  {
    name: 'a protocol error',
    says: frames('0 2 0 error-response protocol you did wrong'),
    gives: /reports: you did wrong/,
  },
  {
    name: 'an error that is not UTF-8',
    says: frames(plain('error-response application \\xff\\xfe')),
    gives: /\ufffd/,
  },
  { name: 'a command', says: frames('1 2 0 command-name eos echo'), gives: /not for the server/ },
  { name: 'a cancel', says: frames('1 2 0 cancel 0 '), gives: /not for the server/ },
  { name: 'type 0', says: frames('1 2 0 0 0 x'), gives: /unknown frame type 0/ },
  { name: 'type 15', says: frames('1 2 0 15 0 x'), gives: /unknown frame type 15/ },
  {
    name: 'a header that claims 16 MiB',
    says: Buffer.from([255, 255, 255, 1, 0, 2, 0, 0x41]),
    gives: /maxPayload/,
  },
  {
    name: 'settings once more',
    says: frames(HELLO.replace('stream-begin', '0')),
    gives: /must be the first/,
  },
  { name: 'a ping of one byte', says: frames('0 2 0 ping 0 x'), gives: /ping payload/ },
  {
    name: 'a reply to no ping, then the truth',
    says: frames('0 2 0 ping reply 12345678', plain('bytes-response eos truth')),
    gives: 'truth',
  },
  {
    name: 'credit, then the truth',
    says: frames('0 2 0 credit 0 1234', plain('bytes-response eos truth')),
    gives: 'truth',
  },
  { name: 'credit of one byte', says: frames('0 2 0 credit 0 1'), gives: /credit payload/ },
  {
    name: 'goaway, and the truth all the same',
    says: frames('0 2 0 goaway 0 \\x01\\x00bye', plain('bytes-response eos truth')),
    gives: 'truth',
  },
  { name: 'a goaway of one byte', says: frames('0 2 0 goaway 0 \\x01'), gives: /goaway payload/ },
  {
    name: 'text that is cut off',
    says: frames(plain('text-output 0 \\xff\\xff\\x00\\x00x')),
    gives: /middle of an atom/,
  },
  {
    name: 'text with 255 labels and no room for them',
    says: frames(plain('text-output 0 \\x01\\x00\\xff\\xffx')),
    gives: /middle of an atom/,
  },
  {
    name: 'text over 32 768 bytes',
    says: frames(frame(plain('text-output 0 '), new Uint8Array(32_769))),
    gives: /more than 32768/,
  },
  { name: 'progress that is cut off', says: frames(plain('progress 0 x')), gives: /progress payload/ },
  {
    name: 'progress beyond 2^53',
    says: frames(frame(plain('progress 0 '), new Uint8Array(22).fill(0x7f, 0, 16))),
    gives: /out of range/,
  },
  { name: 'an unknown profile', says: frames(begin('snappy')), gives: /unknown profile/ },
  {
    name: 'a profile in mid-stream',
    says: frames(frame('0 2 0 stream-settings 0 ', streamSettingsPayload('zlib'))),
    gives: /mid-stream/,
  },
  {
    name: 'a profile with settings bytes that it does not have',
    says: frames(begin('zlib', Uint8Array.of(1))),
    gives: /no settings/,
  },
  {
    name: 'a window of 2^24 in the settings',
    says: frames(begin('zstd-8mb', Uint8Array.of(24))),
    gives: /maxWindowSize/,
  },
  {
    name: 'a window of 2^24 in a frame',
    says: frames(
      begin('zstd-8mb'),
      encoded(Uint8Array.from([...zstdHeader(24), ...zstdBlock(0, [97], true)])),
    ),
    gives: /maxWindowSize/,
  },
  { name: 'a zstd bomb', says: frames(begin('zstd-8mb'), encoded(zstdBomb(4096))), gives: /maxDecodedSize/ },
  {
    name: 'a small zstd bomb',
    says: frames(begin('zstd-8mb'), encoded(zstdBomb(1))),
    gives: /maxDecodedRatio/,
  },
  {
    name: 'a zlib bomb',
    says: () => frames(begin('zlib'), encoded(zlib.deflateSync(new Uint8Array(8 << 20)))),
    gives: /maxDecodedSize/,
  },
  { name: 'noise marked as zlib', says: frames(begin('zlib'), encoded(noise(300))), gives: /./ },
  {
    name: 'noise marked as zstd',
    says: frames(begin('zstd-8mb'), encoded(noise(300))),
    gives: /not a zstd frame/,
  },
  {
    name: 'a zlib answer cut off',
    says: frames(begin('zlib'), encoded(zlib.deflateSync(text(500)).subarray(0, 60))),
    gives: /flush/,
  },
  {
    name: 'a zstd answer cut off',
    says: frames(begin('zstd-8mb'), encoded(zlib.zstdCompressSync(text(500)).subarray(0, 60))),
    gives: /ends inside/,
  },
  {
    name: '17 open streams',
    says: times(17, (i) => `0 ${2 * i + 4} stream-begin ping 0 12345678`),
    gives: /maxIncomingStreams/,
  },
  {
    name: '5 000 begins, as servers that begin a stream for every response send them, and the truth',
    says: frames(
      times(5000, () => '0 4 stream-begin ping 0 12345678'),
      plain('bytes-response eos truth'),
    ),
    gives: 'truth',
  },
  { name: 'an HTTP answer', says: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), gives: /maxPayload/ },
];

for (const { name, says, gives } of LIES) {
  test(`a client that hears ${name}`, async (t) => {
    const client = await reach(await liar(t, typeof says === 'function' ? says() : says));
    const got = await client.call('anything').text().catch(String);
    if (typeof gives === 'string') t.is(got, gives);
    else t.regex(got, gives);
    client.destroy();
    await client.closed;
  });
}

// -------------------------------------------------------------------------------------- file names

/** A client of a server whose listing has one entry, with the content `x`. */
function listing(entry: unknown, contents = 'x') {
  return {
    async *call(command: string): AsyncGenerator<Uint8Array> {
      if (command === 'files.list') {
        const line =
          typeof entry === 'string'
            ? entry
            : JSON.stringify({ size: 1, mtimeMs: 1e12, mode: 0o644, ...(entry as object) });
        yield Buffer.from(`${line}\n`);
      } else yield Buffer.from(contents);
    },
  };
}

const deep = (parts: number) => Array.from({ length: parts }, () => 'd').join('/');
const HOSTILE_PATHS: string[] = [
  '',
  '.',
  '../..',
  './a',
  'a/.',
  'a/./b',
  '../a',
  '../../a',
  'a/..',
  'a/../b',
  'a/../../b',
  'a/../../../etc/passwd',
  '/',
  '/a',
  '/etc/passwd',
  '//a',
  'a//b',
  'a/',
  'a\0b',
  '\0',
  'a/\0',
  '\ud800',
  'a\udfffb',
  'x'.repeat(4097),
  deep(257),
  deep(1000),
  `${'a/'.repeat(2049)}b`,
];
for (const path of HOSTILE_PATHS) {
  test(`pull writes nothing for a file called ${JSON.stringify(path.slice(0, 40))} (${path.length} characters)`, async (t) => {
    const folder = tempFolder(t);
    const result = await pull(listing({ path }), join(folder, 'dest'));
    t.is(result.files, 0);
    t.is(result.failed.length, 1);
    t.deepEqual(readdirSync(join(folder, 'dest')), []);
    t.deepEqual(readdirSync(folder), ['dest']);
  });
}

const HOSTILE_ENTRIES: Record<string, unknown> = {
  'no JSON': 'not json',
  'half of a JSON': '{"path":"a"',
  'a list': '[]',
  null: 'null',
  'a number': '5',
  'no path': { path: undefined },
  'a path that is a number': { path: 5 },
  'a path that is a list': { path: ['a'] },
  'a negative size': { path: 'a', size: -1 },
  'a broken size': { path: 'a', size: 1.5 },
  'a size that is text': { path: 'a', size: '1' },
  'a size beyond 2^53': { path: 'a', size: 2 ** 60 },
  'no size': { path: 'a', size: undefined },
  'a time that is text': { path: 'a', mtimeMs: 'now' },
  'a time beyond time': { path: 'a', mtimeMs: 1e300 },
  'no time': { path: 'a', mtimeMs: null },
  'a negative mode': { path: 'a', mode: -1 },
  'a mode over 16 bits': { path: 'a', mode: 0x1_0000 },
  'a line of 40 000 characters': { path: 'a', x: 'y'.repeat(40_000) },
};
for (const [what, entry] of Object.entries(HOSTILE_ENTRIES)) {
  test(`pull writes nothing for an entry with ${what}`, async (t) => {
    const dest = join(tempFolder(t), 'dest');
    const result = await pull(listing(entry), dest).catch((error: Error) => ({ files: 0, failed: [error] }));
    t.is(result.files, 0);
    t.is(result.failed.length, 1);
    t.deepEqual(readdirSync(dest), []);
  });
}

const LYING_SIZES: [string, number, string][] = [
  ['more than it listed', 3, 'four'],
  ['less than it listed', 5, 'four'],
  ['nothing of what it listed', 5, ''],
  ['something for an empty file', 0, 'x'],
  ['one byte more than 256 KiB', 256 << 10, 'x'.repeat((256 << 10) + 1)],
  ['one byte less than a long file', (256 << 10) + 2, 'x'.repeat((256 << 10) + 1)],
  ['one byte more than a long file', (256 << 10) + 1, 'x'.repeat((256 << 10) + 2)],
  ['a few bytes of a petabyte', 2 ** 50, 'few'],
];
for (const [what, size, content] of LYING_SIZES) {
  test(`pull keeps nothing of a file of which the server sends ${what}`, async (t) => {
    const dest = join(tempFolder(t), 'dest');
    const result = await pull(listing({ path: 'a/b', size }, content), dest);
    t.is(result.files, 0);
    t.regex(result.failed[0].error, /listed/);
    t.deepEqual(readdirSync(dest, { recursive: true }), []);
  });
}

const LINKS: Record<string, (dest: string, outside: string) => void> = {
  'a link to a folder outside': (dest, outside) => symlinkSync(outside, join(dest, 'a')),
  'a link to the folder above': (dest) => symlinkSync('../..', join(dest, 'a')),
  'a link that leads nowhere': (dest) => symlinkSync('/no/such/place', join(dest, 'a')),
  'a file': (dest) => writeFileSync(join(dest, 'a'), 'mine'),
};
for (const [what, put] of Object.entries(LINKS)) {
  test(`pull writes nothing through ${what} in the place of a folder`, async (t) => {
    const folder = tempFolder(t);
    const [dest, outside] = [join(folder, 'dest'), join(folder, 'outside')];
    mkdirSync(dest);
    mkdirSync(outside);
    put(dest, outside);
    const before = lstatSync(join(dest, 'a')).ino;
    const result = await pull(listing({ path: 'a/b' }), dest);
    t.is(result.files, 0);
    t.is(lstatSync(join(dest, 'a')).ino, before);
    t.deepEqual(readdirSync(outside), []);
    t.false(existsSync(join(folder, 'b')));
  });
}
