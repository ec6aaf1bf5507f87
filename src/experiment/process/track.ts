/** The processes that we have started, so that none outlives us. */

import type { ChildProcess } from 'node:child_process';

const children = new Set<ChildProcess>();

/** Adds a process to those that end with us. */
export function track<P extends ChildProcess>(child: P): P {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** For Ctrl-C. Those that hear IPC end with the channel, after clearing up. */
export function endAllChildren(): void {
  for (const child of children) {
    if (child.connected) child.disconnect();
    else child.kill('SIGKILL');
  }
  children.clear();
}
