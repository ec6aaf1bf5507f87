/** What the encoders of responses are made with. */

import type { EncoderOptions } from '../encoding/codec.ts';
import { IDENTITY } from '../encoding/profiles.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import type { CheckedOptions } from './options.ts';

/** Of each profile that we encode. @throws Error that says which option the codecs, or the policy, cannot follow. */
export function encoderOptions(options: CheckedOptions, codecs: CodecRegistry): Map<string, EncoderOptions> {
  const { profile, policy, level, windowLog, tuning } = options;
  for (const name of ['level', 'tuning'] as const) {
    if (policy !== 'adaptive' || options[name] === undefined) continue;
    throw new Error(`option ${name}: the policy 'adaptive' has levels of its own`);
  }
  const encodable = codecs.encodable();
  if (profile !== undefined && !encodable.includes(profile)) {
    throw new Error(`unknown profile '${profile}': this runtime encodes ${encodable.join(', ')}`);
  }
  return byProfile(codecs, profile, { level, windowLog, tuning });
}

/**
 * Level and window for each profile: what was asked for where the profile has such ones, else its own default, for it
 * is the client that says which profile it decodes.
 * @throws RangeError when no profile, or not the one that was chosen, has such a level and window.
 */
function byProfile(
  codecs: CodecRegistry,
  chosen: string | undefined,
  asked: EncoderOptions,
): Map<string, EncoderOptions> {
  const options = new Map<string, EncoderOptions>();
  let problem: unknown;
  let fits = false;
  for (const profile of codecs.encodable()) {
    const counts = profile !== IDENTITY && (chosen === undefined || chosen === profile);
    try {
      codecs.get(profile)?.createEncoder?.(asked).close();
      options.set(profile, asked);
      fits ||= counts;
    } catch (error) {
      options.set(profile, {});
      if (counts) problem ??= error;
    }
  }
  if (problem !== undefined && !fits) throw problem;
  return options;
}
