/** Frames for reactors, and what reactors make of them as one short line. */

import type { Decoders, Ticket } from '../../src/reactor/incoming.ts';
import { ProtocolError } from '../../src/wire/errors.ts';
import type { Frame, FrameType } from '../../src/wire/frame.ts';
import {
  encodeArgumentHead,
  encodeCredit,
  encodeDictionaryHeld,
  encodeGoaway,
  encodeProgress,
  encodeSenderSettings,
  encodeStreamSettings,
  encodeTextOutput,
  encodeUtf8,
} from '../../src/wire/payloads.ts';

/** A frame of request 1 on stream 1 unless `more` says otherwise; `payload` may be text. */
export function frame(
  type: number,
  flags: number,
  payload: Uint8Array | string = '',
  more: Partial<Frame> = {},
): Frame {
  const bytes = typeof payload === 'string' ? encodeUtf8(payload) : payload;
  return { requestId: 1, streamId: 1, streamFlags: 0, type, flags, payload: bytes, ...more };
}

const value = encodeUtf8('v');

/** One well-formed payload of every type, by its name in the protocol. */
export const PAYLOADS: Record<keyof typeof FrameType, Uint8Array> = {
  commandName: encodeUtf8('name'),
  commandArgument: encodeArgumentHead('a', 1, value),
  commandData: value,
  bytesResponse: value,
  errorResponse: value,
  textOutput: encodeTextOutput([{ format: 'x', labels: [], args: [] }]),
  progress: encodeProgress({ position: 1, total: 2, topic: 't', unit: '', item: '' }),
  streamSettings: encodeStreamSettings('zlib', new Uint8Array(0)),
  senderSettings: encodeSenderSettings({}),
  cancel: new Uint8Array(0),
  credit: encodeCredit(5),
  ping: new Uint8Array(8),
  goaway: encodeGoaway(1, 'r'),
  dictionaryHeld: encodeDictionaryHeld('00'.repeat(16)),
};

/** What `step` adds to `actions`: their kinds in order, `nothing`, or `error` and the code that it throws. */
export function outcome(actions: { kind: string }[], step: () => void): string {
  const before = actions.length;
  try {
    step();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return `error ${error.code}`;
  }
  return (
    actions
      .slice(before)
      .map(({ kind }) => kind)
      .join(', ') || 'nothing'
  );
}

/** Decoders for tests: the encoded payload with each byte less one; answers at once, or when the test says so. */
export class FakeDecoders implements Decoders {
  readonly open_ = new Map<number, string>();
  readonly log: string[] = [];
  readonly waiting: { streamId: number; ticket: Ticket }[] = [];
  later = false;

  supports(profile: string): boolean {
    return profile === 'zlib';
  }

  open(streamId: number, profile: string): void {
    this.open_.set(streamId, profile);
    this.log.push(`open ${streamId}`);
  }

  close(streamId: number): void {
    this.open_.delete(streamId);
    this.log.push(`close ${streamId}`);
  }

  decode(streamId: number, ticket: Ticket): Uint8Array | undefined {
    this.log.push(`decode ${streamId}`);
    if (!this.later) return decodeFake(ticket.frame.payload);
    this.waiting.push({ streamId, ticket });
    return undefined;
  }

  /** The oldest ticket of a stream, answered. */
  answer(streamId: number): Ticket {
    const at = this.waiting.findIndex((each) => each.streamId === streamId);
    const [{ ticket }] = this.waiting.splice(at, 1);
    ticket.payload = decodeFake(ticket.frame.payload);
    return ticket;
  }
}

export function encodeFake(payload: Uint8Array | string): Uint8Array {
  const bytes = typeof payload === 'string' ? encodeUtf8(payload) : payload;
  return bytes.map((byte) => byte + 1);
}

function decodeFake(payload: Uint8Array): Uint8Array {
  return payload.map((byte) => byte - 1);
}
