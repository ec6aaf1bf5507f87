/**
 * The header with which a proxy begins a connection: PROXY protocol, versions 1 and 2. Nothing is taken that the protocol's
 * text does not have, and nothing is waited for once it is certain that no header comes.
 */

import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { crc32c } from './crc32c.ts';

/** What a proxy has said of a connection. */
export interface ProxyFacts {
  /** The proxy's own address, `host:port` or `unix`. */
  readonly proxy: string;
  readonly version: 1 | 2;
  /** Who has connected to the proxy, and to which address; undefined when the proxy speaks for itself, or does not know. */
  readonly source?: string;
  readonly destination?: string;
  /** Version 2's further facts in their order, padding and checksum left out; the protocol has their types. */
  readonly facts: readonly ProxyFact[];
}

/** One of the further things that version 2 of the PROXY protocol says of a connection (a TLV). */
export interface ProxyFact {
  /** 0 … 255: 1 ALPN, 2 authority (the host name asked for), 5 unique ID, 32 TLS, 48 network namespace … */
  readonly type: number;
  readonly value: Uint8Array;
}

export type ProxyHeader = Omit<ProxyFacts, 'proxy'>;

/** Bytes of the longest line of version 1, its end included. */
const MAX_LINE = 107;
/** Bytes of the longest header of version 2 that we take: addresses need 232, a client's certificate some more. */
const MAX_BINARY = 4096;
const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const PREFIX = new TextEncoder().encode('PROXY ');
/** Signature, version and command, family and transport, length. */
const FIXED = 16;

const CHECKSUM = 3;
const PADDING = 4;

/** What is wrong with a header; holds nothing of its bytes. */
export class ProxyHeaderError extends Error {
  override readonly name = 'ProxyHeaderError';
}

/**
 * The header that `bytes` begin with and how many bytes it has; undefined while it may still become one.
 * @throws ProxyHeaderError when it is none, is broken, or is over 107 (version 1) or 4 096 (version 2) bytes.
 */
export function parseProxyHeader(bytes: Uint8Array): { header: ProxyHeader; length: number } | undefined {
  if (beginsLike(bytes, SIGNATURE)) return parseBinary(bytes);
  if (beginsLike(bytes, PREFIX)) return parseLine(bytes);
  throw new ProxyHeaderError('the connection does not begin with a PROXY header');
}

function beginsLike(bytes: Uint8Array, with_: Uint8Array): boolean {
  const length = Math.min(bytes.length, with_.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== with_[i]) return false;
  return true;
}

// ------------------------------------------------------------------------------------------- version 1

function parseLine(bytes: Uint8Array): { header: ProxyHeader; length: number } | undefined {
  const end = bytes.subarray(0, MAX_LINE).indexOf(0x0a);
  if (end < 0) {
    if (bytes.length < MAX_LINE) return undefined;
    throw new ProxyHeaderError(`the PROXY line is longer than ${MAX_LINE} bytes`);
  }
  if (bytes[end - 1] !== 0x0d) throw new ProxyHeaderError('the PROXY line does not end with CR LF');
  const line = new TextDecoder('latin1').decode(bytes.subarray(0, end - 1));
  return { header: headerOfLine(line), length: end + 1 };
}

function headerOfLine(line: string): ProxyHeader {
  const [, family, source, destination, sourcePort, destinationPort, ...more] = line.split(' ');
  if (family === 'UNKNOWN') return { version: 1, facts: [] };
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isPlainIPv6 : undefined;
  if (isAddress === undefined) throw new ProxyHeaderError('the PROXY line has an unknown protocol');
  if (destinationPort === undefined || more.length > 0)
    throw new ProxyHeaderError('the PROXY line does not have two addresses and two ports');
  if (!isAddress(source) || !isAddress(destination))
    throw new ProxyHeaderError('the PROXY line has an address that is none of its protocol');
  if (!isPort(sourcePort) || !isPort(destinationPort))
    throw new ProxyHeaderError('the PROXY line has a port that is none');
  return {
    version: 1,
    source: `${shown(source)}:${sourcePort}`,
    destination: `${shown(destination)}:${destinationPort}`,
    facts: [],
  };
}

function shown(address: string): string {
  return isIPv4(address) ? address : canonicalIPv6(address);
}

/** Without a zone, which means something on one machine only. */
function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%');
}

function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 0xffff;
}

// ------------------------------------------------------------------------------------------- version 2

