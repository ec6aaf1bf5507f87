/**
 * The attacks on a server's time: each legal by the protocol, and as large as one machine can make it. A new one is a new
 * entry: what its peers do until the attack is over, at the ends of {@link Peers}.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { nativeZstd } from '../../src/encoding/native.ts';
import { encodeAll } from '../encoding/helpers.ts';
import { frame, frames, HELLO, times } from '../helpers/raw-peer.ts';
import { argumentPayload, streamSettingsPayload } from '../independent/client.ts';
import type { Peers } from './peers.ts';

export interface Attack {
  readonly name: string;
  /** How large, in words. */
  readonly size: string;
  /** Against a server that speaks TLS. */
  readonly tls?: true;
  /** Goes on until `peers` are not attacking any more. */
  mount(peers: Peers): Promise<unknown>;
}

/** What peers say of themselves: that they decode zstd and know no windows … */
const ZSTD_HELLO = settings({ contentEncodings: ['zstd-8mb'], extensions: ['cancel', 'ping'] });
/** … or decode nothing, and let 1 GiB of each response come. */
const CREDIT_HELLO = settings({ requestWindow: 2 ** 30, extensions: ['credit', 'cancel', 'ping'] });
const SINK = '1 1 0 command-name have-data sink';

function settings(spoken: object): Uint8Array {
  return frame('0 1 stream-begin sender-settings 0 ', Buffer.from(JSON.stringify(spoken)));
}

/** A command with one argument. */
function command(id: number, name: string, arg: string, value: string): Buffer {
  return frames(
    `${id} 1 0 command-name have-args ${name}`,
    frame(`${id} 1 0 command-argument eoa `, argumentPayload(arg, value)),
  );
}

/** `count` commands under the IDs 1, 3, 5 … */
function commands(count: number, make: (id: number) => Uint8Array | string): Buffer {
  return times(count, (i) => make(2 * i + 1));
}

/** The frame of `line`, or what is frames already, so many times. */
function repeated(count: number, line: string | Buffer, payload?: Uint8Array): Buffer {
  const one = typeof line === 'string' ? frame(line, payload) : line;
  return Buffer.alloc(count * one.length, one);
}

type Bytes = readonly (Uint8Array | string)[];

/** `count` connections that send `bytes` over and over after `hello`. */
function floods(count: number, hello: () => Bytes, bytes: () => Bytes): Attack['mount'] {
  return (peers) => {
    const [beginning, rest] = [frames(...hello()), frames(...bytes())];
    return peers.crowd(count, async () => peers.flood(await peers.open(beginning), rest));
  };
}

/** The same ten times a second: as much as their limits allow. */
function pulses(count: number, hello: () => Bytes, bytes: () => Bytes): Attack['mount'] {
  return (peers) => {
    const [beginning, rest] = [frames(...hello()), frames(...bytes())];
    return peers.crowd(count, async () => peers.pulse(await peers.open(beginning), rest, 100));
  };
}

/** `count` connections that ask once and then read, or do not. */
function askers(count: number, reads: boolean, asking: () => Bytes): Attack['mount'] {
  return (peers) => {
    const bytes = frames(...asking());
    return peers.crowd(count, async () => peers.stay(await peers.open(bytes, { reads })));
  };
}

/** `count` connections that send `bytes` again whenever `answer` bytes have come. */
function askersAgain(count: number, asking: () => Bytes, answer: number): Attack['mount'] {
  return (peers) => {
    const bytes = frames(...asking());
    return peers.crowd(count, async () => {
      const socket = await peers.open(frames(HELLO));
      let left = 0;
      socket?.on('data', (chunk: Uint8Array) => {
        for (left += chunk.length; left >= answer; left -= answer) socket.write(bytes);
      });
      socket?.write(bytes);
      await peers.stay(socket);
    });
  };
}

/** Connections that come all at once, and go when `everyMs` is over. */
function bursts(count: number, everyMs: number): Attack['mount'] {
  return (peers) =>
    peers.crowd(count, async () => {
      const socket = await peers.open(frames(HELLO));
      await delay(everyMs - (performance.now() % everyMs));
      socket?.destroy();
    });
}

