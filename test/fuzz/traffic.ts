/** Makers of traffic that is nearly right: sequences of frames as a peer sends them, and damage to them. */

import type { Encoder } from '../../src/encoding/codec.ts';
import { nativeZlib, nativeZstd } from '../../src/encoding/native.ts';
import { encodeFrame, type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { commandFrames } from '../../src/wire/frames.ts';
import {
  encodeArgumentHead,
  encodeCredit,
  encodeGoaway,
  encodeProgress,
  encodeSenderSettings,
  encodeStreamSettings,
  encodeTextOutput,
  encodeUtf8,
} from '../../src/wire/payloads.ts';
import { responseFrames } from '../helpers/frames.ts';
import type { Random } from './random.ts';

const COMMANDS = ['echo', 'echo', 'echo', 'capabilities', 'hold', 'deaf', 'fill', 'nothing', '__proto__', ''];
const CODECS = [nativeZlib, nativeZstd];

/** Builds one direction of a connection. */
class Traffic {
  readonly frames: Frame[] = [];
  readonly random: Random;
  readonly #parity: 0 | 1;
  readonly #streams = new Map<number, Encoder | undefined>();

  constructor(random: Random, parity: 0 | 1) {
    this.random = random;
    this.#parity = parity;
  }

  /** Adds a frame on some stream, begun and encoded as it should be. */
  add(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    const { random } = this;
    const streamId = 2 * random.pick([1, 1, 1, 2, 3, 40]) - this.#parity;
    let streamFlags = 0;
    if (!this.#streams.has(streamId)) {
      if (random.once(2)) this.#beginEncoded(streamId);
      else streamFlags |= StreamFlag.begin;
      this.#streams.set(streamId, this.#streams.get(streamId));
    }
    const encoder = this.#streams.get(streamId);
    let wire = payload;
    if (encoder !== undefined && payload.length > 0 && !random.once(4)) {
      const target = new Uint8Array(encoder.bound(payload.length));
      wire = target.slice(0, encoder.encode(payload, target, 0));
      streamFlags |= StreamFlag.encoded;
    }
    if (random.once(20)) {
      streamFlags |= StreamFlag.end;
      encoder?.close();
      this.#streams.delete(streamId);
    }
    this.frames.push({ requestId, streamId, streamFlags, type, flags, payload: wire });
  }

  close(): Frame[] {
    for (const encoder of this.#streams.values()) encoder?.close();
    return this.frames;
  }

  #beginEncoded(streamId: number): void {
    const codec = this.random.pick(CODECS);
    this.#streams.set(streamId, codec.createEncoder?.({ level: 1, windowLog: 10 }));
    const payload = encodeStreamSettings(codec.profile, this.random.bytes(this.random.once(10) ? 1 : 0));
    this.frames.push({ requestId: 0, streamId, streamFlags: StreamFlag.begin, type: 8, flags: 0, payload });
  }
}

/** What a client sends: commands, their data, and what part C allows. */
export function clientFrames(random: Random): Frame[] {
  const traffic = new Traffic(random, 1);
  if (!random.once(4)) traffic.add(0, FrameType.senderSettings, 0, someSettings(random));
  const open: number[] = [];
  for (let left = random.below(12); left >= 0; left--) {
    const id = 2 * random.below(random.once(3) ? 32_768 : 8) + 1;
    switch (random.below(8)) {
      case 0:
        traffic.add(id, FrameType.cancel, 0, new Uint8Array(0));
        break;
      case 1:
        traffic.add(random.once(2) ? 0 : id, FrameType.credit, 0, encodeCredit(random.below(1 << 20)));
        break;
      case 2:
        traffic.add(0, FrameType.ping, random.below(2), random.bytes(8));
        break;
      case 3:
        if (open.length > 0) {
          traffic.add(
            random.pick(open),
            FrameType.commandData,
            1 + random.below(2),
            random.bytes(random.length(4096)),
          );
          break;
        }
        command(traffic, id, open);
        break;
      default:
        command(traffic, id, open);
    }
  }
  return damaged(random, traffic.close());
}

function command(traffic: Traffic, id: number, open: number[]): void {
  const { random } = traffic;
  const hasData = random.once(2);
  const args = ['value', 'size', 'seed', ':deadline-ms', ':sensitive', 'x']
    .filter(() => random.once(3))
    .map(
      (name) =>
        [
          name,
          name.length === 4 ? encodeUtf8(String(random.below(40_000))) : random.bytes(random.length(2000)),
        ] as const,
    );
  const add = (type: number, flags: number, payload: Uint8Array) => traffic.add(id, type, flags, payload);
  commandFrames(random.pick(COMMANDS), args, hasData, random.pick([16, 1000, 32_768]), add);
  if (!hasData) return;
  open.push(id);
  if (random.once(2)) traffic.add(id, FrameType.commandData, 2, random.bytes(random.length(4096)));
}

/** What a server sends to a client whose requests are 1, 3, 5 … */
export function serverFrames(random: Random): Frame[] {
  const traffic = new Traffic(random, 0);
  if (!random.once(4)) traffic.add(0, FrameType.senderSettings, 0, someSettings(random));
  for (let left = random.below(16); left >= 0; left--) {
    const id = 2 * random.below(8) + 1;
    const add = (type: number, flags: number, payload: Uint8Array) => traffic.add(id, type, flags, payload);
    switch (random.below(8)) {
      case 0:
        add(FrameType.errorResponse, random.once(8) ? 1 : 2, random.bytes(random.length(300)));
        break;
      case 1: {
        const some = () => 'ab%s%%\u2603'.slice(0, random.below(7));
        add(
          FrameType.textOutput,
          0,
          encodeTextOutput([{ format: some(), labels: ['l'], args: [some(), some()] }]),
        );
        break;
      }
      case 2:
        add(
          FrameType.progress,
          0,
          encodeProgress({ position: 1, total: -1, topic: 't', unit: 'u', item: 'i' }),
        );
        break;
      case 3:
        traffic.add(0, FrameType.ping, random.below(2), random.bytes(8));
        break;
      case 4:
        if (random.once(3)) traffic.add(0, FrameType.goaway, 0, encodeGoaway(random.below(20), 'enough'));
        else traffic.add(0, FrameType.credit, 0, encodeCredit(5));
        break;
      default:
        responseFrames(random.bytes(random.length(9000)), !random.once(3), random.pick([100, 4096]), add);
    }
  }
  return damaged(random, traffic.close());
}

function someSettings(random: Random): Uint8Array {
  const contentEncodings = ['zlib', 'zstd-8mb', 'identity', 'x'].filter(() => random.once(2));
  const extensions = ['progress', 'cancel', 'credit', 'ping', 'goaway'].filter(() => random.once(2));
  return encodeSenderSettings({
    contentEncodings,
    extensions,
    ...(random.once(3) && { maxFrameSize: random.pick([1, 256, 1000, 65_535, 0xff_ffff]) }),
    ...(random.once(3) && { requestWindow: random.pick([0, 1, 1000, 2 ** 31 - 1, Number.MAX_SAFE_INTEGER]) }),
    ...(random.once(3) && { connectionWindow: random.pick([0, 1, 1000, 1 << 20]) }),
  });
}

/** In half of the cases the frames as they are, in the other half with something wrong. */
function damaged(random: Random, frames: Frame[]): Frame[] {
  for (let left = random.once(2) ? 0 : 1 + random.below(3); left > 0 && frames.length > 0; left--) {
    const at = random.below(frames.length);
    const frame = frames[at];
    switch (random.below(7)) {
      case 0:
        frames.splice(at, 1);
        break;
      case 1:
        frames.splice(at, 0, frame);
        break;
      case 2:
        frames.splice(random.below(frames.length), 0, ...frames.splice(at, 1));
        break;
      case 3:
        frames[at] = {
          ...frame,
          flags: random.below(16),
          type: random.once(2) ? frame.type : random.below(16),
        };
        break;
      case 4:
        frames[at] = {
          ...frame,
          streamFlags: random.below(8),
          streamId: random.once(2) ? frame.streamId : random.below(256),
        };
        break;
      case 5:
        frames[at] = { ...frame, requestId: random.below(0x1_0000) };
        break;
      default:
        frames[at] = { ...frame, payload: damagedBytes(random, frame.payload) };
    }
  }
  return frames;
}

/** Bytes with some of them changed, cut off or added. */
export function damagedBytes(random: Random, bytes: Uint8Array): Uint8Array {
  switch (random.below(4)) {
    case 0:
      return bytes.slice(0, random.below(bytes.length + 1));
    case 1: {
      const longer = new Uint8Array(bytes.length + 1 + random.below(9));
      longer.set(bytes);
      return longer;
    }
    default: {
      const changed = bytes.slice();
      for (let left = 1 + random.below(4); left > 0 && changed.length > 0; left--) {
        changed[random.below(changed.length)] = random.once(2)
          ? random.pick([0, 1, 127, 128, 255])
          : random.below(256);
      }
      return changed;
    }
  }
}

/** The frames as bytes, now and then with damage that knows no frames. */
export function toBytes(random: Random, frames: readonly Frame[]): Uint8Array {
  const bytes = Uint8Array.from(Buffer.concat(frames.map(encodeFrame)));
  return random.once(6) ? damagedBytes(random, bytes) : bytes;
}

/** The first frame of an argument, with lengths that may lie. */
export function argumentHead(random: Random): Uint8Array {
  const value = random.bytes(random.length(300));
  return damagedBytes(random, encodeArgumentHead('name', value.length + random.below(2), value));
}
