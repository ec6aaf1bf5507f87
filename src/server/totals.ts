/** What a server has done since it was made: connections, bytes by profile, limits that peers have reached. */

import type { StreamFigures } from '../lanes/figures.ts';
import { ConnectionError, ProtocolError } from '../wire/errors.ts';
import { connectionClosed, connectionOpened, limitHit } from './channels.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';

/** Figures of one profile since the server was made. */
export interface ProfileRow {
  /** `plain`: what no stream has encoded; `cache`: cached outputs. */
  readonly profile: string;
  readonly frames: number;
  /** Response bytes before encoding, and what they were on the wire. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Connections since the server was made. */
export interface ConnectionTotals {
  readonly opened: number;
  /** Those that have ended, by `ok`, `lost`, the code of their protocol error, or `internal`. */
  readonly closed: Readonly<Record<string, number>>;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

type Sums = Map<string, { frames: number; bytesIn: number; bytesOut: number }>;

/** A protocol error of these kinds begins with the name of the limit. */
const LIMIT_CODES = new Set(['limit', 'timeout']);

export class Totals {
  readonly #server: Server;
  #opened = 0;
  readonly #closed: Record<string, number> = {};
  /** Of connections that have ended. */
  #bytesRead = 0;
  #bytesWritten = 0;
  readonly #profiles: Sums = new Map();
  readonly #limits: Record<string, number> = {};

  constructor(server: Server) {
    this.#server = server;
  }

  opened(session: Session): void {
    this.#opened++;
    if (connectionOpened.hasSubscribers) connectionOpened.publish(this.#about(session));
  }

  closed(session: Session, reason: Error | undefined): void {
    const code = codeOf(reason);
    const { bytesRead, bytesWritten } = session;
    this.#closed[code] = (this.#closed[code] ?? 0) + 1;
    this.#bytesRead += bytesRead;
    this.#bytesWritten += bytesWritten;
    addTo(this.#profiles, session);
    if (LIMIT_CODES.has(code)) this.limitHit(limitIn(reason), session.remote);
    if (!connectionClosed.hasSubscribers) return;
    connectionClosed.publish({ ...this.#about(session), code, bytesRead, bytesWritten });
  }

  /** A peer has reached it, and was dropped. */
  limitHit(limit: string, remote: string | undefined): void {
    this.#limits[limit] = (this.#limits[limit] ?? 0) + 1;
    if (limitHit.hasSubscribers) limitHit.publish({ server: this.#server, limit, remote });
  }

  /** Those, and what the `open` ones have come to. */
  connections(open: Iterable<Session>): ConnectionTotals {
    let [bytesRead, bytesWritten] = [this.#bytesRead, this.#bytesWritten];
    for (const session of open) {
      bytesRead += session.bytesRead;
      bytesWritten += session.bytesWritten;
    }
    return { opened: this.#opened, closed: { ...this.#closed }, bytesRead, bytesWritten };
  }

  profiles(open: Iterable<Session>): ProfileRow[] {
    const sums: Sums = new Map([...this.#profiles].map(([profile, sum]) => [profile, { ...sum }]));
    for (const session of open) addTo(sums, session);
    return [...sums].map(([profile, sum]) => ({ profile, ...sum }));
  }

  get limits(): Record<string, number> {
    return { ...this.#limits };
  }

  #about({ caller, remote }: Session) {
    return { server: this.#server, connectionId: caller.connectionId, remote };
  }
}

type Figures = Pick<StreamFigures, 'frames' | 'bytesIn' | 'bytesOut'>;

function addTo(sums: Sums, session: Session): void {
  const add = (profile: string, { frames, bytesIn, bytesOut }: Figures) => {
    const sum = sums.get(profile) ?? { frames: 0, bytesIn: 0, bytesOut: 0 };
    sum.frames += frames;
    sum.bytesIn += bytesIn;
    sum.bytesOut += bytesOut;
    sums.set(profile, sum);
  };
  for (const figures of session.figures()) add(figures.profile, figures);
  add('plain', session.plain);
}

function codeOf(reason: Error | undefined): string {
  if (reason === undefined) return 'ok';
  return reason instanceof ProtocolError || reason instanceof ConnectionError ? reason.code : 'internal';
}

/** Our own words (`maxPings: …`), and so of few kinds. */
function limitIn(reason: Error | undefined): string {
  return /^(\w+): /.exec(reason?.message ?? '')?.[1] ?? 'other';
}
