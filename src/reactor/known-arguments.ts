/** Commands that know all that they can be asked. */

import { CommandError } from '../wire/errors.ts';
import { visible } from '../wire/visible.ts';
import type { CommandRequest } from './command.ts';

/** A mistyped argument is an error: an ignored one gives an answer to another question. @throws CommandError that names it. */
export function checkArguments({ command, args }: CommandRequest, known: readonly string[]): void {
  for (const name of args.keys())
    if (!known.includes(name))
      throw new CommandError(`${command} takes no argument ${visible(name)}, only ${known.join(', ')}`, {
        code: 'invalid-argument',
      });
}
