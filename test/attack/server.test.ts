/**
 * Attacks on a server over a socket, class by class. What is about one frame or one state is in
 * test/reactor/hostile.test.ts, what is about payloads and lengths in test/wire/wire.test.ts.
 */

import zlib from 'node:zlib';
import test from 'ava';
import type { CommandRequest, Output } from '../../src/index.ts';
import {
  CODECS,
  concat,
  encodeAll,
  noise,
  text,
  zstdBlock,
  zstdBomb,
  zstdHeader,
} from '../encoding/helpers.ts';
import { frame, frames, HELLO, times } from '../helpers/raw-peer.ts';
import { argumentPayload, streamSettingsPayload } from '../independent/client.ts';
import { type Attack, Target } from './helper.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const PATIENT = { idleTimeout: 60_000, frameTimeout: 60_000, commandTimeout: 60_000 };
/** How many of the handlers of `hold` are at work. */
let holding = 0;

/** Answers when it is told to stop. */
async function* hold({ signal }: CommandRequest): AsyncGenerator<Output> {
  holding++;
  try {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  } finally {
    holding--;
  }
}

let target: Target;
test.before(async () => {
  target = await Target.start({
    limits: PATIENT,
    commands: { hold, deaf: { module: MODULE, export: 'deaf' }, fail: { module: MODULE, export: 'fail' } },
  });
});
test.after.always(() => target?.stop());

function attacks(className: string, cases: readonly Attack[]): void {
  for (const each of cases) test.serial(`${className}: ${each.name}`, (t) => target.attack(t, each));
}

const id = (i: number) => 2 * i + 1;
const piece = (type: string, payload: Uint8Array) => frame(`1 3 encoded ${type} `, payload);
const begin = (profile: string, extra?: Uint8Array, stream = 3) =>
  frame(`0 ${stream} stream-begin stream-settings 0 `, streamSettingsPayload(profile, extra));
const ECHO_DATA = '1 1 0 command-name have-data echo';

// ------------------------------------------------------------------------------------------- floods

attacks('request flood', [
  {
    name: '128 requests at once are served',
    send: frames(
      HELLO,
      times(128, (i) => `${id(i)} 1 0 command-name eos hold`),
      times(128, (i) => `${id(i)} 1 0 cancel 0 `),
    ),
    expect: {
      answers: Object.fromEntries(Array.from({ length: 128 }, (_, i) => [id(i), 'error: cancelled'])),
    },
  },
  {
    name: 'the 129th request is one too many',
    send: frames(
      HELLO,
      times(129, (i) => `${id(i)} 1 0 command-name eos hold`),
    ),
    expect: { refused: 'limit', says: /maxConcurrentRequests/ },
  },
  {
    name: 'half-open requests count like others',
    send: frames(
      HELLO,
      times(129, (i) => `${id(i)} 1 0 command-name have-args echo`),
    ),
    expect: { refused: 'limit', says: /maxConcurrentRequests/ },
  },
  {
    name: 'a request that is open and running counts once',
    send: frames(
      HELLO,
      times(128, (i) => `${id(i)} 1 0 command-name have-data echo`),
      times(128, (i) => `${id(i)} 1 0 command-data eos ${i}`),
    ),
    expect: { answers: Object.fromEntries(Array.from({ length: 128 }, (_, i) => [id(i), String(i)])) },
  },
  {
    name: '100 commands that nobody knows, one behind the other, are all answered',
    send: () =>
      frames(
        HELLO,
        times(100, (i) => `${id(i)} 1 0 command-name eos no-such-command-${i}`),
      ),
    expect: {
      answers: Object.fromEntries(
        Array.from({ length: 100 }, (_, i) => [id(i), `error: unknown command 'no-such-command-${i}'`]),
      ),
    },
  },
  {
    name: 'a request ID that is busy is not to be used again',
    send: frames(HELLO, '1 1 0 command-name eos hold', '1 1 0 command-name eos hold'),
    expect: { refused: 'request-already-active' },
  },
  {
    name: 'a request ID that is being received is not to be used again',
    send: frames(HELLO, '1 1 0 command-name have-args echo', '1 1 0 command-name eos hold'),
    expect: { refused: 'request-already-received' },
  },
]);

