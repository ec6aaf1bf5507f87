/** Headers of the PROXY protocol, version 2, as a proxy makes them. */

import { crc32c } from '../../src/transport/crc32c.ts';

export const TCP4 = 0x11;
export const TCP6 = 0x21;
export const UNIX = 0x31;
export const LOCAL = 0x20;
const PROXIED = 0x21;
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';

export function binaryHeader(family: number, rest: readonly number[], command: number = PROXIED): Buffer {
  const head = [...Buffer.from(SIGNATURE), command, family, rest.length >> 8, rest.length & 0xff];
  return Buffer.from([...head, ...rest]);
}

/** One fact (type, length, value). */
export function fact(type: number, value: string): number[] {
  return [type, value.length >> 8, value.length & 0xff, ...Buffer.from(value, 'latin1')];
}

/** A header that ends with its checksum. */
export function withChecksum(family: number, rest: readonly number[]): Buffer {
  const header = binaryHeader(family, [...rest, ...fact(3, '\0\0\0\0')]);
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}
