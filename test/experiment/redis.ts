/** A Redis for the tests that need one, where there is one. */

import { spawn, spawnSync } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import { tempFolder } from '../files/helper.ts';
import { killed } from '../helpers/serving.ts';

const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
export const withRedis = hasRedis ? test.serial : test.serial.skip;
if (!hasRedis) console.warn('there is no redis-server here: what needs one is skipped');

/** A Redis of the test's own, on loopback, that keeps nothing. */
export async function startRedis(t: ExecutionContext<unknown>): Promise<string> {
  const port = await freePort();
  const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const redis = spawn('redis-server', [...options, '--dir', tempFolder(t)]);
  t.teardown(() => killed(redis));
  let said = '';
  for await (const text of redis.stdout) {
    said += text;
    if (said.includes('Ready to accept connections')) return `redis://127.0.0.1:${port}`;
  }
  throw new Error(`redis-server ended: ${said}`);
}
