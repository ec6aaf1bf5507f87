/** How a transport tells that it has closed. */

import type { Transport } from '../connection/transport.ts';

const nothing = (): void => undefined;

/**
 * Tells its owner, and holds nobody any more: a closed socket is there until the next full collection, for Node.js holds it from
 * what is old, and whatever hangs on it would be kept with it.
 */
export function tellClosed(transport: Transport, error: Error | undefined): void {
  const { onClose } = transport;
  transport.onData = transport.onEnd = transport.onClose = nothing;
  onClose(error);
}