attacks('cancel storm', [
  {
    name: 'every request cancelled at once leaves no handler at work',
    send: frames(
      HELLO,
      times(100, (i) => frames(`${id(i)} 1 0 command-name eos hold`, `${id(i)} 1 0 cancel 0 `)),
    ),
    expect: {
      answers: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [id(i), 'error: cancelled'])),
    },
  },
  {
    name: 'a request cancelled 500 times is cancelled once',
    send: frames(
      HELLO,
      '1 1 0 command-name eos hold',
      times(500, () => '1 1 0 cancel 0 '),
    ),
    expect: { answers: { 1: 'error: cancelled' } },
  },
  {
    name: 'a cancel right behind an unknown command: one answer',
    send: frames(HELLO, '1 1 0 command-name eos no such', '1 1 0 cancel 0 ', '1 1 0 cancel 0 '),
    expect: { answers: { 1: /^error: unknown command/ } },
  },
  {
    name: 'a half-open request cancelled twice: one answer',
    send: frames(HELLO, '1 1 0 command-name have-args echo', '1 1 0 cancel 0 ', '1 1 0 cancel 0 '),
    expect: { answers: { 1: 'error: cancelled' } },
  },
  {
    name: 'a cancel right behind the answer, its data still coming: one answer',
    send: frames(
      HELLO,
      times(50, (i) =>
        frames(
          `${id(i)} 1 0 command-name have-data capabilities`,
          `${id(i)} 1 0 cancel 0 `,
          `${id(i)} 1 0 command-data eos x`,
          `${id(i)} 1 0 cancel 0 `,
        ),
      ),
    ),
    expect: { answers: { 1: /./, 99: /./ } },
  },
  {
    name: 'cancelling what never was is ignored',
    send: frames(
      HELLO,
      times(500, (i) => `${id(i)} 1 0 cancel 0 `),
    ),
    expect: { answers: {} },
  },
  {
    name: 'cancelling request 0 and even ones is ignored',
    send: frames(HELLO, '0 1 0 cancel 0 ', '2 1 0 cancel 0 ', '65534 1 0 cancel 0 '),
    expect: { answers: {} },
  },
  {
    name: 'a half-open request can be cancelled, and its late frames do no harm',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      '1 1 0 cancel 0 ',
      frame('1 1 0 command-argument eoa ', argumentPayload('value', 'late')),
    ),
    expect: { answers: { 1: 'error: cancelled' } },
  },
  {
    name: 'command data after a cancel does no harm',
    send: frames(
      HELLO,
      ECHO_DATA,
      '1 1 0 cancel 0 ',
      '1 1 0 command-data continuation late',
      '1 1 0 command-data eos later',
    ),
    expect: { answers: { 1: 'error: cancelled' } },
  },
  {
    name: 'a cancel in a lane stops the call there',
    send: frames(HELLO, '1 1 0 command-name have-data deaf', '1 1 0 cancel 0 ', '1 1 0 command-data eos x'),
    expect: { answers: { 1: /^not listening$|^error: cancelled$/ } },
  },
  {
    name: 'more cancels than a second may have',
    send: frames(
      HELLO,
      times(1100, () => '1 1 0 cancel 0 '),
    ),
    expect: { refused: 'limit', says: /maxCancels/ },
  },
  {
    name: 'a cancel with a payload',
    send: frames(HELLO, '1 1 0 cancel 0 x'),
    expect: { refused: 'bad-payload' },
  },
]);

attacks('ping flood', [
  {
    name: '900 pings in one second are answered',
    send: frames(
      HELLO,
      times(900, () => '0 1 0 ping 0 12345678'),
    ),
    expect: { answers: {} },
  },
  {
    name: '10 100 pings in one second are too many',
    send: frames(
      HELLO,
      times(10_100, () => '0 1 0 ping 0 12345678'),
    ),
    expect: { refused: 'limit', says: /maxPings/ },
  },
  {
    name: '10 100 replies that nobody asked for are too many',
    send: frames(
      HELLO,
      times(10_100, () => '0 1 0 ping reply 12345678'),
    ),
    expect: { refused: 'limit', says: /maxPings/ },
  },
  {
    name: 'a reply that nobody asked for is ignored',
    send: frames(HELLO, '0 1 0 ping reply 12345678'),
    expect: { answers: {} },
  },
  {
    name: 'a ping of 7 bytes',
    send: frames(HELLO, '0 1 0 ping 0 1234567'),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'a ping of 9 bytes',
    send: frames(HELLO, '0 1 0 ping 0 123456789'),
    expect: { refused: 'bad-payload' },
  },
  { name: 'an empty ping', send: frames(HELLO, '0 1 0 ping 0 '), expect: { refused: 'bad-payload' } },
  {
    name: 'a ping of 65 535 bytes',
    send: frames(HELLO, frame('0 1 0 ping 0 ', Buffer.alloc(65_535))),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'a ping before sender-settings',
    send: frames('0 1 stream-begin ping 0 12345678'),
    expect: { refused: 'extension-without-settings' },
  },
]);

attacks('settings flood', [
  {
    name: 'settings twice',
    send: frames(HELLO, HELLO.replace('stream-begin', '0')),
    expect: { refused: 'settings-not-first' },
  },
  {
    name: '1 000 settings',
    send: frames(
      HELLO,
      times(1000, () => HELLO.replace('stream-begin', '0')),
    ),
    expect: { refused: 'settings-not-first' },
  },
  {
    name: 'settings after a command',
    send: frames('1 1 stream-begin command-name eos hold', HELLO.replace('stream-begin', '0')),
    expect: { refused: 'settings-not-first' },
  },
  {
    name: 'settings of 4 097 bytes',
    send: frames(`0 1 stream-begin sender-settings 0 {"x":"${'y'.repeat(4089)}"}`),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'settings of 4 096 bytes, all of them unknown, are ignored',
    send: frames(`0 1 stream-begin sender-settings 0 {"x":"${'y'.repeat(4088)}"}`),
    expect: { answers: {} },
  },
  {
    name: 'settings nested 2 000 deep',
    send: frames(`0 1 stream-begin sender-settings 0 ${'['.repeat(2000)}${']'.repeat(2000)}`),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'settings that would change prototypes change nothing',
    send: frames('0 1 stream-begin sender-settings 0 {"__proto__":{"maxFrameSize":1},"constructor":1}'),
    expect: { answers: {} },
  },
  {
    name: 'frames of one byte each',
    send: frames('0 1 stream-begin sender-settings 0 {"maxFrameSize":1,"contentEncodings":["zstd-8mb"]}'),
    expect: { refused: 'limit', says: /minFrameSize/ },
  },
  {
    name: 'a thousand encodings that nobody knows make an identity peer',
    send: frames(
      `0 1 stream-begin sender-settings 0 ${JSON.stringify({ contentEncodings: Array.from({ length: 400 }, (_, i) => `x${i}`) })}`,
    ),
    expect: { answers: {} },
  },
  {
    name: 'windows of 0 bytes hold a response back, and a cancel frees it',
    send: frames(
      '0 1 stream-begin sender-settings 0 {"requestWindow":0,"connectionWindow":0}',
      '1 1 0 command-name have-data echo',
      '1 1 0 command-data eos held',
      '1 1 0 cancel 0 ',
    ),
    expect: { answers: { 1: 'error: cancelled' } },
  },
]);

