/** The targets that need no I/O: splitter, payload layouts, human text, both reactors, decoders. */

import assert from 'node:assert/strict';
import { type Codec, DecodeError, type Decoder } from '../../src/encoding/codec.ts';
import { minizlibZlib, minizlibZstd } from '../../src/encoding/minizlib.ts';
import { nativeZlib, nativeZstd } from '../../src/encoding/native.ts';
import { portableZlib, portableZstd } from '../../src/encoding/portable.ts';
import { ClientReactor } from '../../src/reactor/client.ts';
import type { Decoders, Ticket } from '../../src/reactor/incoming.ts';
import { ServerReactor } from '../../src/reactor/server.ts';
import type { ServerAction } from '../../src/reactor/server-action.ts';
import { ProtocolError } from '../../src/wire/errors.ts';
import type { Failure } from '../../src/wire/failure.ts';
import { encodeFrame, type Frame } from '../../src/wire/frame.ts';
import { FrameTextError, formatFrame, parseFrameText } from '../../src/wire/human.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/wire/limits.ts';
import * as payloads from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { encodeAll, LIMITS, zstdBlock, zstdHeader } from '../encoding/helpers.ts';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';
import { argumentHead, clientFrames, damagedBytes, serverFrames, toBytes } from './traffic.ts';

/** An input's first four bytes, as the seed of what is chance in running it, and the rest. */
export function seeded(input: Uint8Array): { random: Random; rest: Uint8Array } {
  const [a = 0, b = 0, c = 0, d = 0] = input;
  return { random: new Random(a | (b << 8) | (c << 16) | (d << 24)), rest: input.subarray(4) };
}

/** `bytes` behind a seed. */
export function withSeed(random: Random, bytes: Uint8Array): Uint8Array {
  const input = new Uint8Array(4 + bytes.length);
  for (let i = 0; i < 4; i++) input[i] = random.below(256);
  input.set(bytes, 4);
  return input;
}

/** The outcome of `run`, when it throws no other error than `allowed`. */
function outcome<T>(allowed: abstract new (...args: never[]) => Error, run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    if (error instanceof allowed) return `${error.name} ${(error as { code?: string }).code}`;
    throw error;
  }
}

// ------------------------------------------------------------------------------------------ splitter

interface Split {
  frames: Frame[];
  end: unknown;
}

function split(chunks: Iterable<Uint8Array>, maxPayload: number): Split {
  const frames: Frame[] = [];
  const onFrame = (frame: Frame) => void frames.push({ ...frame, payload: frame.payload.slice() });
  const splitter = new Splitter({ maxPayload, onFrame });
  const end = outcome(ProtocolError, () => {
    for (const chunk of chunks) splitter.push(chunk);
    splitter.finish();
  });
  return { frames, end };
}

export function* inPieces(random: Random, bytes: Uint8Array): Generator<Uint8Array> {
  const most = random.pick([1, 3, 9, 100, 5000]);
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random.below(most));
    yield bytes.slice(at, end);
    at = end;
  }
}

export function countFrames(bytes: Uint8Array): number {
  return split([bytes], 65_535).frames.length;
}

const splitter: FuzzTarget = {
  name: 'splitter',
  generate: (random) =>
    withSeed(random, toBytes(random, random.once(2) ? clientFrames(random) : serverFrames(random))),
  run(input) {
    const { random, rest } = seeded(input);
    const whole = split([rest], 65_535);
    const pieces = split(inPieces(random, rest), 65_535);
    assert.deepEqual(pieces, whole, 'cutting changes nothing');
    const joined = Buffer.concat(whole.frames.map(encodeFrame));
    assert.ok(joined.equals(rest.subarray(0, joined.length)), 'frames are the bytes that came');
    return whole.frames.length;
  },
};

// ------------------------------------------------------------------------------------- payload layouts

