// The browser's client where it belongs. What is heavy is in chromium.slow.ts.

import test from 'ava';
import { digest, sample } from '../helpers/samples.ts';
import { closeBrowser, hasChromium, NO_CHROMIUM, openSite } from './chromium.ts';

test.after.always(closeBrowser);

if (hasChromium)
  test('a page loads the module, connects to its own origin, and gets the bytes that were sent', async (t) => {
    const { page } = await openSite(t, { commands: { sample: () => sample(300_000, 1) } });
    const { hash, profiles } = await page.evaluate(async () => {
      const { connect } = await import('/millrace.js' as string);
      const client = await connect('/mill');
      const bytes = await client.call('sample').bytes();
      const profiles = client.stats().streams.map((each: { profile: string }) => each.profile);
      await client.close();
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
      return { hash: [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join(''), profiles };
    });
    t.is(`300000 bytes, sha256 ${hash.slice(0, 16)}`, digest(sample(300_000, 1)));
    t.true(profiles.includes('zstd-8mb'));
  });
else test(`Chromium: ${NO_CHROMIUM}`, (t) => t.pass());