/** The head of a request by HTTP. */
function head(method: string, path: string, ...lines: string[]): Buffer {
  return Buffer.from(`${[`${method} ${path} HTTP/1.1`, 'Host: x', ...lines].join('\r\n')}\r\n\r\n`);
}

/** `count` connections that ask by HTTP for `requests` answers at once, and come again when they have them. */
function pipelines(count: number, requests: number): Attack['mount'] {
  const one = head('POST', '/rpc/hello', 'Content-Length: 0');
  const last = head('POST', '/rpc/hello', 'Content-Length: 0', 'Connection: close');
  const bytes = Buffer.concat([...Array.from({ length: requests - 1 }, () => one), last]);
  return (peers) => peers.crowd(count, async () => peers.stay(await peers.open(bytes)));
}

/** `count` connections that begin by HTTP and then send `bytes` over and over. */
function httpFloods(count: number, beginning: Buffer, bytes: string): Attack['mount'] {
  return (peers) =>
    peers.crowd(count, async () => peers.flood(await peers.open(beginning), Buffer.from(bytes, 'latin1')));
}

/** What makes a connection a WebSocket (RFC 6455 section 4.1). */
const UPGRADE = head(
  'GET',
  '/',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: millrace.v1',
);
/** Answers to pings that nobody has sent, which are allowed: the shortest messages that there are. */
const PONG = '\x8a\x80\0\0\0\0';
const BODY = head(
  'POST',
  '/rpc/sink',
  'Content-Type: application/octet-stream',
  'Transfer-Encoding: chunked',
);

/** A command whose argument of 60 000 bytes comes byte by byte. */
function slowArgument(): Bytes {
  const size = 60_000;
  return [
    '1 1 0 command-name have-args hello',
    frame('1 1 0 command-argument continuation ', argumentPayload('a', 'x', size)),
    repeated(size - 2, '1 1 0 command-argument continuation x'),
    '1 1 0 command-argument 0 x',
    frame('1 1 0 command-argument eoa ', argumentPayload('b', 'x')),
  ];
}

/** Frames of 64 KiB of zeros each: the first, and any that follows it. */
function bombs(): [Uint8Array, Uint8Array] {
  const zeros = new Uint8Array(64 << 10);
  const [first, next] = encodeAll(nativeZstd, [zeros, zeros], { level: 1 });
  return [first, next];
}

const BEGIN_ZSTD = ['0 3 stream-begin stream-settings 0 ', streamSettingsPayload('zstd-8mb')] as const;
const CACHED = () => [ZSTD_HELLO, commands(6, (id) => `${id} 1 0 command-name eos cached`)];
const HERE = () => [CREDIT_HELLO, commands(16, (id) => command(id, 'here', 'mebibytes', '16'))];
const ONE_BYTE = floods(
  30,
  () => [HELLO, SINK],
  () => [repeated(7000, '1 1 0 command-data continuation x')],
);

