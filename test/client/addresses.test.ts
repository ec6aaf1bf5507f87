/** Hosts of several addresses, of which not all can be connected to. */

import dns from 'node:dns';
import test from 'ava';
import { ConnectionError, connect } from '../../src/index.ts';
import { dial, serving } from '../helpers/serving.ts';

type Found = (error: null, addresses: object[]) => void;

/** Lets every name have these addresses while a test runs; `when`: calls what is given when they are found. */
function resolveTo(addresses: readonly string[], when = (find: () => void) => find()): () => void {
  const { lookup } = dns;
  dns.lookup = ((_name: string, _options: object, found: Found) => {
    const list = addresses.map((address) => ({ address, family: 4 }));
    when(() => found(null, list));
  }) as typeof dns.lookup;
  return () => {
    dns.lookup = lookup;
  };
}

test.serial('what is the same for all of them is said once', async (t) => {
  t.teardown(resolveTo(['127.0.0.1', '127.0.0.2']));
  await t.throwsAsync(connect({ host: 'several.example', port: 1 }), {
    instanceOf: ConnectionError,
    message: 'cannot connect to several.example:1: nothing listens there',
  });
});

test.serial('what is not is said of each', async (t) => {
  // Nothing may be sent to the first: it is kept for later use by all systems.
  t.teardown(resolveTo(['255.255.255.255', '127.0.0.1', '127.0.0.2']));
  const error = await t.throwsAsync(connect({ host: 'several.example', port: 1 }), {
    instanceOf: ConnectionError,
  });
  t.regex(
    error!.message,
    /^cannot connect to several\.example:1: 255\.255\.255\.255: [^;]+; 127\.0\.0\.1, 127\.0\.0\.2: nothing listens there$/,
  );
});

test.serial('one that answers at once is not given up because this thread looks late', async (t) => {
  const { port } = await serving(t);
  const late = (find: () => void) =>
    setImmediate(() => {
      find();
      // All that has come by now is looked at after the timers that are due.
      for (const until = performance.now() + 600; performance.now() < until; );
    });
  t.teardown(resolveTo(['127.0.0.1', '127.0.0.2'], late));
  const client = await dial(t, { host: 'several.example', port });
  t.is(await client.call('ping').text(), 'pong');
});