attacks('credit flood', [
  {
    name: 'credit for a request that never was is ignored',
    send: frames(
      HELLO,
      times(100, (i) => frame(`${i} 1 0 credit 0 `, Buffer.from([255, 255, 255, 255]))),
    ),
    expect: { answers: {} },
  },
  {
    name: 'more credit frames than a second may have',
    send: frames(
      HELLO,
      times(10_100, () => frame('1 1 0 credit 0 ', Buffer.alloc(4))),
    ),
    expect: { refused: 'limit', says: /maxCredits/ },
  },
  {
    name: 'credit that takes the connection window past 2^31',
    send: frames(
      '0 1 stream-begin sender-settings 0 {"connectionWindow":1}',
      frame('0 1 0 credit 0 ', Buffer.from([255, 255, 255, 127])),
    ),
    expect: { refused: 'limit', says: /2147483647/ },
  },
  {
    name: 'credit that takes a request window past 2^31',
    send: frames(
      '0 1 stream-begin sender-settings 0 {"requestWindow":1}',
      '1 1 0 command-name eos hold',
      frame('1 1 0 credit 0 ', Buffer.from([255, 255, 255, 255])),
    ),
    expect: { refused: 'limit', says: /2147483647/ },
  },
  {
    name: 'credit without a window is ignored',
    send: frames(HELLO, frame('0 1 0 credit 0 ', Buffer.from([255, 255, 255, 255]))),
    expect: { answers: {} },
  },
  {
    name: 'credit of 3 bytes',
    send: frames(HELLO, '0 1 0 credit 0 123'),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'credit of 5 bytes',
    send: frames(HELLO, '0 1 0 credit 0 12345'),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'credit before sender-settings',
    send: frames('0 1 stream-begin credit 0 1234'),
    expect: { refused: 'extension-without-settings' },
  },
]);

attacks('empty-frame flood', [
  {
    name: '100 empty data frames are served',
    send: frames(
      HELLO,
      ECHO_DATA,
      times(100, () => '1 1 0 command-data continuation '),
      '1 1 0 command-data eos done',
    ),
    expect: { answers: { 1: 'done' } },
  },
  {
    name: '101 empty data frames are one too many',
    send: frames(
      HELLO,
      ECHO_DATA,
      times(101, () => '1 1 0 command-data continuation '),
    ),
    expect: { refused: 'limit', says: /maxEmptyDataFrames/ },
  },
  {
    name: 'a byte now and then makes a row of empty frames begin anew',
    send: frames(
      HELLO,
      ECHO_DATA,
      times(5, (i) =>
        frames(
          times(99, () => '1 1 0 command-data continuation '),
          `1 1 0 command-data continuation ${i}`,
        ),
      ),
      '1 1 0 command-data eos .',
    ),
    expect: { answers: { 1: '01234.' } },
  },
  {
    name: '101 empty pieces of an argument',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument continuation ', argumentPayload('value', 'a', 10)),
      times(101, () => '1 1 0 command-argument continuation '),
    ),
    expect: { refused: 'limit', says: /maxEmptyDataFrames/ },
  },
  {
    name: '101 empty frames that are marked encoded',
    send: frames(
      HELLO,
      begin('zlib'),
      ECHO_DATA,
      times(101, () => piece('command-data continuation', Buffer.alloc(0))),
    ),
    expect: { refused: 'limit', says: /maxEmptyDataFrames/ },
  },
  {
    name: 'an empty command name is no command',
    send: frames(HELLO, '1 1 0 command-name eos '),
    expect: { answers: { 1: /^error: unknown command ''$/ } },
  },
]);

/** `count` frames of one byte, each flushed through a context of its own stream. */
function tiny(profile: string, count: number): Uint8Array[] {
  const codec = CODECS.find((each) => each.profile === profile && each.createEncoder);
  const bytes = Array.from({ length: count }, (_, i) => Uint8Array.of(97 + (i % 26)));
  return encodeAll(codec!, bytes, { level: 1 });
}
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

