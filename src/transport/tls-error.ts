/** What OpenSSL says of a connection, as people can read it. */

const OPENSSL = /\berror:[0-9A-F]{8}:[^:]*:[^:]*:([^:]+):/;

/** What went wrong, without the thread and the place in OpenSSL's sources around it; other messages as they are. */
export function withoutSources(message: string): string {
  return OPENSSL.exec(message)?.[1] ?? message;
}
