/** A dictionary for what a bench sends, trained on payloads that it does not send. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makePayloads, type PayloadSpec } from './payloads.ts';

const SAMPLES = 4000;
const BYTES = 16 * 1024;

/** Writes it below `folder`; undefined where there is nothing to train one with. */
export function trainedOn({ name, seed }: PayloadSpec, folder: string): string | undefined {
  const samples = join(folder, 'samples');
  const file = join(folder, `${name}.dict`);
  mkdirSync(samples, { recursive: true });
  const payloads = makePayloads({ name, seed: seed + 1 });
  for (let i = 0; i < Math.min(SAMPLES, payloads.count); i++)
    writeFileSync(join(samples, String(i)), payloads.get(i));
  const trained = spawnSync('zstd', ['--train', '-q', '-r', samples, `--maxdict=${BYTES}`, '-o', file]);
  return trained.status === 0 ? file : undefined;
}
