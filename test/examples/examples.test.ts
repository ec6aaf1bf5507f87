import test from 'ava';
import { FAST, PROGRAMS, printsWhatItSays } from './program.ts';

test('there is an example of everything that the README sends people here for', (t) => {
  for (const name of ['hello', 'lanes', 'upload', 'authorize', 'gateway', 'records', 'fastify', 'express'])
    t.true(PROGRAMS.includes(`${name}.ts`), name);
});

for (const name of FAST) {
  test.serial(`examples/${name} prints what it says`, (t) => printsWhatItSays(t, name));
}
