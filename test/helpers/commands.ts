/** The commands of test/fixtures/handlers.ts as a server takes them. */

import type { CommandDefinition } from '../../src/index.ts';
import { handlers, NAMES } from '../fixtures/handlers.ts';

const MODULE = new URL('../fixtures/handlers.ts', import.meta.url);

/** Where a command runs. */
export const THREADS = ['main', 'lane'] as const;
export type Thread = (typeof THREADS)[number];

/** The name under which a command runs there. */
export function on(thread: Thread, command: string): string {
  return thread === 'lane' ? `lane-${command}` : command;
}

/** Every command twice: under its name on the main thread, and with `lane-` before it in the lanes. */
export function commands(): Record<string, CommandDefinition> {
  const options = { prefix: 'lane-' };
  const inLanes = NAMES.map((name) => [`lane-${name}`, { module: MODULE, export: 'handlers', options }]);
  return { ...handlers({ prefix: '' }), ...Object.fromEntries(inLanes) };
}