attacks(
  'tiny-frame flood',
  ['identity', 'zlib', 'zstd-8mb'].map((profile) => ({
    name: `2 600 frames of one byte, ${profile}`,
    send: () =>
      frames(
        HELLO,
        begin(profile),
        ECHO_DATA,
        ...tiny(profile, 2600).map((bytes) => piece('command-data continuation', bytes)),
        '1 1 0 command-data eos .',
      ),
    expect: { answers: { 1: `${LETTERS.repeat(100)}.` } },
  })),
);

attacks('begin/end churn', [
  ...['identity', 'zlib', 'zstd-8mb'].flatMap((profile): Attack[] => [
    {
      name: `900 begins of a stream in a second, ${profile}`,
      send: frames(
        HELLO,
        times(900, () => begin(profile)),
      ),
      expect: { answers: {} },
    },
    {
      name: `1 100 begins of a stream in a second, ${profile}`,
      send: frames(
        HELLO,
        times(1100, () => begin(profile)),
      ),
      expect: { refused: 'limit', says: /maxStreamBegins/ },
    },
    {
      name: `450 streams begun, used and ended, ${profile}`,
      send: () => {
        const [used] = tiny(profile, 1);
        return frames(
          HELLO,
          ECHO_DATA,
          times(450, () =>
            frames(begin(profile), frame('1 3 encoded|stream-end command-data continuation ', used)),
          ),
          '1 1 0 command-data eos .',
        );
      },
      expect: { answers: { 1: `${'a'.repeat(450)}.` } },
    },
    {
      name: `a 17th open stream, ${profile}`,
      send: frames(
        HELLO,
        times(16, (i) => begin(profile, undefined, 3 + 2 * i)),
      ),
      expect: { refused: 'limit', says: /maxIncomingStreams/ },
    },
  ]),
  {
    name: '16 open streams are served',
    send: frames(
      HELLO,
      times(14, (i) => begin('zstd-8mb', undefined, 3 + 2 * i)),
      '1 1 0 command-name eos capabilities',
    ),
    expect: { answers: { 1: /./ } },
  },
  {
    name: 'a stream that ends on the frame that begins it',
    send: frames(
      HELLO,
      times(400, () => '0 3 stream-begin|stream-end cancel 0 '),
    ),
    expect: { answers: {} },
  },
]);

// ------------------------------------------------------------------------------ streams and encodings

const PROFILES = ['zlib', 'zstd-8mb'] as const;
/** Frames of some size and sense, so that damage to one is damage to its neighbours. */
const CONTENT = [text(2000, 1), text(1500, 2), text(1800, 3)];

