/** Requests that are over, for who subscribes to their end. */

import { requestIdOf } from '../reactor/request.ts';
import { type RequestEnded, requestEnded } from './channels.ts';
import type { Session } from './session.ts';

/** What a request has come to, as {@link RequestEnded} has it. */
type RequestOutcome = Omit<RequestEnded, 'server' | 'connectionId' | 'remote' | 'requestId' | 'principal'>;

const NEVER_RUN = { profile: 'plain', bytes: 0, wireBytes: 0, queuedMs: 0, workMs: 0 };

export function tellEnded({ caller, shared }: Session, serial: number, outcome: RequestOutcome): void {
  const { connectionId, remote, principal } = caller;
  const requestId = requestIdOf(caller, serial);
  requestEnded.publish({
    server: shared.server,
    connectionId,
    remote,
    requestId,
    principal,
    ...outcome,
  });
}

/** A request for `command` was refused, and nothing of it has run. */
export function tellRefused(session: Session, command: string, code: string): void {
  const { commands } = session.shared;
  const figures = commands.get(command)?.figures ?? commands.unknown;
  figures.refused(code);
  if (requestEnded.hasSubscribers)
    tellEnded(session, session.nextSerial(), { ...NEVER_RUN, command: figures.command, code });
}
