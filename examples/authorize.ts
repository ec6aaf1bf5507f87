/** Who may do what: a hook that is asked per connection and per command, and handlers that know who calls. */

import { type CommandError, connect, createServer } from 'millrace';

const USERS = new Map([
  ['token-of-ada', { name: 'Ada', mayWrite: true }],
  ['token-of-bob', { name: 'Bob', mayWrite: false }],
]);

const server = createServer({
  authorize: ({ command, mode, authorization }) => {
    if (command === undefined) return true; // anybody may connect
    const user = USERS.get(authorization ?? '');
    if (user === undefined || (mode === 'rw' && !user.mayWrite)) return false;
    return { principal: user.name };
  },
  commands: {
    greet: { mode: 'ro', handler: ({ principal }) => `hello ${principal}` },
    write: { mode: 'rw', handler: ({ principal }) => `written by ${principal}` },
  },
});
const address = await server.listen({ port: 0 });

for (const authorization of ['token-of-ada', 'token-of-bob', 'guess']) {
  // A connection belongs to one principal: what shares a compression context must not be two users'.
  const client = await connect(address, { authorization });
  for (const command of ['greet', 'write']) {
    const answer = await client
      .call(command)
      .text()
      .catch((error: CommandError) => error.code);
    console.log(answer);
  }
  await client.close();
}
await server.close();

// prints:
// hello Ada
// written by Ada
// hello Bob
// not-authorized
// not-authorized
// not-authorized
