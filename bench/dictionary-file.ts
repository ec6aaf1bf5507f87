/** A dictionary for what a bench sends, trained on payloads that it does not send. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { trainDictionary } from '../src/encoding/dictionary/train.ts';
import { makePayloads, type PayloadSpec } from './payloads.ts';

const SAMPLES = 4000;

/** Writes one of 16 KiB into `folder`, and returns its path. */
export function trainedOn({ name, seed }: PayloadSpec, folder: string): string {
  const payloads = makePayloads({ name, seed: seed + 1 });
  const samples = Array.from({ length: Math.min(SAMPLES, payloads.count) }, (_, i) => payloads.get(i));
  const file = join(folder, `${name}.dict`);
  writeFileSync(file, trainDictionary(samples));
  return file;
}