export const ATTACKS: readonly Attack[] = [
  { name: 'data frames of one byte', size: '30 connections, full speed', mount: ONE_BYTE },
  {
    name: 'data frames of one byte, TLS',
    size: '30 connections, full speed',
    tls: true,
    mount: ONE_BYTE,
  },
  {
    name: 'argument pieces of one byte',
    size: '30 connections, full speed',
    mount: askersAgain(30, slowArgument, 8 + 5),
  },
  {
    name: 'pings',
    size: '30 connections, 9 000/s each',
    mount: pulses(
      30,
      () => [HELLO],
      () => [repeated(900, '0 1 0 ping 0 12345678')],
    ),
  },
  {
    name: 'credit of one byte',
    size: '30 connections, 9 000/s each',
    mount: pulses(
      30,
      () => [HELLO],
      () => [repeated(900, '0 1 0 credit 0 ', Uint8Array.of(1, 0, 0, 0))],
    ),
  },
  {
    name: 'commands and their cancels',
    size: '30 connections, 900/s each',
    mount: pulses(
      30,
      () => [HELLO],
      () => [
        times(90, (i) => frames(`${2 * i + 1} 1 0 command-name eos hold`, `${2 * i + 1} 1 0 cancel 0 `)),
      ],
    ),
  },
  {
    name: 'small commands',
    size: '60 connections, 100 in flight each',
    mount: askersAgain(60, () => [commands(100, (id) => `${id} 1 0 command-name eos hello`)], 100 * (8 + 5)),
  },
  {
    name: 'stream begins',
    size: '30 connections, 900/s each',
    mount: pulses(
      30,
      () => [HELLO],
      () => [repeated(90, ...BEGIN_ZSTD)],
    ),
  },
  {
    name: 'stream begins, a frame on each',
    size: '30 connections, 900/s each',
    mount: pulses(
      30,
      () => [HELLO, SINK],
      () => [
        repeated(
          90,
          frames(frame(...BEGIN_ZSTD), frame('1 3 encoded command-data continuation ', bombs()[0])),
        ),
      ],
    ),
  },
  {
    name: 'frames of 20 bytes that decode to 64 KiB',
    size: '20 connections, full speed',
    mount: floods(
      20,
      () => [HELLO, frame(...BEGIN_ZSTD), SINK, frame('1 3 encoded command-data continuation ', bombs()[0])],
      () => [repeated(100, '1 3 encoded command-data continuation ', bombs()[1])],
    ),
  },
  {
    name: 'one cached 3 MB output, not read',
    size: '60 connections, 6 requests each',
    mount: askers(60, false, CACHED),
  },
  {
    name: 'one cached 3 MB output, read',
    size: '60 connections, 6 requests each',
    mount: askers(60, true, CACHED),
  },
  {
    name: '16 MiB of the main thread, not read',
    size: '60 connections, 16 requests each',
    mount: askers(60, false, HERE),
  },
  {
    name: '16 MiB of the main thread, read',
    size: '60 connections, 16 requests each',
    mount: askers(60, true, HERE),
  },
  {
    name: '16 MiB of the main thread, encoded, read',
    size: '60 connections, 16 requests each',
    mount: askers(60, true, () => [ZSTD_HELLO, commands(16, (id) => command(id, 'here', 'mebibytes', '16'))]),
  },
  {
    name: '8 MiB of lanes, read',
    size: '30 connections, 4 requests each',
    mount: askers(30, true, () => [ZSTD_HELLO, commands(4, (id) => command(id, 'fill', 'size', '8388608'))]),
  },
  {
    name: 'connections that come and go',
    size: '100 at a time, full speed',
    mount: (peers) => peers.crowd(100, async () => (await peers.open(frames(HELLO)))?.destroy()),
  },
  { name: 'connections opened at once', size: '900, every second', mount: bursts(900, 1000) },
  {
    name: 'TLS connections opened at once',
    size: '200, every two seconds',
    tls: true,
    mount: bursts(200, 2000),
  },
  { name: 'requests by HTTP, sent at once', size: '200 connections, 100 each', mount: pipelines(200, 100) },
  {
    name: 'requests by HTTP, more than are allowed',
    size: '200 connections, 1 000 each',
    mount: pipelines(200, 1000),
  },
  {
    name: 'bodies by HTTP, a byte in each chunk',
    size: '30 connections, full speed',
    mount: httpFloods(30, BODY, '1\r\nx\r\n'),
  },
  {
    name: 'WebSocket messages of no bytes',
    size: '30 connections, full speed',
    mount: httpFloods(30, UPGRADE, PONG),
  },
  {
    name: 'half-closed, with a request that never ends',
    size: '500 connections',
    mount: (peers) =>
      peers.crowd(500, async () => {
        const socket = await peers.open(frames(HELLO, '1 1 0 command-name eos hold'));
        socket?.end();
        await peers.stay(socket);
      }),
  },
];

export function attackNamed(name: string): Attack {
  const attack = ATTACKS.find((each) => each.name === name);
  if (attack === undefined) throw new Error(`there is no attack '${name}'`);
  return attack;
}
