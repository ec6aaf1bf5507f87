/** What lanes.ts runs: a module that each lane loads for itself. */

import { isMainThread } from 'node:worker_threads';
import type { CommandRequest } from 'millrace';

export async function* count(request: CommandRequest) {
  const to = Number(request.text('to'));
  for (let i = 1; i <= to && !request.signal.aborted; i++) yield `${i}\n`;
}

export function where() {
  return String(isMainThread);
}
