/** What a server and one peer agree on (protocol C2): what the peer has announced, and what follows from it. */

import type { ContextShape } from '../lanes/budget.ts';
import type { RouterOptions } from '../lanes/router.ts';
import { frameSizeWithin } from '../wire/frame.ts';
import { ErrorDetail, EXTENSIONS, errorDetailFor, type SenderSettings } from '../wire/payloads.ts';

/** What a server has to offer to all its peers. */
export interface Offer {
  /** Profiles that we decode, best first. */
  readonly decodable: readonly string[];
  /** Profiles that we encode, best first. */
  readonly encodable: readonly string[];
  readonly router: Omit<RouterOptions, 'profile' | 'frameSize' | 'policy' | keyof ContextShape> & {
    readonly makePolicy: () => RouterOptions['policy'];
    /** Level, window and tuning by profile, each in that profile's own scale. */
    readonly encoderOptions: ReadonlyMap<string, ContextShape>;
    /** The profile for responses; undefined: the client's first choice that we encode. */
    readonly profile: string | undefined;
    readonly frameSize: number;
  };
}

export class Negotiation {
  readonly #offer: Offer;
  #announced: SenderSettings = {};
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
      contentEncodings: announced.contentEncodings?.filter((name) => this.#offer.encodable.includes(name)),
      extensions: announced.extensions?.filter((name) => EXTENSIONS.includes(name)),
    };
    this.errorDetail = errorDetailFor(announced.extensions);
  }

  speaks(extension: string): boolean {
    return this.#announced.extensions?.includes(extension) ?? false;
  }

  /** How responses are encoded for this peer: unencoded until it has announced what it decodes. */
  routerOptions(): RouterOptions {
    const { makePolicy, encoderOptions, frameSize, ...rest } = this.#offer.router;
    const profile = this.#profile;
    return {
      ...rest,
      ...encoderOptions.get(profile),
      profile,
      frameSize: frameSizeWithin(this.#announced.maxFrameSize, frameSize),
      policy: makePolicy(),
    };
  }

  /** Our own choice if the client can decode it, else the first of the client's that we encode. */
  get #profile(): string {
    const { encodable, router } = this.#offer;
    const decodable = this.#announced.contentEncodings ?? [];
    if (router.profile !== undefined && decodable.includes(router.profile)) return router.profile;
    return decodable.find((name) => encodable.includes(name)) ?? 'identity';
  }
}
