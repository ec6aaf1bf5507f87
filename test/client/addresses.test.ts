/** Hosts of several addresses, none of which can be connected to. */

import dns from 'node:dns';
import test from 'ava';
import { ConnectionError, connect } from '../../src/index.ts';

/** Lets every name have these addresses while a test runs. */
function resolveTo(...addresses: string[]): () => void {
  const { lookup } = dns;
  dns.lookup = ((_name: string, _options: object, done: (error: null, found: object[]) => void) => {
    done(
      null,
      addresses.map((address) => ({ address, family: 4 })),
    );
  }) as typeof dns.lookup;
  return () => {
    dns.lookup = lookup;
  };
}

test.serial('what is the same for all of them is said once', async (t) => {
  t.teardown(resolveTo('127.0.0.1', '127.0.0.2'));
  await t.throwsAsync(connect({ host: 'several.example', port: 1 }), {
    instanceOf: ConnectionError,
    message: 'cannot connect to several.example:1: nothing listens there',
  });
});

test.serial('what is not is said of each', async (t) => {
  // Nothing may be sent to the first: it is kept for later use by all systems.
  t.teardown(resolveTo('255.255.255.255', '127.0.0.1', '127.0.0.2'));
  const error = await t.throwsAsync(connect({ host: 'several.example', port: 1 }), {
    instanceOf: ConnectionError,
  });
  t.regex(
    error!.message,
    /^cannot connect to several\.example:1: 255\.255\.255\.255: [^;]+; 127\.0\.0\.1, 127\.0\.0\.2: nothing listens there$/,
  );
});
