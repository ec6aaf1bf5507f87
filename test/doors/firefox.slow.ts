// The browser's client in Firefox: encoded responses and uploads, on the page's own thread and in a Web Worker.

import test from 'ava';
import { digest, sample } from '../helpers/samples.ts';
import { openDoors } from './chromium.ts';
import { firefoxAt, hasFirefox, NO_FIREFOX } from './firefox.ts';

if (hasFirefox)
  test('a page in Firefox gets what is served, and sends what it has, by itself and by a worker', async (t) => {
    const { port } = await openDoors(t, { commands: { long: () => sample(3_000_000, 1) } });
    const run = await firefoxAt(t, `http://127.0.0.1:${port}/`);
    for (const worker of ['undefined', 'inWorker']) {
      const found = await run(`(async () => {
        const { connect, inWorker } = await import('/patient.js');
        const client = await connect('/mill', { worker: ${worker} });
        const bytes = await client.call('long').bytes();
        const back = await client.call('echo', { args: { value: '' }, data: bytes }).bytes();
        const { streams } = client.stats();
        await client.close();
        const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', back));
        const hex = [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
        return JSON.stringify([
          \`\${back.length} bytes, sha256 \${hex.slice(0, 16)}\`,
          streams.some(({ profile }) => profile === 'zstd-8mb'),
        ]);
      })()`);
      t.deepEqual(JSON.parse(found), [digest(sample(3_000_000, 1)), true], worker);
    }
  });
else test(`Firefox: ${NO_FIREFOX}`, (t) => t.pass());
