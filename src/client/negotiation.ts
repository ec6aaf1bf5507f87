/** What a server has announced in its settings, and what follows from it for a client (protocol C2). */

import { REQUEST_IDS } from '../reactor/client.ts';
import { DEFAULT_FRAME_SIZE, frameSizeWithin } from '../wire/frame.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import type { SenderSettings } from '../wire/payloads.ts';

export class ServerSettings {
  readonly #arrival = Promise.withResolvers<void>();
  #settings: SenderSettings | undefined;

  /** `expected`: whether a server that speaks the protocol will send them. */
  constructor(expected: boolean) {
    if (!expected) this.#arrival.resolve();
    // Whoever waits is told; nobody has to.
    this.#arrival.promise.catch(() => undefined);
  }

  /** Undefined until they have come. */
  get settings(): SenderSettings | undefined {
    return this.#settings;
  }

  /** Resolves when they have come, or none are expected; rejects with the error that {@link fail} is given. */
  get arrival(): Promise<void> {
    return this.#arrival.promise;
  }

  take(settings: SenderSettings): void {
    this.#settings = settings;
    this.#arrival.resolve();
  }

  /** They will not come any more. */
  fail(error: Error): void {
    this.#arrival.reject(error);
  }

  /** Extensions go only to a server that has announced them (protocol C). */
  speaks(extension: string): boolean {
    return this.#settings?.extensions?.includes(extension) ?? false;
  }

  /** Most bytes of a command's frame: what the server has said it takes, as soon as it has. */
  get frameSize(): number {
    return frameSizeWithin(this.#settings?.maxFrameSize, DEFAULT_FRAME_SIZE);
  }

  /** Requests that the server takes at a time. */
  get maxConcurrentRequests(): number {
    const announced = this.#settings?.maxConcurrentRequests;
    return Math.min(announced ?? DEFAULT_LIMITS.maxConcurrentRequests, REQUEST_IDS);
  }

  /** Whether the server decodes this profile. */
  decodes(profile: string): boolean {
    return this.#settings?.contentEncodings?.includes(profile) ?? false;
  }
}
