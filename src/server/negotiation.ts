/** What a server and one peer agree on (protocol C2): what the peer has announced, and what follows from it. */

import { IDENTITY, ZLIB, ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import type { ContextShape } from '../lanes/context-cost.ts';
import type { RouterOptions } from '../lanes/router.ts';
import { announcedOf, commandLimitsOf } from '../reactor/announced.ts';
import { ProtocolError } from '../wire/errors.ts';
import { frameSizeWithin, MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import {
  ErrorDetail,
  EXTENSIONS,
  encodeSenderSettings,
  errorDetailFor,
  MAX_DICTIONARIES,
  type SenderSettings,
} from '../wire/payloads.ts';
import type { ServerDictionaries } from './dictionaries.ts';

/** What a server has to offer to all its peers. */
export interface Offer {
  /** Profiles that we decode, best first. */
  readonly decodable: readonly string[];
  /** Profiles that we encode, best first. */
  readonly encodable: readonly string[];
  readonly dictionaries: ServerDictionaries;
  /** Our settings, encoded, once made: the same for all peers that are told of windows, and of dictionaries, or of neither. */
  readonly answers: Uint8Array[];
  readonly router: Omit<RouterOptions, 'profile' | 'frameSize' | 'policy' | 'holds' | keyof ContextShape> & {
    readonly makePolicy: () => RouterOptions['policy'];
    /** Level, window and tuning by profile, each in that profile's own scale. */
    readonly encoderOptions: ReadonlyMap<string, ContextShape>;
    /** The profile for responses; undefined: the client's first choice that we encode. */
    readonly profile: string | undefined;
    readonly frameSize: number;
  };
}

export type DataWindowSizes = Pick<SenderSettings, 'requestWindow' | 'connectionWindow'>;

/** Windows in bytes that encoders may ask for who keep to the profile (protocol B3). */
const PROMISED_WINDOW: ReadonlyMap<string, number> = new Map([
  [ZSTD, DEFAULT_LIMITS.maxWindowSize],
  [ZSTD_DICT, DEFAULT_LIMITS.maxWindowSize],
  [ZLIB, 1 << 15],
]);

/**
 * Whether a client that keeps to the profile, and encodes its data on a stream beside that of its commands, keeps to the limits. Who
 * would not is not offered it: to be told by the end of the connection is too late.
 */
function takesData(profile: string, limits: Limits): boolean {
  return (
    limits.maxWindowSize >= (PROMISED_WINDOW.get(profile) ?? 0) &&
    limits.maxDecodedSize >= DEFAULT_LIMITS.minFrameSize &&
    limits.maxIncomingStreams > 1 &&
    limits.maxStreamBegins > 1
  );
}

export class Negotiation {
  readonly #offer: Offer;
  #announced: SenderSettings = {};
  /** IDs of the dictionaries that the peer holds. */
  readonly #held = new Set<string>();
  /** How often it has said so of one. */
  #holdings = 0;
  /** What the peer takes of an error (protocol C11). */
  errorDetail: number = ErrorDetail.message;

  constructor(offer: Offer) {
    this.#offer = offer;
  }

  /** The peer has announced its settings. */
  take(announced: SenderSettings): void {
    // Of its lists what we know is kept: they may hold a thousand names.
    this.#announced = {
      ...announced,
      contentEncodings: announced.contentEncodings?.filter(
        (name) => name === ZSTD_DICT || this.#offer.encodable.includes(name),
      ),
      extensions: announced.extensions?.filter((name) => EXTENSIONS.includes(name)),
    };
    this.errorDetail = errorDetailFor(announced.extensions);
    if (!this.takesDictionaries) return;
    // What it holds of other servers is nothing to us.
    for (const each of announced.dictionaries ?? [])
      if (typeof each === 'string' && this.#offer.dictionaries.byId.has(each)) this.#held.add(each);
  }

  /** Whether the peer is told of dictionaries, for it decodes with them. */
  get takesDictionaries(): boolean {
    const { size } = this.#offer.dictionaries.byId;
    return size > 0 && (this.#announced.contentEncodings?.includes(ZSTD_DICT) ?? false);
  }

  /** The peer says that it holds a dictionary. @throws ProtocolError for one that it was not offered, and for too many. */
  hold(id: string): void {
    if (!this.takesDictionaries || !this.#offer.dictionaries.byId.has(id))
      throw new ProtocolError('unknown-dictionary', `dictionary ${id} was not offered`);
    if (++this.#holdings > MAX_DICTIONARIES)
      throw new ProtocolError('unknown-dictionary', `more than ${MAX_DICTIONARIES} dictionaries held`);
    this.#held.add(id);
  }

  /** What we announce in turn, encoded; `windows`: those for command data, where there are any. */
  answer(limits: Limits, windows: DataWindowSizes | undefined): Uint8Array {
    const { answers } = this.#offer;
    const kind = (windows === undefined ? 0 : 1) + (this.takesDictionaries ? 2 : 0);
    answers[kind] ??= encodeSenderSettings(this.#settings(limits, windows));
    return answers[kind];
  }

  #settings(limits: Limits, windows: DataWindowSizes | undefined): SenderSettings {
    const { maxFrameSize = MAX_PAYLOAD_LENGTH, ...rates } = announcedOf(limits);
    return {
      contentEncodings: this.#offer.decodable.filter((profile) => takesData(profile, limits)),
      // What its frames hold before they are encoded is less than that, too.
      maxFrameSize: Math.min(maxFrameSize, Math.max(limits.maxDecodedSize, DEFAULT_LIMITS.minFrameSize)),
      ...rates,
      ...commandLimitsOf(limits),
      maxConcurrentRequests: limits.maxConcurrentRequests,
      ...windows,
      ...(this.takesDictionaries && { dictionaries: this.#offer.dictionaries.offers }),
      extensions: EXTENSIONS.filter((name) => name !== 'data-credit' || windows !== undefined),
    };
  }

  speaks(extension: string): boolean {
    return this.#announced.extensions?.includes(extension) ?? false;
  }

  /** How responses are encoded for this peer: unencoded until it has announced what it decodes. */
  routerOptions(): RouterOptions {
    const { makePolicy, encoderOptions, frameSize, ...rest } = this.#offer.router;
    const { perRequest, adaptive, spread, streams, kinds } = rest;
    const profile = this.#profile;
    // What each request asks for comes first, side by side.
    return {
      profile,
      frameSize: frameSizeWithin(this.#announced.maxFrameSize, frameSize),
      spread,
      perRequest,
      adaptive,
      streams,
      kinds,
      policy: makePolicy(),
      holds: (dictionary) => this.#held.has(dictionary),
      maxWindowLog: this.#announced.maxWindowLog,
      ...encoderOptions.get(profile),
    };
  }

  /** Bytes of what is compressed as a whole, whose window is as large as it is, or as the profile promises. */
  get maxWholeSize(): number {
    const { maxWindowLog } = this.#announced;
    return maxWindowLog === undefined ? Number.POSITIVE_INFINITY : 2 ** maxWindowLog;
  }

  /** Our own choice if the client can decode it, else the first of the client's that we encode. */
  get #profile(): string {
    const { encodable, router } = this.#offer;
    const decodable = this.#announced.contentEncodings ?? [];
    if (router.profile !== undefined && decodable.includes(router.profile)) return router.profile;
    return decodable.find((name) => encodable.includes(name)) ?? IDENTITY;
  }
}
