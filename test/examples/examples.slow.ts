// All other examples: a process each.

import test from 'ava';
import { FAST, PROGRAMS, printsWhatItSays } from './program.ts';

for (const name of PROGRAMS.filter((name) => !FAST.includes(name))) {
  test.serial(`examples/${name} prints what it says`, (t) => printsWhatItSays(t, name));
}
