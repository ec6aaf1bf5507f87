/** `npm run bench -- NAME …`, also `millrace bench NAME …`: a process that runs benches, and leaves none of its own behind. */

import { constants } from 'node:os';
import { endAllChildren } from '../src/experiment/process/track.ts';
import { main } from './command.ts';

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    endAllChildren();
    process.exit(128 + constants.signals[signal]);
  });
}
process.once('exit', endAllChildren);

process.exitCode = await main(process.argv);
