/** The dictionaries that a client holds for one connection: fetched once each, checked before a byte of one is used (protocol C9). */

import { parseDictionary } from '../encoding/dictionary/format.ts';
import { type Dictionary, dictionaryIdOf } from '../encoding/dictionary.ts';
import { CommandError, ProtocolError } from '../wire/errors.ts';
import { joined } from '../wire/joined.ts';
import type { DictionaryOffer, SenderSettings } from '../wire/payloads.ts';

/** Where dictionaries stay when their connection is gone. What it throws costs its contents, and nothing else. */
export interface DictionaryStore {
  /** The bytes that were saved under this ID, checked or not. */
  load(id: string): Promise<Uint8Array | undefined>;
  save(id: string, bytes: Uint8Array): Promise<void>;
}

/** What it needs of its connection's client. */
export interface DictionaryOwner {
  /** Whether calls can still be made. */
  readonly takesCalls: boolean;
  /** The pieces of the response to the command `dictionary`. */
  fetch(id: string): AsyncIterable<Uint8Array>;
  /** Tells the server that it may use this one. */
  announce(id: string): void;
  /** The server has broken the protocol. */
  fail(error: ProtocolError): void;
}

export class HeldDictionaries {
  /** By ID. */
  readonly held = new Map<string, Dictionary>();
  readonly #owner: DictionaryOwner;
  readonly #store: DictionaryStore | undefined;
  /** Resolves when all that the store has of what the server offers is held. */
  #loaded: Promise<void> = Promise.resolve();

  constructor(owner: DictionaryOwner, store: DictionaryStore | undefined) {
    this.#owner = owner;
    this.#store = store;
  }

  get loaded(): Promise<void> {
    return this.#loaded;
  }

  /** The server has sent its settings. */
  offered({ dictionaries = [] }: SenderSettings): void {
    const offers = dictionaries.filter((each) => typeof each !== 'string');
    if (offers.length === 0) return;
    const loading = this.#load(offers);
    this.#loaded = loading.then(() => undefined);
    loading.then((missing) => this.#fetch(missing));
  }

  /** Takes from the store what it has, and returns what it has not. */
  async #load(offers: readonly DictionaryOffer[]): Promise<DictionaryOffer[]> {
    const missing: DictionaryOffer[] = [];
    for (const offer of offers) {
      const bytes = await this.#store?.load(offer.id).catch(() => undefined);
      if (bytes !== undefined && (await isWhat(bytes, offer))) this.#hold(offer.id, bytes);
      else missing.push(offer);
    }
    return missing;
  }

  /** One after the other, beside the calls of the user. */
  async #fetch(offers: readonly DictionaryOffer[]): Promise<void> {
    for (const offer of offers) {
      if (!this.#owner.takesCalls) return;
      if (this.held.has(offer.id)) continue;
      try {
        const bytes = await this.#bytesOf(offer);
        if (!(await isWhat(bytes, offer))) throw otherBytes(offer);
        this.#hold(offer.id, bytes);
        await this.#store?.save(offer.id, bytes).catch(() => undefined);
      } catch (error) {
        if (error instanceof ProtocolError) return this.#owner.fail(error);
        // A server that does not give it away goes without it.
        if (!(error instanceof CommandError)) return;
      }
    }
  }

  /** Memory is taken as bytes come, and no more than was announced. */
  async #bytesOf(offer: DictionaryOffer): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of this.#owner.fetch(offer.id)) {
      length += piece.length;
      if (length > offer.bytes) throw otherBytes(offer);
      pieces.push(piece);
    }
    return joined(pieces);
  }

  #hold(id: string, bytes: Uint8Array): void {
    this.held.set(id, { id, bytes });
    this.#owner.announce(id);
  }
}

/** Whether these are the bytes that the server has announced, and a dictionary. */
async function isWhat(bytes: Uint8Array, { id, bytes: length }: DictionaryOffer): Promise<boolean> {
  if (bytes.length !== length || (await dictionaryIdOf(bytes)) !== id) return false;
  try {
    parseDictionary(bytes);
    return true;
  } catch {
    return false;
  }
}

function otherBytes({ id }: DictionaryOffer): ProtocolError {
  return new ProtocolError('unknown-dictionary', `the server sent other bytes than dictionary ${id} has`);
}
