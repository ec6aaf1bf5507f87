/** Who has to go where `inputMemory` is used up: of one connection, the request that holds the most of what has come. */

import type { InputBudget } from '../reactor/input-budget.ts';
import type { ServerReactor } from '../reactor/server.ts';
import type { Actions } from '../reactor/server-action.ts';
import type { Failure } from '../wire/failure.ts';
import type { ServedRequest } from './request.ts';

const NO_ARGUMENTS: Failure = {
  code: 'overloaded',
  message: 'inputMemory: the server has no memory left for its arguments',
};
const DATA = 'inputMemory: the server has no memory left for its command data';

/**
 * Gives up a command whose arguments are still coming, or stops a request whose handler has not read its data. Returns
 * false when there is none of either. What running handlers were given as arguments nobody can take from them.
 */
export function letGoOfLargest(
  reactor: ServerReactor,
  requests: readonly ServedRequest[],
  actions: Actions,
  counts: InputBudget['counts'],
): boolean {
  const receiving = reactor.largestReceiving;
  const unread = mostUnread(requests);
  if (unread !== undefined && unread.flow.data.unread >= (receiving?.held ?? 0)) {
    stopForData(unread, counts);
    return true;
  }
  if (receiving === undefined) return false;
  counts.refused++;
  reactor.dropReceiving(receiving.requestId, NO_ARGUMENTS, actions);
  return true;
}

/** The same for requests alone. */
export function letGoOfUnread(requests: readonly ServedRequest[], counts: InputBudget['counts']): boolean {
  const unread = mostUnread(requests);
  if (unread !== undefined) stopForData(unread, counts);
  return unread !== undefined;
}

function mostUnread(requests: readonly ServedRequest[]): ServedRequest | undefined {
  let most: ServedRequest | undefined;
  for (const request of requests) {
    if (request.open && request.flow.data.unread > (most?.flow.data.unread ?? 0)) most = request;
  }
  return most;
}

function stopForData(request: ServedRequest, counts: InputBudget['counts']): void {
  // Only of what waits for its turn has nothing run (protocol C11).
  const waits = request.state === 'waiting';
  counts[waits ? 'refused' : 'cancelled']++;
  request.stop({ code: waits ? 'overloaded' : 'cancelled', message: DATA });
  request.flow.data.letGo();
}