/** Each layout: it decodes or is a ProtocolError, and what was decoded can be sent and decoded again. */
const LAYOUTS: readonly ((payload: Uint8Array) => void)[] = [
  (payload) => {
    const { name, valueLength, piece } = payloads.decodeArgumentHead(payload, true);
    assert.deepEqual(
      Buffer.from(payloads.encodeArgumentHead(name, valueLength, piece)),
      Buffer.from(payload),
    );
  },
  (payload) => void payloads.decodeArgumentHead(payload, false),
  (payload) => {
    const { profile, bytes } = payloads.decodeStreamSettings(payload);
    assert.deepEqual(Buffer.from(payloads.encodeStreamSettings(profile, bytes)), Buffer.from(payload));
  },
  (payload) => {
    const progress = payloads.decodeProgress(payload);
    const again = payloads.decodeProgress(payloads.encodeProgress(progress));
    assert.equal(again.position, progress.position);
  },
  (payload) => {
    const settings = payloads.decodeSenderSettings(payload);
    assert.deepEqual(payloads.decodeSenderSettings(payloads.encodeSenderSettings(settings)), settings);
  },
  (payload) => void payloads.decodeCancel(payload),
  (payload) =>
    assert.deepEqual(
      Buffer.from(payloads.encodeCredit(payloads.decodeCredit(payload))),
      Buffer.from(payload),
    ),
  (payload) => void payloads.decodePing(payload),
  (payload) => {
    const { lastRequestId, reason } = payloads.decodeGoaway(payload);
    const again = payloads.decodeGoaway(payloads.encodeGoaway(lastRequestId, reason));
    assert.equal(again.lastRequestId, lastRequestId);
  },
  (payload) => {
    const atoms = payloads.decodeTextOutput(payload);
    payloads.renderTextOutput(atoms, true);
    if (atoms.length === 0) return;
    const again = outcome(payloads.TextOutputError, () =>
      payloads.decodeTextOutput(payloads.encodeTextOutput(atoms)),
    );
    // Bytes that are not UTF-8 become longer ones, which may not fit any more.
    if (typeof again !== 'string') assert.deepEqual(again, atoms);
  },
];

const layouts: FuzzTarget = {
  name: 'layouts',
  generate(random) {
    const kind = random.below(LAYOUTS.length);
    const [frame] = (random.once(2) ? clientFrames : serverFrames)(random);
    const payload =
      kind < 2
        ? argumentHead(random)
        : random.once(2)
          ? (frame?.payload ?? random.bytes(9))
          : random.bytes(random.length(200));
    return Uint8Array.from([kind, ...damagedBytes(random, payload.subarray(0, 5000))]);
  },
  run(input) {
    const [kind = 0] = input;
    outcome(ProtocolError, () => LAYOUTS[kind % LAYOUTS.length](input.subarray(1)));
    return 1;
  },
};

// ------------------------------------------------------------------------------------------ human text

const human: FuzzTarget = {
  name: 'human',
  generate(random) {
    const [frame] = clientFrames(random);
    const line =
      frame === undefined
        ? '1 1 0 command-name eos echo'
        : formatFrame({ ...frame, payload: frame.payload.subarray(0, 300) });
    return random.once(5)
      ? new TextEncoder().encode(line)
      : damagedBytes(random, new TextEncoder().encode(line));
  },
  run(input) {
    const line = new TextDecoder().decode(input);
    const frame = outcome(FrameTextError, () => parseFrameText(line));
    if (typeof frame !== 'string') {
      encodeFrame(frame);
      assert.deepEqual(parseFrameText(formatFrame(frame)), frame);
    }
    return 1;
  },
};

// -------------------------------------------------------------------------------------------- reactors

/** What a decoder has found and not said yet. */
interface Late {
  readonly ticket: Ticket;
  readonly payload: Uint8Array | undefined;
  readonly lost: Failure | undefined;
}

const LANE_DIED: Failure = { code: 'worker-died', message: 'the lane died' };

/** Decoders that answer at once, or when they are asked to, as chance has it. */
class FuzzDecoders implements Decoders {
  readonly #random: Random;
  readonly #open = new Map<number, { decoder: Decoder; queue: Late[] | undefined }>();
  readonly #queues: Late[][] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  get openDecoders(): number {
    return this.#open.size;
  }

  supports(profile: string): boolean {
    return profile === 'zlib' || profile === 'zstd-8mb';
  }

  open(streamId: number, profile: string, settings: Uint8Array): void {
    assert.ok(!this.#open.has(streamId), 'a decoder is closed before another takes its place');
    const codec = profile === 'zlib' ? nativeZlib : nativeZstd;
    const decoder = codec.createDecoder({ ...LIMITS, maxDecodedSize: 1 << 16 }, settings);
    const queue = this.#random.once(2) ? [] : undefined;
    if (queue !== undefined) this.#queues.push(queue);
    this.#open.set(streamId, { decoder, queue });
  }

  decode(streamId: number, ticket: Ticket): Uint8Array | undefined {
    const entry = this.#open.get(streamId);
    assert.ok(entry !== undefined, 'frames are decoded on open streams only');
    const payload = entry.decoder.decode(ticket.frame.payload);
    if (entry.queue === undefined) return payload;
    if (this.#random.once(30)) entry.queue.push({ ticket, payload: undefined, lost: LANE_DIED });
    else entry.queue.push({ ticket, payload: payload.slice(), lost: undefined });
    return undefined;
  }

  close(streamId: number): void {
    assert.ok(this.#open.has(streamId), 'what is closed was open');
    this.#open.get(streamId)?.decoder.close();
    this.#open.delete(streamId);
  }

  /** Some decoder answers for its oldest frame. */
  answer(): Ticket | undefined {
    const queues = this.#queues.filter(({ length }) => length > 0);
    const late = queues.length === 0 ? undefined : this.#random.pick(queues).shift();
    if (late === undefined) return undefined;
    late.ticket.payload = late.payload;
    late.ticket.lost = late.lost;
    return late.ticket;
  }
}

const REACTOR_LIMITS: Limits = { ...DEFAULT_LIMITS, maxConcurrentRequests: 6, maxIncomingStreams: 4 };

/** A step of a reactor: false when it has refused the input. */
function step(run: () => void): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (error instanceof ProtocolError || error instanceof DecodeError) return false;
    throw error;
  }
}

