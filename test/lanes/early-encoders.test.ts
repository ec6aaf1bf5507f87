// Encoders of a lane at streams' beginnings, whatever fails and whenever: nobody's is closed too early, twice or not at all.

import type { MessagePort } from 'node:worker_threads';
import test from 'ava';
import type { Codec, Encoder, EncoderOptions } from '../../src/encoding/codec.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { BytesResponseFlag, FrameType, HEADER_SIZE, readHeader, StreamFlag } from '../../src/wire/frame.ts';
import { BatchReader } from '../../workers/batch.ts';
import { BEGINNING_BYTES } from '../../workers/beginnings.ts';
import { LaneEncoders } from '../../workers/lane-encoders.ts';
import { LaneOutput } from '../../workers/lane-output.ts';
import { type LaneMessage, Op } from '../../workers/records.ts';
import { Trace } from '../../workers/trace.ts';
import { TraceWriter } from '../../workers/trace-writer.ts';
import { randomNumbers } from '../helpers/random.ts';

const SLOTS = 6;
const STEPS = 3000;
const DICTIONARY = '00'.repeat(16);

/** What an encoder was at; payloads say which it is and how many it has made before. */
interface Made {
  readonly number: number;
  readonly contextFree: boolean;
  closed: number;
  count: number;
}

class Attack {
  readonly random: () => number;
  readonly made: Made[] = [];
  readonly misused: string[] = [];
  readonly frames: { slot: number; begins: boolean; settings: boolean; encoded: boolean; by?: Made }[] = [];
  readonly encoders: LaneEncoders;
  readonly #output: LaneOutput;
  readonly #fails: number;
  failures = 0;

  constructor(seed: number, fails: number) {
    this.random = randomNumbers(seed);
    this.#fails = fails;
    const postMessage = (message: LaneMessage) => this.#read(message);
    this.#output = new LaneOutput({ postMessage } as unknown as MessagePort);
    const trace = new TraceWriter(new Trace(), () => undefined);
    this.encoders = new LaneEncoders(
      new CodecRegistry([this.#codec()]),
      this.#output,
      trace,
      () => undefined,
    );
    trace.close();
  }

  #codec(): Codec {
    return {
      profile: 'zstd-dict',
      implementation: 'test',
      contextFree: true,
      createEncoder: (options = {}) => this.#encoder(options),
      createDecoder: () => {
        throw new Error('nothing is decoded');
      },
      settings: ({ windowLog = 0 } = {}) => Uint8Array.of(windowLog),
    };
  }

  #mayFail(): void {
    if (this.random() < this.#fails) {
      this.failures++;
      throw new Error('it fails');
    }
  }

  #encoder({ contextFree = false }: EncoderOptions): Encoder {
    this.#mayFail();
    const made: Made = { number: this.made.length, contextFree, closed: 0, count: 0 };
    this.made.push(made);
    return {
      bound: (length) => {
        this.#mayFail();
        return length + 8;
      },
      encode: (chunk, target, offset) => {
        if (made.closed > 0) this.misused.push(`${made.number} is used when it is closed`);
        new DataView(target.buffer, target.byteOffset + offset).setUint32(0, made.number);
        new DataView(target.buffer, target.byteOffset + offset).setUint32(4, made.count++);
        this.#mayFail();
        return 8 + (chunk.length >>> 2);
      },
      finish: () => 0,
      close: () => {
        made.closed++;
      },
    };
  }

  #read({ batch }: LaneMessage): void {
    if (batch === undefined) return;
    const reader = new BatchReader(batch);
    while (reader.next()) if (reader.op === Op.frame) this.#frame(reader);
  }

  #frame({ slot, payload }: BatchReader): void {
    const header = readHeader(payload, 0);
    const encoded = (header.streamFlags & StreamFlag.encoded) !== 0;
    const body = new DataView(payload.buffer, payload.byteOffset + HEADER_SIZE);
    this.frames.push({
      slot,
      begins: (header.streamFlags & StreamFlag.begin) !== 0,
      settings: header.type === FrameType.streamSettings,
      encoded,
      ...(encoded && { by: this.made[body.getUint32(0)] }),
    });
  }

  step(): void {
    const slot = Math.floor(this.random() * SLOTS);
    const chance = this.random();
    const { encoders } = this;
    if (!encoders.slots.includes(slot) || chance < 0.03) this.#open(slot);
    else if (chance < 0.08) encoders.close(slot);
    else if (chance < 0.12) encoders.renew(slot);
    else {
      const size = [0, 1, 900, BEGINNING_BYTES, BEGINNING_BYTES + 1][Math.floor(this.random() * 5)];
      const flags = this.random() < 0.6 ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
      encoders.serve(slot, 1, FrameType.bytesResponse, flags, new Uint8Array(size), this.random() < 0.9);
      encoders.failureSeen(slot, 1);
    }
  }

  #open(slot: number): void {
    this.encoders.open(slot, {
      streamId: 2 * slot + 2,
      profile: 'zstd-dict',
      frameSize: 32_768,
      perRequest: this.random() < 0.1,
      suspect: 1,
      windowLog: 17,
      dictionary: DICTIONARY,
      ...(this.random() < 0.8 && { early: { level: 11, dictionary: DICTIONARY } }),
      ...(this.random() < 0.1 && { contextFree: true, early: undefined }),
    });
  }

  finish(): void {
    for (const slot of this.encoders.slots) this.encoders.close(slot);
    this.#output.flush();
  }
}

for (const fails of [0, 0.02, 0.3])
  test(`whatever fails (${fails}), contexts are closed once and shared encoders never`, (t) => {
    for (let seed = 1; seed <= 5; seed++) {
      const attack = new Attack(seed, fails);
      for (let i = 0; i < STEPS; i++) attack.step();
      attack.finish();
      t.deepEqual(attack.misused, []);
      t.deepEqual(
        attack.made.filter(({ contextFree, closed }) => closed !== (contextFree ? 0 : 1)),
        [],
      );
      t.is(attack.encoders.early, 0);
      t.true(attack.failures > 0 || fails === 0);
      t.true(attack.made.some(({ contextFree }) => contextFree));
      if (fails === 0) t.is(attack.made.filter(({ contextFree }) => contextFree).length, 2);
    }
  });

test('a context is never changed for another in the midst of a stream, but for none', (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const attack = new Attack(seed, 0.02);
    for (let i = 0; i < STEPS; i++) attack.step();
    attack.finish();
    const kept = new Map<number, Made | undefined>();
    const said = new Map<number, boolean>();
    for (const { slot, begins, settings, encoded, by } of attack.frames) {
      if (begins) {
        kept.set(slot, undefined);
        said.set(slot, settings);
      }
      if (!encoded) continue;
      t.true(said.get(slot), 'what is encoded has a profile');
      const before = kept.get(slot);
      if (by?.contextFree) t.is(before, undefined, 'nothing that stands alone comes after a context');
      else {
        t.true(before === undefined || before === by);
        kept.set(slot, by);
      }
    }
  }
});
