/** Cancels on their way to the server (protocol C3). */

import type { Connection } from '../connection/connection.ts';
import { Pace } from '../connection/pace.ts';
import type { ClientReactor } from '../reactor/client.ts';
import { FrameType } from '../wire/frame.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import type { ServerSettings } from './negotiation.ts';

/** Sends them at once, or when the server has said that it takes them, and more of them; not what is answered by then. */
export class CancelSender {
  readonly #connection: Connection;
  readonly #reactor: Pick<ClientReactor<unknown>, 'isForgotten'>;
  readonly #server: ServerSettings;
  readonly #pace = new Pace(DEFAULT_LIMITS.maxCancels);

  /** `reactor`: knows which requests are cancelled and not answered. */
  constructor(
    connection: Connection,
    reactor: Pick<ClientReactor<unknown>, 'isForgotten'>,
    server: ServerSettings,
  ) {
    this.#connection = connection;
    this.#reactor = reactor;
    this.#server = server;
  }

  /** See {@link Pace.atMost}. */
  atMost(limit: number | undefined): void {
    this.#pace.atMost(limit);
  }

  send(requestId: number): void {
    if (this.#server.awaited)
      this.#server.arrival.then(() => this.#sendInTurn(requestId)).catch(() => undefined);
    else this.#sendInTurn(requestId);
  }

  close(): void {
    this.#pace.close();
  }

  #sendInTurn(requestId: number): void {
    if (!this.#server.speaks('cancel')) return;
    const send = () => {
      if (this.#reactor.isForgotten(requestId)) this.#connection.sendPlain(requestId, FrameType.cancel, 0);
    };
    if (this.#pace.take()) send();
    else this.#pace.wait(send);
  }
}
