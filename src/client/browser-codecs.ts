/** The codecs of a client in a browser: `zlib` is loaded only where it is asked for, for servers have `zstd-8mb`. */

import { identityCodec } from '../encoding/identity.ts';
import { portableZstd, portableZstdDict } from '../encoding/portable-zstd.ts';
import { ZLIB } from '../encoding/profiles.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { type ClientOptions, withProfiles } from './options.ts';

/** @throws TypeError as {@link withProfiles} does. */
export async function browserCodecs(options: ClientOptions): Promise<CodecRegistry> {
  const { profiles, encodeData } = options;
  // Nothing else can be encoded here: whoever asks for another profile is told of it.
  const zlib =
    encodeData !== undefined || profiles?.includes(ZLIB)
      ? [(await import('../encoding/portable-zlib.ts')).portableZlib]
      : [];
  return withProfiles(options, new CodecRegistry([portableZstd, ...zlib, identityCodec], portableZstdDict));
}
