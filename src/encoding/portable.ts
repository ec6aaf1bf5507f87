/**
 * Codecs for browsers, and for a Node without zstd: pako for `zlib`, our own decoder for `zstd-8mb` and `zstd-dict`,
 * which nothing here can encode. No node: module and no Buffer in here.
 */

import type { Codec } from './codec.ts';
import { identityCodec } from './identity.ts';
import { portableZlib } from './portable-zlib.ts';
import { portableZstd } from './portable-zstd.ts';

export { portableZlib } from './portable-zlib.ts';
export { portableDictionaryDecoder, portableZstd, portableZstdDict } from './portable-zstd.ts';

/** Codecs that run anywhere, best profile first. */
export function portableCodecs(): readonly Codec[] {
  return [portableZstd, portableZlib, identityCodec];
}
