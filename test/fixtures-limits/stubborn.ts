/** A command that runs in a lane and does not hear that it is cancelled. */
import { setTimeout as sleep } from 'node:timers/promises';

export default async function stubborn(): Promise<string> {
  return sleep(700, 'too late');
}