const serverReactor: FuzzTarget = {
  name: 'server-reactor',
  generate: (random) => withSeed(random, toBytes(random, clientFrames(random))),
  run(input) {
    const { random, rest } = seeded(input);
    const decoders = new FuzzDecoders(random);
    const reactor = new ServerReactor(REACTOR_LIMITS, decoders, random.once(8), { inputMs: 0 });
    const { frames } = split([rest], 65_535);
    const running = new Map<number, 'data' | 'whole'>();
    const actions: ServerAction[] = [];
    const perform = () => {
      for (const action of actions.splice(0)) {
        if (action.kind === 'run') {
          const { requestId, hasData } = action.command;
          assert.equal(requestId & 1, 1, 'request IDs are odd');
          assert.ok(!running.has(requestId), 'a request runs once');
          running.set(requestId, hasData ? 'data' : 'whole');
        } else if (action.kind === 'data') {
          assert.equal(
            running.get(action.requestId),
            'data',
            'data is for a request that runs and expects it',
          );
          if (action.last) running.set(action.requestId, 'whole');
        } else if (action.kind === 'abandon') {
          assert.ok(running.delete(action.requestId), 'what is abandoned ran');
        }
      }
      assert.ok(running.size <= REACTOR_LIMITS.maxConcurrentRequests, 'requests that run are bounded');
    };
    let alive = true;
    const doStep = (run: () => void) => {
      if (!step(run)) alive = false;
      perform();
    };
    for (const frame of frames) {
      doStep(() => reactor.receive(frame, actions));
      if (!alive) break;
      while (random.once(2)) {
        const ticket = decoders.answer();
        if (ticket === undefined) break;
        doStep(() => reactor.decoded(ticket, actions));
      }
      if (random.once(3) && running.size > 0) {
        const id = random.pick([...running.keys()]);
        running.delete(id);
        reactor.finishResponse(id);
      }
    }
    for (let ticket = decoders.answer(); ticket !== undefined; ticket = decoders.answer()) {
      doStep(() => reactor.decoded(ticket as Ticket, actions));
    }
    doStep(() => reactor.endOfInput(actions));
    assert.ok(!reactor.midCommand, 'after the end nothing is being received');
    if (!alive) assert.throws(() => reactor.receive(frames[0], actions), { code: 'already-errored' });
    reactor.stop();
    assert.equal(decoders.openDecoders, 0, 'all decoders are closed');
    return frames.length;
  },
};

const clientReactor: FuzzTarget = {
  name: 'client-reactor',
  generate: (random) => withSeed(random, toBytes(random, serverFrames(random))),
  run(input) {
    const { random, rest } = seeded(input);
    const decoders = new FuzzDecoders(random);
    const reactor = new ClientReactor<{ id: number; over: boolean }>(REACTOR_LIMITS, decoders, () => 0);
    for (let i = 0; i < 6; i++) {
      const id = reactor.freeId();
      reactor.open(id, { id, over: false });
    }
    const { frames } = split([rest], 65_535);
    const actions: Parameters<typeof reactor.receive>[1] = [];
    const perform = () => {
      for (const action of actions.splice(0)) {
        if (!('request' in action)) continue;
        assert.ok(!action.request.over, 'nothing comes for a request that is over');
        action.request.over = action.kind === 'error' || (action.kind === 'bytes' && action.last);
      }
    };
    let alive = true;
    for (const frame of frames) {
      alive = step(() => reactor.receive(frame, actions));
      perform();
      if (!alive) break;
      if (random.once(10)) reactor.forget(2 * random.below(8) + 1);
      const ticket = decoders.answer();
      // A client's decoders never lose anything: they live on its own thread.
      if (ticket !== undefined && ticket.lost === undefined)
        alive = step(() => reactor.decoded(ticket, actions));
      perform();
      if (!alive) break;
    }
    if (!alive) assert.throws(() => reactor.receive(frames[0], actions), { code: 'already-errored' });
    reactor.stop();
    assert.equal(decoders.openDecoders, 0, 'all decoders are closed');
    return frames.length;
  },
};

