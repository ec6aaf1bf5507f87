/**
 * How a client's connection comes to its end: by us, by the server's goaway (protocol C5), or lost. Owns why nothing new is
 * sent, why it is gone, and the clocks of what it still waits for.
 */

import type { Connection } from '../connection/connection.ts';
import type { ClientReactor } from '../reactor/client.ts';
import { CommandError, ConnectionError, ProtocolError } from '../wire/errors.ts';
import { after, every, unref } from '../wire/timers.ts';
import type { CommandSender } from './command-sender.ts';
import { closedByUs, notStarted } from './no-more.ts';
import type { ClientRequest } from './request.ts';

/** How long a server that has closed its side may take to read the rest of ours. */
const LINGER_MS = 1000;

const NOT_OURS = 'does not speak the millrace protocol';

export class ConnectionEnd {
  readonly #connection: Connection;
  readonly #reactor: ClientReactor<ClientRequest>;
  readonly #sender: CommandSender;
  /** We end it once nothing is waited for. */
  #ending = false;
  /** The server has said that it takes nothing new. */
  #goneAway = false;
  #refuseReason: Error | undefined;
  #closeReason: Error | undefined;
  /** Runs out once what {@link close} has let go on must end. */
  #graceTimer: ReturnType<typeof setTimeout> | undefined;
  /** Looks after the responses that a connection which ends waits for. */
  #watch: ReturnType<typeof setInterval> | undefined;

  constructor(connection: Connection, reactor: ClientReactor<ClientRequest>, sender: CommandSender) {
    this.#connection = connection;
    this.#reactor = reactor;
    this.#sender = sender;
  }

  /** Why nothing new is sent any more; undefined: it is. */
  get refuseReason(): Error | undefined {
    return this.#refuseReason;
  }

  /** Why the connection is gone; undefined while it is not. */
  get closeReason(): Error | undefined {
    return this.#closeReason;
  }

  /**
   * Ends the connection once the requests in flight are answered; a server that does not close it then is left.
   * `graceMs`: what is not answered by then is cancelled.
   */
  close(graceMs: number | undefined): void {
    this.#refuseReason ??= closedByUs();
    this.#ending = true;
    this.#endIfDone();
    if (graceMs !== undefined && this.#closeReason === undefined)
      this.#afterGrace(graceMs, () => this.#cutShort(graceMs));
    if (this.#connection.open) this.#watchUnread();
  }

  /** Something that was waited for is over. */
  check(): void {
    if (this.#ending) this.#endIfDone();
  }

  /**
   * The server takes nothing new: requests that wait for their turn never get it. Returns the reason when it says so for
   * the first time.
   */
  goAway(lastRequestId: number, why: string): ConnectionError | undefined {
    const reason = new ConnectionError(`the server is going away: ${why}`, { code: 'shutting-down' });
    this.#refuseReason ??= reason;
    for (const request of this.#sender.takeQueued()) request.fail(notStarted(reason));
    this.#sender.refuseAfter(lastRequestId);
    const isNews = !this.#goneAway;
    this.#goneAway = true;
    return isNews ? reason : undefined;
  }

  /** The server has closed its side: it answers nothing any more, and need not read what we have still to send. */
  inputEnded(): void {
    this.#refuseReason ??= new ConnectionError('the server has closed the connection', { code: 'lost' });
    this.#connection.end(LINGER_MS);
  }

  /**
   * The connection is gone, by `reason` if not in an orderly way, and all requests end. `wasMute`: the server has not said
   * what it should have said first. Returns why it is gone.
   */
  closed(reason: Error | undefined, wasMute: boolean): Error {
    const error = this.#explain(reason, wasMute);
    const refuseReason = this.#refuseReason ?? error;
    this.#refuseReason = refuseReason;
    this.#closeReason = error;
    clearTimeout(this.#graceTimer);
    clearInterval(this.#watch);
    for (const request of this.#sender.takeQueued()) request.fail(notStarted(error));
    for (const request of this.#reactor.requests())
      request.fail(request.refused ? notStarted(refuseReason) : error);
    return error;
  }

  #explain(reason: Error | undefined, wasMute: boolean): Error {
    const { remote, bytesRead } = this.#connection;
    const isOurs = reason instanceof ConnectionError && reason.cause === undefined;
    if (wasMute && !this.#ending && !isOurs) {
      // What broke off may have been on its way to us, and one that says nothing at all may be too busy: another time is not.
      const code = reason instanceof ProtocolError ? 'protocol-error' : 'lost';
      const why = reason instanceof ConnectionError ? ` (${reason.message})` : '';
      const message = `${remote} ${code === 'lost' ? brokeOff(bytesRead) : NOT_OURS}${why}`;
      return new ConnectionError(message, { code, cause: reason });
    }
    if (reason !== undefined) return reason;
    if (this.#refuseReason !== undefined && this.#reactor.openRequests === 0) return this.#refuseReason;
    return new ConnectionError(`${remote} closed the connection`, { code: 'lost' });
  }

  /** A response that nobody reads on would keep the connection for ever. */
  #watchUnread(): void {
    this.#watch ??= unref(
      every(this.#connection.limits.idleTimeout, () => {
        for (const request of this.#reactor.requests()) if (request.stands()) request.drop(unread());
      }),
    );
  }

  /** The server is told what it need not answer any more; one that does not end the connection then is left. */
  #cutShort(graceMs: number): void {
    const reason = closedByUs(`the client was closed, and this was not answered within ${graceMs} ms`);
    for (const request of this.#sender.takeQueued()) request.cancel(notStarted(reason));
    for (const request of this.#reactor.requests()) request.cancel(reason);
    this.#connection.end();
    this.#afterGrace(LINGER_MS, () => this.#connection.destroy(closedByUs()));
  }

  #afterGrace(delayMs: number, run: () => void): void {
    clearTimeout(this.#graceTimer);
    this.#graceTimer = unref(after(delayMs, run));
  }

  #endIfDone(): void {
    for (const request of this.#reactor.requests()) if (request.abandoned) request.drop(unread());
    if (this.#reactor.openRequests === 0 && this.#sender.waiting === 0)
      this.#connection.end(this.#connection.limits.idleTimeout);
  }
}

function brokeOff(bytesRead: number): string {
  if (bytesRead === 0) return `closed the connection without an answer: it ${NOT_OURS}`;
  return 'closed the connection inside its first frame';
}

function unread(): CommandError {
  return new CommandError('cancelled: nobody reads the response, and the client is closed', {
    code: 'cancelled',
  });
}
