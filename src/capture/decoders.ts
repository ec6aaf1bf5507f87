/** Decoders on this thread, for who looks at frames as they pass. */

import type { Decoder } from '../encoding/codec.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import type { Decoders, Ticket } from '../reactor/incoming.ts';
import type { Limits } from '../wire/limits.ts';

export class SyncDecoders implements Decoders {
  readonly #codecs: CodecRegistry;
  readonly #limits: Limits;
  readonly #open = new Map<number, Decoder>();

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
  }

  decode(streamId: number, ticket: Ticket): Uint8Array {
    const decoder = this.#open.get(streamId);
    if (decoder === undefined) throw new Error(`no decoder for stream ${streamId}`);
    return decoder.decode(ticket.frame.payload);
  }

  close(streamId: number): void {
    this.#open.get(streamId)?.close();
    this.#open.delete(streamId);
  }
}