// -------------------------------------------------------------------------------------------- decoders

/** A list of payloads as one input: u16 length before each. */
function packList(list: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(
    Buffer.concat(list.flatMap((bytes) => [Uint8Array.of(bytes.length & 255, bytes.length >> 8), bytes])),
  );
}

function unpackList(input: Uint8Array): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (let at = 0; at + 2 <= input.length; ) {
    const length = input[at] | (input[at + 1] << 8);
    list.push(input.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return list;
}

const DECODER_LIMITS = { ...LIMITS, maxDecodedSize: 200_000 };
/** No input of a few KB may keep a decoder at work for longer, in microseconds of CPU time. */
const MOST_MICROS = 2_000_000;

interface Decoded {
  results: Buffer[];
  refused: string | undefined;
}

function decodeList(codec: Codec, list: readonly Uint8Array[]): Decoded {
  const results: Buffer[] = [];
  const before = process.threadCpuUsage();
  const decoder = codec.createDecoder(DECODER_LIMITS);
  const refused = outcome(DecodeError, (): undefined => {
    for (const payload of list) {
      const bytes = decoder.decode(payload);
      assert.ok(bytes.length <= DECODER_LIMITS.maxDecodedSize, 'the limit holds');
      results.push(Buffer.from(bytes));
    }
  });
  if (refused !== undefined)
    assert.throws(() => decoder.decode(Uint8Array.of(1)), DecodeError, 'refused stays refused');
  decoder.close();
  decoder.close();
  const { user, system } = process.threadCpuUsage(before);
  assert.ok(user + system < MOST_MICROS, `${codec.implementation} took too long`);
  return { results, refused };
}

function encodedList(random: Random, codec: Codec): Uint8Array[] {
  const contents = Array.from({ length: 1 + random.below(4) }, () => random.bytes(random.length(6000)));
  const options = { level: random.pick([1, 3, 6, 9]), windowLog: random.pick([10, 12, 15]) };
  return encodeAll(codec, contents, options, random.once(3));
}

/** zstd frames made by hand: blocks of any type, tables and all, out of noise. */
function craftedZstd(random: Random): Uint8Array {
  const blocks = Array.from({ length: 1 + random.below(4) }, () => {
    const type = random.below(8) === 0 ? 3 : random.below(3);
    const content = [...random.bytes(random.below(60))];
    if (type === 2 && content.length > 0) content[0] = random.pick([content[0], 0x42, 0x43, 0, 1, 8]);
    return zstdBlock(
      type,
      type === 1 ? [7] : content,
      random.once(4),
      type === 1 ? random.below(200_000) : content.length,
    );
  });
  return Uint8Array.from([...zstdHeader(random.pick([10, 17, 20, 23, 24])), ...blocks.flat()]);
}

function decoderTarget(
  name: string,
  encoder: Codec,
  codecs: readonly Codec[],
  crafted?: (random: Random) => Uint8Array,
): FuzzTarget {
  return {
    name,
    generate(random) {
      const list = crafted && random.once(3) ? [crafted(random)] : encodedList(random, encoder);
      if (!random.once(8)) {
        const at = random.below(list.length);
        list[at] = damagedBytes(random, list[at]);
      }
      if (random.once(8)) list.push(list[random.below(list.length)]);
      return packList(list);
    },
    run(input) {
      const list = unpackList(input);
      const [first, ...others] = codecs.map((codec) => decodeList(codec, list));
      for (const other of others) {
        const common = Math.min(first.results.length, other.results.length);
        for (let i = 0; i < common; i++)
          assert.ok(first.results[i].equals(other.results[i]), 'all decode to the same bytes');
      }
      return list.length;
    },
  };
}

export const PURE_TARGETS: readonly FuzzTarget[] = [
  splitter,
  layouts,
  human,
  serverReactor,
  clientReactor,
  decoderTarget('decoders-zlib', nativeZlib, [nativeZlib, minizlibZlib, portableZlib]),
  decoderTarget('decoders-zstd', nativeZstd, [nativeZstd, minizlibZstd, portableZstd], craftedZstd),
];
