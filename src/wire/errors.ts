/** Errors that this library throws or reports; each carries a stable `code` and one line for people. */

/** Codes of protocol errors. The first group is what the conformance vectors call them (protocol A, B). */
export type ProtocolErrorCode =
  | 'even-stream-id'
  | 'odd-stream-id'
  | 'unknown-stream'
  | 'expected-command'
  | 'request-already-received'
  | 'request-already-active'
  | 'request-still-active'
  | 'request-not-receiving'
  | 'command-missing-flags'
  | 'not-expecting-arguments'
  | 'not-expecting-data'
  | 'partial-argument-name'
  | 'partial-argument-value'
  | 'data-missing-flags'
  | 'already-errored'
  | 'truncated-header'
  | 'truncated-payload'
  // What part B and C settle.
  | 'even-request-id'
  | 'command-conflicting-flags'
  | 'duplicate-argument'
  | 'bad-argument-name'
  | 'bad-command-name'
  | 'response-flags'
  | 'error-flags'
  | 'unknown-type'
  | 'wrong-direction'
  | 'unknown-request'
  | 'bad-payload'
  | 'settings-not-on-begin'
  | 'settings-encoded'
  | 'unknown-profile'
  | 'settings-not-first'
  | 'extension-without-settings'
  | 'corrupt-frame'
  | 'limit'
  | 'timeout'
  | 'not-authorized'
  | 'frame-after-end'
  | 'peer-reported';

/** The peer broke the protocol (or a limit, code `limit`): the connection cannot go on (protocol B5). */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** A command failed; the message is meant for the person who asked. Only that request ends (protocol B5). */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** The connection ended, or could not be made, before a response was whole. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
}
