/** Errors that this library throws or reports; each carries a stable `code` and one line for people. */

import { isErrorCode } from './failure.ts';

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
  | 'unknown-dictionary'
  | 'limit'
  | 'timeout'
  | 'not-authorized'
  | 'frame-after-end'
  | 'partial-message'
  | 'wrong-command'
  | 'peer-reported';

/** The peer broke the protocol (or a limit, code `limit`): the connection cannot go on (protocol B5). */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What a {@link CommandError} may carry beside its message. */
export interface CommandErrorOptions extends ErrorOptions {
  /** 1 to 64 characters of `a-z 0-9 -`; default `internal`. A server's own codes are in protocol C11. */
  readonly code?: string;
  /** Anything that JSON can say, for programs; reaches a peer that knows of it, as far as it fits one frame. */
  readonly data?: unknown;
  /** True: nothing of the request has run, so it is safe to make it again. */
  readonly notStarted?: boolean;
}

/** A command failed; the message is meant for the person who asked. Only that request ends (protocol B5). */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  /** What failed, for programs (protocol C11). */
  readonly code: string;
  readonly data: unknown;
  /** Nothing of the request has run: it is safe to make it again. */
  readonly notStarted: boolean;

  /** @throws TypeError when the code is none, or there is no such option. */
  constructor(
    message: string,
    { code = 'internal', data, notStarted = false, ...rest }: CommandErrorOptions = {},
  ) {
    if (!isErrorCode(code))
      throw new TypeError(
        `error code ${typeof code === 'string' ? JSON.stringify(code) : typeof code} is not 1 to 64 characters of a-z, 0-9 and -`,
      );
    for (const name in rest)
      if (name !== 'cause')
        throw new TypeError(`CommandError takes no option '${name}', only code, data, notStarted and cause`);
    super(message, rest);
    this.code = code;
    this.data = data;
    this.notStarted = notStarted;
  }
}

/** Why a connection ended, or could not be made, for programs. */
export type ConnectionErrorCode =
  /** Nothing could be reached at the address, or not in time. */
  | 'connect-failed'
  | 'connect-timeout'
  /** Whatever answers there does not speak the protocol, or speaks it wrongly. */
  | 'protocol-error'
  /** The server does not admit us. */
  | 'not-authorized'
  /** The server is going away, or has said that it takes nothing more. */
  | 'shutting-down'
  /** We have closed it. */
  | 'closed'
  /** It broke: a reset, or an end in the middle. */
  | 'lost'
  /** The other end gave no sign of life. */
  | 'keepalive-timeout';

/** The connection ended, or could not be made, before a response was whole. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  readonly code: ConnectionErrorCode;
  /** Nothing of the request that fails with this has run: it is safe to make it again, on another connection. */
  readonly notStarted: boolean;

  constructor(
    message: string,
    {
      code = 'lost',
      notStarted = false,
      ...rest
    }: ErrorOptions & { code?: ConnectionErrorCode; notStarted?: boolean } = {},
  ) {
    super(message, rest);
    this.code = code;
    this.notStarted = notStarted;
  }
}