for (const profile of PROFILES) {
  const codec = CODECS.find((each) => each.profile === profile && each.createEncoder)!;
  const good = encodeAll(codec, CONTENT);
  const whole = encodeAll(codec, CONTENT, {}, true);
  const data = (...payloads: Uint8Array[]) =>
    frames(
      HELLO,
      begin(profile),
      ECHO_DATA,
      ...payloads.map((payload) => piece('command-data continuation', payload)),
    );
  const done = '1 1 0 command-data eos ';
  const answer = Buffer.concat(CONTENT).toString('latin1');
  const flipped = (at: number, mask = 0xff) => {
    const bytes = good[0].slice();
    bytes[at < 0 ? bytes.length + at : at] ^= mask;
    return bytes;
  };
  const corrupt = { refused: 'corrupt-frame' };

  attacks(`encoded frames, ${profile}`, [
    {
      name: 'three in a row are served',
      send: frames(data(...good), done),
      expect: { answers: { 1: answer } },
    },
    {
      name: 'a finished format is served',
      send: frames(data(...whole), done),
      expect: { answers: { 1: answer } },
    },
    { name: 'the second one first', send: data(good[1], good[0], good[2]), expect: corrupt },
    { name: 'only the second one', send: data(good[1]), expect: corrupt },
    {
      name: 'an empty payload between them decodes to nothing',
      send: frames(data(good[0], Buffer.alloc(0), good[1], good[2]), done),
      expect: { answers: { 1: answer } },
    },
    {
      name: 'the first without its last byte',
      send: data(good[0].subarray(0, -1), good[1]),
      expect: corrupt,
    },
    {
      name: 'the first without its last 100 bytes',
      send: data(good[0].subarray(0, -100), good[1]),
      expect: corrupt,
    },
    {
      name: 'the first half of the first',
      send: data(good[0].subarray(0, good[0].length >> 1)),
      expect: corrupt,
    },
    { name: 'one byte', send: data(good[0].subarray(0, 1)), expect: corrupt },
    { name: 'three bytes', send: data(good[0].subarray(0, 3)), expect: corrupt },
    { name: 'a flipped first byte', send: data(flipped(0)), expect: corrupt },
    { name: 'a flipped second byte', send: data(flipped(1)), expect: corrupt },
    { name: 'a byte too many', send: data(concat([good[0], Uint8Array.of(0)])), expect: corrupt },
    {
      name: 'two frames in one payload are one payload',
      send: frames(data(concat([good[0], good[1]]), good[2]), done),
      expect: { answers: { 1: answer } },
    },
    { name: 'a plain payload marked encoded', send: data(text(300, 9)), expect: corrupt },
    { name: 'noise marked encoded', send: data(noise(300, 9)), expect: corrupt },
    { name: 'zeros marked encoded', send: data(new Uint8Array(300)), expect: corrupt },
    { name: 'ones marked encoded', send: data(new Uint8Array(300).fill(255)), expect: corrupt },
    {
      name: 'an encoded payload not marked so is passed on as it is',
      send: frames(HELLO, begin(profile), ECHO_DATA, frame('1 3 0 command-data eos ', good[0])),
      expect: { answers: { 1: Buffer.from(good[0]).toString('latin1') } },
    },
    {
      name: 'a plain frame between them is not remembered by the context',
      send: frames(
        data(good[0]),
        frame('1 3 0 command-data continuation ', Buffer.from('plain')),
        piece('command-data continuation', good[1]),
        done,
      ),
      expect: {
        answers: { 1: Buffer.concat([CONTENT[0], Buffer.from('plain'), CONTENT[1]]).toString('latin1') },
      },
    },
    { name: 'gzip', send: data(zlib.gzipSync(CONTENT[0])), expect: corrupt },
    { name: 'raw deflate', send: data(zlib.deflateRawSync(CONTENT[0])), expect: corrupt },
    { name: 'brotli', send: data(zlib.brotliCompressSync(CONTENT[0])), expect: corrupt },
    {
      name: 'the other profile',
      send: data(profile === 'zlib' ? zlib.zstdCompressSync(CONTENT[0]) : zlib.deflateSync(CONTENT[0])),
      expect: corrupt,
    },
    {
      name: 'a profile switched in mid-stream without a begin',
      send: frames(data(good[0]), frame('0 3 0 stream-settings 0 ', streamSettingsPayload('identity'))),
      expect: { refused: 'settings-not-on-begin' },
    },
    {
      name: 'the same profile announced again in mid-stream',
      send: frames(data(good[0]), frame('0 3 0 stream-settings 0 ', streamSettingsPayload(profile))),
      expect: { refused: 'settings-not-on-begin' },
    },
    {
      name: 'the stream begun again: its old context is gone',
      send: frames(data(good[0]), begin(profile), piece('command-data continuation', good[1])),
      expect: corrupt,
    },
    {
      name: 'the stream begun again without settings is identity',
      send: frames(
        data(good[0]),
        frame('1 3 stream-begin|encoded command-data eos ', Buffer.from('as it is')),
      ),
      expect: { answers: { 1: `${Buffer.from(CONTENT[0]).toString('latin1')}as it is` } },
    },
    {
      name: 'the context does not follow to another stream',
      send: frames(
        data(good[0]),
        begin(profile, undefined, 5),
        frame('1 5 encoded command-data continuation ', good[1]),
      ),
      expect: corrupt,
    },
    {
      name: 'a frame after the end of its stream',
      send: frames(
        data(),
        frame('1 3 encoded|stream-end command-data continuation ', good[0]),
        piece('command-data eos', good[1]),
      ),
      expect: { refused: 'unknown-stream' },
    },
    {
      name: 'stream-settings that are encoded',
      send: frames(HELLO, frame('0 3 stream-begin|encoded stream-settings 0 ', good[0])),
      expect: { refused: 'settings-encoded' },
    },
    {
      name: 'a bomb over maxDecodedRatio',
      send: data(
        profile === 'zlib' ? zlib.deflateSync(new Uint8Array(1000 << 10), { level: 9 }) : zstdBomb(1),
      ),
      expect: { refused: 'limit', says: /maxDecodedRatio/ },
    },
    {
      name: 'a bomb over maxDecodedSize',
      send: data(profile === 'zlib' ? zlib.deflateSync(new Uint8Array(8 << 20)) : zstdBomb(4096)),
      expect: { refused: 'limit', says: /maxDecodedSize/ },
    },
    {
      name: 'a bomb that is as large as a frame may be',
      send: () => {
        const size = 1 << 20;
        const payload = concat(encodeAll(codec, [concat([noise(2000), new Uint8Array(size - 2000)])]));
        return frames(data(payload), done);
      },
      expect: {
        answers: { 1: Buffer.concat([noise(2000), Buffer.alloc((1 << 20) - 2000)]).toString('latin1') },
      },
    },
    {
      name: 'one byte more than a frame may be',
      send: () => data(concat(encodeAll(codec, [concat([noise(2000), new Uint8Array((1 << 20) - 1999)])]))),
      expect: { refused: 'limit', says: /maxDecodedSize/ },
    },
    {
      name: 'a command name inside of an encoded frame is a name like any',
      send: () =>
        frames(
          HELLO,
          begin(profile),
          frame('1 3 encoded command-name eos ', concat(encodeAll(codec, [Buffer.from('no such')]))),
        ),
      expect: { answers: { 1: "error: unknown command 'no such'" } },
    },
    {
      name: 'input that ends while a command is still being decoded',
      send: () =>
        frames(
          HELLO,
          begin(profile),
          ECHO_DATA,
          piece('command-data eos', concat(encodeAll(codec, [Buffer.from('not too late')]))),
        ),
      end: true,
      expect: { ends: true, answers: { 1: 'not too late' } },
    },
    {
      name: 'input that ends in the middle of a command that is still being decoded',
      send: frames(data(good[0])),
      end: true,
      expect: { ends: true },
    },
    {
      name: 'an encoded command name over 255 bytes',
      send: () =>
        frames(
          HELLO,
          begin(profile),
          frame('1 3 encoded command-name eos ', concat(encodeAll(codec, [text(256)]))),
        ),
      expect: { refused: 'limit', says: /maxCommandName/ },
    },
    {
      name: 'encoded sender-settings that are not JSON',
      send: () =>
        frames(
          begin(profile),
          frame('0 3 encoded sender-settings 0 ', concat(encodeAll(codec, [text(256)]))),
        ),
      expect: { refused: 'bad-payload' },
    },
    {
      name: 'a settings byte that the profile does not have',
      send: frames(
        HELLO,
        begin(profile, Uint8Array.of(20, 20)),
        ECHO_DATA,
        piece('command-data continuation', good[0]),
      ),
      expect: corrupt,
    },
  ]);
}

