/** More of process.test.ts: each signal, and what starts many processes. */

import test from 'ava';
import { FINISHING, millrace, serveAlone, start, TREE } from './helper.ts';

test.serial('a bench that is ended by a signal leaves no process behind', async (t) => {
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const { child, ended, said } = start(t, ['bench', 'limit', '--quick']);
    await said('err', /limit/);
    child.kill(signal);
    // Whoever is left would hold the pipes open.
    t.is((await ended).code, code);
  }
});

test.serial('the server ends well on SIGINT, on SIGTERM and when its terminal is closed', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const { child, ended, address } = await serveAlone(t, TREE);
    t.is((await millrace('call', address, 'files.get', 'path=a.txt')).out, 'text');
    child.kill(signal);
    const { err, ...how } = await ended;
    t.like(how, { code: 0, signal: null });
    t.regex(err, FINISHING);
  }
});
