// A pull that loses its connection, and goes on by another one.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ConnectionError, connectOver, memoryPair, type Pool, pull } from '../../src/index.ts';
import { pooling, QUICK, Site } from '../helpers/pools.ts';
import { sample } from '../helpers/samples.ts';
import { failure, PATIENT, serving } from '../helpers/serving.ts';
import { contents, tempFolder } from './helper.ts';

const LARGE = 12;
const SMALL = 40;

/** A folder of large files and small ones, and a server of it. */
async function served(t: ExecutionContext): Promise<{ root: string; site: Site }> {
  const root = tempFolder(t);
  for (let i = 0; i < LARGE; i++) writeFileSync(join(root, `large ${i}`), sample(400_000, i + 1));
  for (let i = 0; i < SMALL; i++) writeFileSync(join(root, `small ${i}`), `${i}`);
  const { server } = await serving(t, { root });
  return { root, site: new Site('there', server) };
}

/** Breaks the connection each time that so many files more have come. */
function cutting(site: Site, every: number) {
  let next = every;
  let cuts = 0;
  const onProgress = ({ files }: { files: number }) => {
    if (files < next) next = Math.min(next, files + every);
    if (files < next) return;
    next += every;
    cuts++;
    site.cut();
  };
  return { onProgress, cuts: () => cuts };
}

test('with retries, a pull over a pool goes on with what is missing, however often it is cut', async (t) => {
  const { root, site } = await served(t);
  const pool: Pool = pooling(t, [site], { ...QUICK, circuitFailures: 1000 });
  const dest = tempFolder(t);
  const { onProgress, cuts } = cutting(site, 5);
  const result = await pull(pool, dest, { inFlight: 4, retries: 3, onProgress });
  t.true(cuts() > 2, `${cuts()} cuts`);
  t.deepEqual([result.files, result.skipped, result.failed], [LARGE + SMALL, 0, []]);
  t.deepEqual(contents(dest), contents(root));
  t.true((result.wireBytes as number) > 0);
});

test('without retries the lost connection is the end, and what was whole stays', async (t) => {
  const { site } = await served(t);
  const client = await site.connect();
  t.teardown(() => client.destroy());
  const dest = tempFolder(t);
  const { onProgress } = cutting(site, LARGE + SMALL - 3);
  const error = await failure(pull(client, dest, { inFlight: 1, onProgress }));
  t.true(error instanceof ConnectionError);
  t.true(Object.keys(contents(dest)).length >= LARGE + SMALL - 3);
});

test('retries end when nothing comes any more: by a client that does not connect again', async (t) => {
  const { site } = await served(t);
  const [near, far] = memoryPair();
  site.server?.accept(far);
  const client = await connectOver(near, PATIENT);
  const onProgress = () => far.destroy();
  const error = await failure(pull(client, tempFolder(t), { retries: 3, onProgress }));
  t.true(error instanceof ConnectionError);
});