attacks('encoded frames, zstd-8mb', [
  ...[24, 27, 31, 63, 255].map((log) => ({
    name: `a window log of ${log} in the settings`,
    send: frames(
      HELLO,
      begin('zstd-8mb', Uint8Array.of(log)),
      ECHO_DATA,
      piece('command-data eos', zstdBomb(1)),
    ),
    expect: { refused: 'limit', says: /maxWindowSize/ },
  })),
  ...[24, 27, 31, 41].map((log) => ({
    name: `a window of 2^${log} in the frame header`,
    send: frames(
      HELLO,
      begin('zstd-8mb'),
      ECHO_DATA,
      piece('command-data eos', Uint8Array.from([...zstdHeader(log), ...zstdBlock(0, [97], true)])),
    ),
    expect: { refused: 'limit', says: /maxWindowSize/ },
  })),
  {
    name: 'a window of 8 MiB is served',
    send: frames(
      HELLO,
      begin('zstd-8mb', Uint8Array.of(23)),
      ECHO_DATA,
      piece('command-data eos', Uint8Array.from([...zstdHeader(23), ...zstdBlock(0, [97], true)])),
    ),
    expect: { answers: { 1: 'a' } },
  },
  ...[
    [1, 5],
    [2, 0, 1],
    [3, 0, 0, 0, 1],
  ].map(([field, ...bytes]) => ({
    name: `a dictionary ID of ${bytes.length} bytes`,
    send: frames(
      HELLO,
      begin('zstd-8mb'),
      ECHO_DATA,
      piece(
        'command-data eos',
        Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, field, 0x38, ...bytes, ...zstdBlock(0, [97], true)]),
      ),
    ),
    expect: { refused: 'corrupt-frame', says: /dictionary/ },
  })),
  {
    name: 'a content made with a dictionary',
    send: frames(
      HELLO,
      begin('zstd-8mb'),
      ECHO_DATA,
      piece('command-data eos', zlib.zstdCompressSync(text(500), { dictionary: Buffer.from(text(2000)) })),
    ),
    expect: { refused: 'corrupt-frame' },
  },
  {
    name: '10 000 skippable frames decode to nothing',
    send: frames(
      HELLO,
      begin('zstd-8mb'),
      ECHO_DATA,
      piece(
        'command-data continuation',
        Uint8Array.from({ length: 64_000 }, (_, i) => [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0][i % 8]),
      ),
      '1 1 0 command-data eos .',
    ),
    expect: { answers: { 1: '.' } },
  },
  {
    name: 'a skippable frame that claims 4 GiB',
    send: frames(
      HELLO,
      begin('zstd-8mb'),
      ECHO_DATA,
      piece('command-data eos', Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255, 1])),
    ),
    expect: { refused: 'corrupt-frame' },
  },
  {
    name: 'a single segment that claims 2^56 bytes',
    send: frames(
      HELLO,
      begin('zstd-8mb'),
      ECHO_DATA,
      piece(
        'command-data eos',
        Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 1, ...zstdBlock(0, [97], true)]),
      ),
    ),
    expect: { refused: 'limit', says: /maxWindowSize/ },
  },
]);

attacks('stream-settings', [
  ...['gzip', 'br', 'zstd', 'ZLIB', 'zstd-8mb ', '__proto__', 'constructor', ''].map((profile) => ({
    name: `an unknown profile '${profile}'`,
    send: frames(HELLO, begin(profile)),
    expect: { refused: 'unknown-profile' },
  })),
  {
    name: 'a profile name that is cut off',
    send: frames(HELLO, '0 3 stream-begin stream-settings 0 \\x08zlib'),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'a profile name that is not ASCII',
    send: frames(HELLO, '0 3 stream-begin stream-settings 0 \\x02\\xc3\\xa4'),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'no payload at all',
    send: frames(HELLO, '0 3 stream-begin stream-settings 0 '),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'settings in mid-stream of a plain stream',
    send: frames(HELLO, frame('0 1 0 stream-settings 0 ', streamSettingsPayload('zlib'))),
    expect: { refused: 'settings-not-on-begin' },
  },
  {
    name: 'a server stream',
    send: frames(HELLO, frame('0 2 stream-begin stream-settings 0 ', streamSettingsPayload('zlib'))),
    expect: { refused: 'even-stream-id' },
  },
  {
    name: 'stream 0',
    send: frames(HELLO, frame('0 0 stream-begin stream-settings 0 ', streamSettingsPayload('zlib'))),
    expect: { refused: 'even-stream-id' },
  },
  {
    name: 'identity with settings bytes is identity',
    send: frames(
      HELLO,
      begin('identity', Uint8Array.of(1)),
      ECHO_DATA,
      frame('1 3 encoded command-data eos ', Buffer.from('x')),
    ),
    expect: { answers: { 1: 'x' } },
  },
]);

