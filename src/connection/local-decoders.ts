/** Decoders on this thread. */

import { checkedDecode, closeQuietly } from '../encoding/checked.ts';
import type { Decoder } from '../encoding/codec.ts';
import { IDENTITY } from '../encoding/profiles.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import type { Decoders, Ticket } from '../reactor/incoming.ts';
import type { Limits } from '../wire/limits.ts';

/** Figures of one stream that we receive. */
export interface ReceivedStream {
  streamId: number;
  profile: string;
  frames: number;
  /** Bytes on the wire, headers included. */
  wireBytes: number;
  /** Payload bytes after decoding. */
  bytes: number;
}

/** The decoders of one connection, and the figures of its streams; they answer at once. */
export class LocalDecoders implements Decoders {
  readonly #codecs: CodecRegistry;
  readonly #limits: Limits;
  readonly #open = new Map<number, Decoder>();
  readonly figures = new Map<number, ReceivedStream>();

  constructor(codecs: CodecRegistry, limits: Limits) {
    this.#codecs = codecs;
    this.#limits = limits;
  }

  supports(profile: string): boolean {
    return this.#codecs.get(profile) !== undefined;
  }

  open(streamId: number, profile: string, settings: Uint8Array): void {
    const codec = this.#codecs.get(profile);
    if (codec === undefined) throw new Error(`no codec for profile '${profile}'`);
    this.#open.set(streamId, codec.createDecoder(this.#limits, settings));
    this.figure(streamId).profile = profile;
  }

  decode(streamId: number, ticket: Ticket): Uint8Array {
    const decoder = this.#open.get(streamId);
    if (decoder === undefined) throw new Error(`no decoder for stream ${streamId}`);
    const bytes = checkedDecode(decoder, ticket.frame.payload, this.#limits);
    this.figure(streamId).bytes += bytes.length - ticket.frame.payload.length;
    return bytes;
  }

  close(streamId: number): void {
    closeQuietly(this.#open.get(streamId));
    this.#open.delete(streamId);
  }

  figure(streamId: number): ReceivedStream {
    let figure = this.figures.get(streamId);
    if (figure === undefined) {
      figure = { streamId, profile: IDENTITY, frames: 0, wireBytes: 0, bytes: 0 };
      this.figures.set(streamId, figure);
    }
    return figure;
  }
}
