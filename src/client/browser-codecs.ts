/** The codecs of a client in a browser: `zlib` is loaded only where it is asked for, for servers have `zstd-8mb`. */

import { identityCodec } from '../encoding/identity.ts';
import { portableZstd, portableZstdDict } from '../encoding/portable-zstd.ts';
import { ZLIB } from '../encoding/profiles.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import type { ClientOptions } from './options.ts';

export async function browserCodecs({ profiles, encodeData }: ClientOptions): Promise<CodecRegistry> {
  if (encodeData !== ZLIB && !profiles?.includes(ZLIB))
    return new CodecRegistry([portableZstd, identityCodec], portableZstdDict);
  const { portableZlib } = await import('../encoding/portable-zlib.ts');
  return new CodecRegistry([portableZstd, portableZlib, identityCodec], portableZstdDict);
}