function parseBinary(bytes: Uint8Array): { header: ProxyHeader; length: number } | undefined {
  // What is wrong at the front is refused before the rest is waited for.
  if (bytes.length > SIGNATURE.length) checkCommand(bytes[12]);
  if (bytes.length < FIXED) return undefined;
  const length = FIXED + bytes[14] * 256 + bytes[15];
  if (length > MAX_BINARY) throw new ProxyHeaderError(`the PROXY header is longer than ${MAX_BINARY} bytes`);
  const isLocal = bytes[12] === LOCAL;
  const addressSize = isLocal ? 0 : addressSizeOf(bytes[13]);
  if (length < FIXED + addressSize)
    throw new ProxyHeaderError('the PROXY header has no room for its addresses');
  if (bytes.length < length) return undefined;
  // A proxy that speaks for itself says nothing of anybody else.
  if (isLocal) return { header: { version: 2, facts: [] }, length };
  // A copy with memory of its own: a Buffer's slice has not.
  const header = new Uint8Array(bytes.subarray(0, length));
  const facts = factsOf(header, FIXED + addressSize);
  return { header: { version: 2, ...addressesOf(header), facts }, length };
}

const LOCAL = 0x20;
const PROXIED = 0x21;

function checkCommand(versionAndCommand: number): void {
  if (versionAndCommand >> 4 !== 2) throw new ProxyHeaderError('the PROXY header is of an unknown version');
  if (versionAndCommand !== LOCAL && versionAndCommand !== PROXIED)
    throw new ProxyHeaderError('the PROXY header has an unknown command');
}

/** Family and transport. */
const Family = { unknown: 0x00, tcp4: 0x11, tcp6: 0x21, unixStream: 0x31 } as const;
const UNIX_PATH = 108;

function addressSizeOf(family: number): number {
  if (family === Family.unknown) return 0;
  if (family === Family.tcp4) return 12;
  if (family === Family.tcp6) return 36;
  if (family === Family.unixStream) return 2 * UNIX_PATH;
  throw new ProxyHeaderError('the PROXY header is of no family and transport that a connection can have');
}

function addressesOf(header: Uint8Array): { source?: string; destination?: string } {
  const view = new DataView(header.buffer, FIXED);
  const portsAt = addressSizeOf(header[13]) - 4;
  switch (header[13]) {
    case Family.tcp4:
    case Family.tcp6: {
      const size = portsAt / 2;
      return {
        source: `${ipOf(view, 0, size)}:${view.getUint16(portsAt)}`,
        destination: `${ipOf(view, size, size)}:${view.getUint16(portsAt + 2)}`,
      };
    }
    // Paths of the proxy's machine say nothing here.
    default:
      return {};
  }
}

function ipOf(view: DataView, at: number, size: number): string {
  if (size === 4) return [0, 1, 2, 3].map((i) => view.getUint8(at + i)).join('.');
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(at + 2 * i).toString(16));
  return canonicalIPv6(groups.join(':'));
}

/** As the system writes it, so that one address has one name. */
function canonicalIPv6(address: string): string {
  return new SocketAddress({ address, family: 'ipv6' }).address;
}

/** @throws ProxyHeaderError when they do not fill the rest of the header, or a checksum is wrong. */
function factsOf(header: Uint8Array, from: number): ProxyFact[] {
  const facts: ProxyFact[] = [];
  let checked = false;
  for (let at = from; at < header.length; ) {
    const start = at + 3;
    const end = start + header[at + 1] * 256 + header[at + 2];
    if (!(end <= header.length)) throw new ProxyHeaderError('a fact in the PROXY header is cut off');
    const type = header[at];
    if (type === CHECKSUM) {
      if (checked) throw new ProxyHeaderError('the PROXY header has two checksums');
      checked = true;
      checkSum(header, start, end);
    } else if (type !== PADDING) facts.push({ type, value: header.slice(start, end) });
    at = end;
  }
  return facts;
}

/** Computed over the whole header, with zero in its own place. */
function checkSum(header: Uint8Array, start: number, end: number): void {
  if (end - start !== 4) throw new ProxyHeaderError('the checksum of the PROXY header has not 4 bytes');
  const said = new DataView(header.buffer).getUint32(start);
  const zeroed = header.slice();
  zeroed.fill(0, start, end);
  if (crc32c(zeroed) !== said) throw new ProxyHeaderError('the checksum of the PROXY header is wrong');
}
