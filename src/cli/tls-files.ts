/** What the library makes of TLS's files. Loaded where some are named: node:tls is a tenth of the start of a small command. */

import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { fsProblem } from '../files/paths.ts';
import type { ConnectOptions, ServerOptions } from '../index.ts';
import type { Settings } from '../ops/settings.ts';
import { readRegularFile } from '../options/regular-file.ts';
import { UsageError } from './outcome.ts';
import type { ClientTlsOptions } from './tls.ts';

/** The server's option `tls`; undefined where nothing asks for it. @throws UsageError in one line. */
export function serverTls({ tlsCert, tlsKey, tlsClientCa, tlsPassphrase }: Settings): ServerOptions['tls'] {
  if (tlsClientCa !== undefined && tlsCert === undefined) {
    throw new UsageError('--tls-client-ca needs --tls-cert and --tls-key');
  }
  const identity = readIdentity(tlsCert, tlsKey, tlsPassphrase);
  if (identity === undefined) return undefined;
  if (tlsClientCa === undefined) return identity;
  return { ...identity, ca: readAuthorities(tlsClientCa), requestCert: true, rejectUnauthorized: true };
}

/** The client's option `tls`; undefined where nothing asks for it. @throws UsageError in one line. */
export function clientTls({ tls, tlsCa, tlsCert, tlsKey }: ClientTlsOptions): ConnectOptions['tls'] {
  if (!tls) return undefined;
  return { ...readIdentity(tlsCert, tlsKey), ...(tlsCa !== undefined && { ca: readAuthorities(tlsCa) }) };
}

/** A certificate and its key. */
function readIdentity(
  certFile?: string,
  keyFile?: string,
  passphrase?: string,
): { cert: Buffer; key: Buffer; passphrase?: string } | undefined {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined) {
    throw new UsageError('--tls-cert and --tls-key go together');
  }
  const [cert, key] = [certFile, keyFile].map(read);
  check({ cert }, `${certFile} is no certificate in PEM`);
  const secret = passphrase === undefined ? {} : { passphrase };
  const opened = passphrase === undefined ? 'without a passphrase' : 'that the passphrase opens';
  check({ key, ...secret }, `${keyFile} is no private key in PEM ${opened}`);
  check({ cert, key, ...secret }, `${keyFile} is not the key of ${certFile}`);
  return { cert, key, ...secret };
}

function readAuthorities(file: string): Buffer {
  const ca = read(file);
  try {
    new X509Certificate(ca);
  } catch {
    throw new UsageError(`${file} is no certificate in PEM`);
  }
  return ca;
}

function check(options: SecureContextOptions, problem: string): void {
  try {
    createSecureContext(options);
  } catch {
    throw new UsageError(problem);
  }
}

function read(file: string): Buffer {
  try {
    return readRegularFile(file);
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${fsProblem(error)}`);
  }
}