// ------------------------------------------------------------------------- half-open, cut off, wrong way

const OPEN: readonly [string, Buffer][] = [
  ['a name that promises arguments', frames('1 1 0 command-name have-args echo')],
  ['a name that promises data', frames('1 1 0 command-name have-data echo')],
  ['a name that promises both', frames('1 1 0 command-name have-args|have-data echo')],
  [
    'an argument without eoa',
    frames(
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument 0 ', argumentPayload('value', 'x')),
    ),
  ],
  [
    'half of an argument',
    frames(
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument continuation ', argumentPayload('value', 'x', 99)),
    ),
  ],
  [
    'arguments without the promised data',
    frames(
      '1 1 0 command-name have-args|have-data echo',
      frame('1 1 0 command-argument eoa ', argumentPayload('other', 'x')),
    ),
  ],
  ['half of the data', frames('1 1 0 command-name have-data echo', '1 1 0 command-data continuation x')],
  [
    'half of the data for a lane',
    frames('1 1 0 command-name have-data deaf', '1 1 0 command-data continuation x'),
  ],
];

attacks(
  'half-open requests',
  OPEN.map(([what, sent]) => ({
    name: `input ends after ${what}`,
    send: frames(HELLO, sent),
    end: true,
    expect: { ends: true as const },
  })),
);

attacks(
  'half-open requests',
  OPEN.slice(0, 7).map(([what, sent]) => ({
    name: `another request is answered beside ${what}`,
    send: frames(HELLO, sent, '3 1 0 command-name have-data echo', '3 1 0 command-data eos beside'),
    expect: { answers: { 3: 'beside' } },
  })),
);

attacks('input that ends', [
  ...[1, 2, 3, 4, 5, 6, 7].map((length) => ({
    name: `after ${length} bytes of a header`,
    send: frames(HELLO, frame('1 1 0 command-name eos echo').subarray(0, length)),
    end: true,
    expect: { ends: true as const },
  })),
  ...[8, 9, 11].map((length) => ({
    name: `after ${length - 8} bytes of a payload of 4`,
    send: frames(HELLO, frame('1 1 0 command-name eos echo').subarray(0, length)),
    end: true,
    expect: { ends: true as const },
  })),
  { name: 'before it began', send: Buffer.alloc(0), end: true, expect: { ends: true } },
  {
    name: 'after a request: the request is still answered',
    send: frames(HELLO, '1 1 0 command-name have-data echo', '1 1 0 command-data eos last'),
    end: true,
    expect: { ends: true, answers: { 1: 'last' } },
  },
]);

attacks('huge lengths', [
  ...[1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13].map((type) => ({
    name: `a frame of type ${type} that claims 16 MiB`,
    send: frames(HELLO, Buffer.from([255, 255, 255, 1, 0, 1, 0, type << 4])),
    expect: { refused: 'limit', says: /maxPayload/ },
  })),
  {
    name: 'a payload of 65 536 bytes',
    send: frames(HELLO, Buffer.from([0, 0, 1, 1, 0, 1, 0, 0x11])),
    expect: { refused: 'limit', says: /maxPayload/ },
  },
  {
    name: 'a payload of 65 535 bytes is served',
    send: frames(HELLO, ECHO_DATA, frame('1 1 0 command-data eos ', text(65_535))),
    expect: { answers: { 1: Buffer.from(text(65_535)).toString('latin1') } },
  },
  {
    name: 'an HTTP request',
    send: Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    expect: { refused: 'limit' },
  },
  { name: 'a TLS hello', send: Buffer.from('160301020001000200', 'hex'), expect: { refused: 'limit' } },
  { name: 'an SSH greeting', send: Buffer.from('SSH-2.0-OpenSSH_9.6\r\n'), expect: { refused: 'limit' } },
  { name: 'all ones', send: Buffer.alloc(1000, 255), expect: { refused: 'limit' } },
  { name: 'all zeros', send: Buffer.alloc(1000), expect: { refused: 'even-stream-id' } },
]);

