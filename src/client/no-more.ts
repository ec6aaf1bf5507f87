/** Why nothing more is sent on a connection, and what that means for a call that was not sent. */

import { ConnectionError, type ConnectionErrorCode, ProtocolError } from '../wire/errors.ts';

/** It was we who closed the connection. */
export function closedByUs(message = 'the client is closed'): ConnectionError {
  return new ConnectionError(message, { code: 'closed' });
}

/** `reason` for a call of which nothing has run: it is safe to make it again. An error of the user's own stays as it is. */
export function notStarted(reason: Error): Error {
  const { message, cause = reason } = reason;
  if (reason instanceof ProtocolError)
    return new ConnectionError(message, { code: 'protocol-error', cause, notStarted: true });
  if (!(reason instanceof ConnectionError) || reason.notStarted) return reason;
  return new ConnectionError(message, { code: reason.code, cause, notStarted: true });
}

/** Words with which a server that does not admit us begins its protocol error. */
const NOT_ADMITTED = 'protocol error (not-authorized)';

/** The server has ended the connection with a protocol error (protocol B5). */
export function reportedBy(message: string): ConnectionError {
  const code: ConnectionErrorCode = message.startsWith(NOT_ADMITTED) ? 'not-authorized' : 'protocol-error';
  return new ConnectionError(`the server reports: ${message}`, { code });
}
