/** Every request ID there is; independent.test.ts begins shortly before the last. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Client, EXTENSIONS, startServer } from './client.ts';
import { EVERY_ID, wraps } from './wrap.ts';

test('protocol B4: after all 32 768 request IDs the first is free again, past one that is still busy', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-independent-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const server = await startServer(folder);
  t.teardown(() => server.stop());
  const client = await Client.connect(server.port, {
    settings: { contentEncodings: ['zstd-8mb', 'zlib'], extensions: EXTENSIONS },
  });
  t.teardown(() => client.close());
  await wraps(t, client, EVERY_ID);
});