attacks('argument bombs', [
  {
    name: '128 arguments are served',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      times(127, (i) => frame('1 1 0 command-argument 0 ', argumentPayload(`n${i}`, 'x'))),
      frame('1 1 0 command-argument eoa ', argumentPayload('value', 'last of 128')),
    ),
    expect: { answers: { 1: 'last of 128' } },
  },
  {
    name: 'the 129th argument',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      times(129, (i) => frame('1 1 0 command-argument 0 ', argumentPayload(`n${i}`, 'x'))),
    ),
    expect: { refused: 'limit', says: /maxArguments/ },
  },
  {
    name: '1 MiB of arguments',
    send: () =>
      frames(
        HELLO,
        '1 1 0 command-name have-args echo',
        times(20, (i) =>
          frames(
            frame('1 1 0 command-argument continuation ', argumentPayload(`n${i}`, text(30_000), 65_000)),
            frame('1 1 0 command-argument 0 ', text(35_000)),
          ),
        ),
      ),
    expect: { refused: 'limit', says: /maxArgumentBytes/ },
  },
  {
    name: 'a promise of 1 MiB of arguments counts before it is kept',
    send: frames(
      HELLO,
      times(20, (i) => `${id(i)} 1 0 command-name have-args echo`),
      times(17, () =>
        frame('1 1 0 command-argument continuation ', argumentPayload('a', '', 65_535)),
      ).subarray(0, 13),
      times(20, (i) =>
        frame(`${id(i + 1)} 1 0 command-argument continuation `, argumentPayload('a', '', 65_535)),
      ).subarray(0, 13 * 19),
      '1 1 0 cancel 0 ',
    ),
    expect: { answers: { 1: 'error: cancelled' } },
  },
  {
    name: 'an argument given twice',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      times(2, () => frame('1 1 0 command-argument 0 ', argumentPayload('a', 'x'))),
    ),
    expect: { refused: 'duplicate-argument' },
  },
  {
    name: 'an argument name that is not ASCII',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument eoa ', argumentPayload('ä', 'x')),
    ),
    expect: { refused: 'bad-argument-name' },
  },
  {
    name: 'an argument name longer than its frame',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      '1 1 0 command-argument eoa \\xff\\xff\\x00\\x00abc',
    ),
    expect: { refused: 'partial-argument-name' },
  },
  {
    name: 'a value longer than its frame',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      '1 1 0 command-argument eoa \\x01\\x00\\xff\\xffabc',
    ),
    expect: { refused: 'partial-argument-value' },
  },
  {
    name: 'a value shorter than its frame',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      '1 1 0 command-argument eoa \\x01\\x00\\x01\\x00abc',
    ),
    expect: { refused: 'partial-argument-value' },
  },
  {
    name: 'a value that goes on longer than announced',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument continuation ', argumentPayload('value', 'x', 5)),
      '1 1 0 command-argument continuation 12345',
    ),
    expect: { refused: 'partial-argument-value' },
  },
  {
    name: 'an argument header of 3 bytes',
    send: frames(HELLO, '1 1 0 command-name have-args echo', '1 1 0 command-argument eoa \\x01\\x00\\x01'),
    expect: { refused: 'bad-payload' },
  },
  {
    name: 'arguments named like properties of objects are arguments',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument 0 ', argumentPayload('__proto__', 'x')),
      frame('1 1 0 command-argument 0 ', argumentPayload('constructor', 'y')),
      frame('1 1 0 command-argument eoa ', argumentPayload('value', 'z')),
    ),
    expect: { answers: { 1: 'z' } },
  },
  {
    name: 'a command name of 255 bytes is looked up',
    send: frames(HELLO, `1 1 0 command-name eos ${'n'.repeat(255)}`),
    expect: { answers: { 1: /^error: unknown command/ } },
  },
  {
    name: 'a command name of 256 bytes',
    send: frames(HELLO, `1 1 0 command-name eos ${'n'.repeat(256)}`),
    expect: { refused: 'limit', says: /maxCommandName/ },
  },
  ...[
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '\\x00',
    '\\xff\\xfe',
    '../echo',
    'echo ',
  ].map((name) => ({
    name: `a command called ${name}`,
    send: frames(HELLO, `1 1 0 command-name eos ${name}`),
    expect: { answers: { 1: /^error: unknown command/ } },
  })),
  ...['', '-1', '1e3', '0x10', ' 5', '12.5', 'NaN', '9999999999999999'].map((value) => ({
    name: `a deadline of '${value}' ms`,
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument eoa ', argumentPayload(':deadline-ms', value)),
    ),
    expect: { answers: { 1: /^error: :deadline-ms/ } },
  })),
  {
    name: 'a deadline of 0 ms passes at once',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args hold',
      frame('1 1 0 command-argument eoa ', argumentPayload(':deadline-ms', '0')),
    ),
    expect: { answers: { 1: 'error: deadline exceeded' } },
  },
  {
    name: 'a deadline past the end of time does not pass at once',
    send: frames(
      HELLO,
      '1 1 0 command-name have-args echo',
      frame('1 1 0 command-argument 0 ', argumentPayload(':deadline-ms', '999999999999999')),
      frame('1 1 0 command-argument eoa ', argumentPayload('value', 'in time')),
    ),
    expect: { answers: { 1: 'in time' } },
  },
]);

// -------------------------------------------------------------------------------- handlers that fail

attacks('handlers that fail', [
  ...['before', 'during', 'after'].map((when) => ({
    name: `a handler in a lane that throws ${when} its output keeps its reasons to itself`,
    send: frames(
      HELLO,
      '1 1 0 command-name have-args fail',
      frame('1 1 0 command-argument eoa ', argumentPayload('when', when)),
    ),
    expect: { answers: { 1: "error: command 'fail' failed: internal error" } },
  })),
]);

test.after('no handler is left at work', (t) => {
  t.is(holding, 0);
});
