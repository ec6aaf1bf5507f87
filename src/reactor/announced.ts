/** The settings that one side announces, and holds the other to (protocol C2). */

import { COMMAND_LIMITS, RATES, type SenderSettings } from '../wire/extensions.ts';
import { MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits, overLimit } from '../wire/limits.ts';
import { decodeSenderSettings } from '../wire/payloads.ts';
import { MAX_WINDOW } from './window.ts';

/** What a side with these limits announces of them: no more than the layout can say, and rates where they are its own. */
export function announcedOf(limits: Limits): Pick<SenderSettings, 'maxFrameSize' | (typeof RATES)[number]> {
  const rates = RATES.filter((rate) => limits[rate] < DEFAULT_LIMITS[rate]);
  return {
    maxFrameSize: Math.min(limits.maxPayload, MAX_PAYLOAD_LENGTH),
    ...Object.fromEntries(rates.map((rate) => [rate, limits[rate]])),
  };
}

/** What a server with these limits announces of what a command may have: where it is other than by default. */
export function commandLimitsOf(limits: Limits): Pick<SenderSettings, (typeof COMMAND_LIMITS)[number]> {
  const others = COMMAND_LIMITS.filter((limit) => limits[limit] !== DEFAULT_LIMITS[limit]);
  return Object.fromEntries(others.map((limit) => [limit, limits[limit]]));
}

/** A window as it can be announced: credit takes none past {@link MAX_WINDOW}. */
export function windowOf(bytes: number): number {
  return Math.min(bytes, MAX_WINDOW);
}

/** What the other side has announced. @throws ProtocolError when it is no settings, or asks for frames that are too small. */
export function takeSettings(payload: Uint8Array, { minFrameSize }: Limits): SenderSettings {
  const settings = decodeSenderSettings(payload);
  if (settings.maxFrameSize !== undefined && settings.maxFrameSize < minFrameSize) {
    throw overLimit('minFrameSize', `a maxFrameSize of ${settings.maxFrameSize}, under ${minFrameSize}`);
  }
  return settings;
}
