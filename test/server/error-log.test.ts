/** Errors that nobody has asked for are on the console, as far as it can be read. */

import { mock } from 'node:test';
import test from 'ava';
import { ErrorLog } from '../../src/server/error-log.ts';

test.serial('one error a second is written, the newest, with the number of the others', (t) => {
  const written: string[] = [];
  const console = mock.method(globalThis.console, 'error', (...parts: unknown[]) => {
    const withoutStacks = parts.map((part) => String(part).replace(/\n {4}at .*/g, ''));
    written.push(withoutStacks.join(' ').trim());
  });
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => {
    console.mock.restore();
    mock.timers.reset();
  });
  const log = new ErrorLog();
  log.report(new Error('one'), { command: 'x' });
  for (const each of ['two', 'three', 'four']) log.report(new Error(each), { lane: 1 });
  t.deepEqual(written, ["millrace: command 'x' Error: one"]);
  mock.timers.tick(1000);
  t.deepEqual(written.slice(1), ['millrace: lane 1 Error: four (and 2 more errors in the last second)']);
  mock.timers.tick(1000);
  log.report(new Error('five'), {});
  log.report(new Error('six'), { remote: 'here' });
  log.close();
  t.deepEqual(written.slice(2), ['millrace: server Error: five', 'millrace: connection of here Error: six']);
});

test.serial('what a peer did to its own connection is one line that cannot steer a terminal', (t) => {
  const written: unknown[] = [];
  const console = mock.method(globalThis.console, 'error', (...parts: unknown[]) => {
    written.push(...parts);
  });
  t.teardown(() => console.mock.restore());
  const log = new ErrorLog();
  log.report(new RangeError('no command\u001b[2J\n\u202etxt'), { remote: 'here' });
  log.report(new RangeError('what it asked for: \u009b2J\u202etxt'), { remote: 'here', command: 'x' });
  log.close();
  t.deepEqual(written.slice(0, 3), [
    'millrace: connection of here',
    'RangeError: no command\\u001b[2J\\u000a\\u202etxt',
    '',
  ]);
  t.regex(String(written[4]), /^RangeError: what it asked for: \\u009b2J\\u202etxt\n {4}at /);
});
