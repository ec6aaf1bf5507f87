/** What a client and a server tell each other in their settings, and what follows from it for the client (protocol C2). */

import { announcedOf } from '../reactor/announced.ts';
import { REQUEST_IDS } from '../reactor/client.ts';
import { DEFAULT_FRAME_SIZE, frameSizeWithin } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { EXTENSIONS, type SenderSettings } from '../wire/payloads.ts';
import type { CommandLimits } from './command.ts';

export class ServerSettings {
  /** Whether a server that speaks the protocol sends them: not to a client that keeps to part A. */
  readonly expected: boolean;
  readonly #arrival = Promise.withResolvers<void>();
  #settings: SenderSettings | undefined;
  #commandLimits: CommandLimits | undefined;

  constructor(expected: boolean) {
    this.expected = expected;
    if (!expected) this.#arrival.resolve();
    // Whoever waits is told; nobody has to.
    this.#arrival.promise.catch(() => undefined);
  }

  /** Undefined until they have come. */
  get settings(): SenderSettings | undefined {
    return this.#settings;
  }

  /** True while they are still to come. */
  get awaited(): boolean {
    return this.expected && this.#settings === undefined;
  }

  /** Resolves when they have come, or none are expected; rejects with the error that {@link fail} is given. */
  get arrival(): Promise<void> {
    return this.#arrival.promise;
  }

  take(settings: SenderSettings): void {
    this.#settings = settings;
    this.#commandLimits = { ...DEFAULT_LIMITS, ...settings };
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

  /** What the server takes of one command; undefined: nothing is known. */
  get commandLimits(): CommandLimits | undefined {
    return this.#commandLimits;
  }

  /** Whether the server decodes this profile. */
  decodes(profile: string): boolean {
    return this.#settings?.contentEncodings?.includes(profile) ?? false;
  }
}

/** The smallest window that an encoder can be asked for (protocol C2). */
export const MIN_WINDOW_LOG = 10;

type Windows = Pick<SenderSettings, 'requestWindow' | 'connectionWindow'>;

/** What a client with these limits announces, which decodes `profiles`, the best first. */
export function settingsOf(
  profiles: readonly string[],
  limits: Limits,
  { requestWindow, connectionWindow }: Windows,
): SenderSettings {
  return {
    contentEncodings: [...profiles],
    ...announcedOf(limits),
    ...windowSetting(limits),
    requestWindow,
    ...(connectionWindow === undefined ? {} : { connectionWindow }),
    extensions: [...EXTENSIONS],
  };
}

/** A smaller window than the profile promises, where ours takes no more. */
function windowSetting({ maxWindowSize }: Limits): Pick<SenderSettings, 'maxWindowLog'> {
  if (maxWindowSize >= DEFAULT_LIMITS.maxWindowSize) return {};
  return { maxWindowLog: Math.max(MIN_WINDOW_LOG, Math.floor(Math.log2(maxWindowSize))) };
}
