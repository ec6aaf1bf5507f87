/**
 * The options of node:tls that can be given, by name: it takes any other without a word, and a misspelt `requestCert` lets
 * everybody in. Their values are its own affair, apart from switches. What is missing here is set by us.
 */

import type { CommonConnectionOptions, ConnectionOptions, SecureContextOptions, TlsOptions } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { anything, boolean, millisecondsOr0, nested, type Rule, type Rules, string } from './rules.ts';

const CONTEXT: Rules<SecureContextOptions> = {
  ALPNCallback: anything,
  allowPartialTrustChain: boolean,
  ca: anything,
  cert: anything,
  certificateCompression: anything,
  ciphers: anything,
  clientCertEngine: anything,
  crl: anything,
  dhparam: anything,
  ecdhCurve: anything,
  honorCipherOrder: boolean,
  key: anything,
  maxVersion: anything,
  minVersion: anything,
  passphrase: anything,
  pfx: anything,
  privateKeyEngine: anything,
  privateKeyIdentifier: anything,
  secureOptions: anything,
  secureProtocol: anything,
  sessionIdContext: anything,
  sessionTimeout: anything,
  sigalgs: anything,
  ticketKeys: anything,
};

const COMMON: Rules<SecureContextOptions & CommonConnectionOptions> = {
  ...CONTEXT,
  ALPNProtocols: anything,
  SNICallback: anything,
  enableTrace: boolean,
  rejectUnauthorized: boolean,
  requestCert: boolean,
  requestOCSP: boolean,
  secureContext: anything,
};

type ServerNames = Omit<TlsOptions, keyof typeof COMMON | 'allowHalfOpen' | 'pauseOnConnect'>;
type ClientNames = Omit<ConnectionOptions, keyof typeof COMMON | 'host' | 'port' | 'path' | 'allowHalfOpen'>;

const SERVER: Rules<ServerNames> = {
  blockList: anything,
  handshakeTimeout: millisecondsOr0,
  highWaterMark: anything,
  keepAlive: boolean,
  keepAliveInitialDelay: anything,
  noDelay: boolean,
  pskCallback: anything,
  pskIdentityHint: anything,
};

const CLIENT: Rules<ClientNames> = {
  checkServerIdentity: anything,
  lookup: anything,
  minDHSize: anything,
  pskCallback: anything,
  servername: string,
  session: anything,
  socket: anything,
  timeout: anything,
};

/** What a server of node:tls looks at once: a change of it would be passed over without a word. */
const FOR_LIFE = [
  'ALPNCallback',
  ...Object.keys({ ...COMMON, ...SERVER }).filter((name) => !(name in CONTEXT)),
];
const UNLESS_GIVEN: Readonly<Record<string, unknown>> = { requestCert: false, rejectUnauthorized: true };

/** The first option that `after` has otherwise than `before`, and that an open server cannot change. */
export function changedForLife(before: TlsOptions, after: TlsOptions): string | undefined {
  const valueIn = (options: TlsOptions, name: string): unknown =>
    (options as Readonly<Record<string, unknown>>)[name] ?? UNLESS_GIVEN[name];
  return FOR_LIFE.find((name) => !isDeepStrictEqual(valueIn(before, name), valueIn(after, name)));
}

export const serverTls: Rule = nested({ ...COMMON, ...SERVER });
export const clientTls: Rule = nested({ ...COMMON, ...CLIENT });
