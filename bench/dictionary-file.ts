/** A dictionary for what a bench sends, trained on payloads that it does not send. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { trainDictionary } from '../src/encoding/dictionary/train.ts';
import { messageRecord } from '../src/wire/topic-records.ts';
import { FEEDS, makeFeed } from './feeds.ts';
import { makePayloads, type PayloadSpec } from './payloads.ts';

const SAMPLES = 4000;
const FEED_SAMPLES = 300;
const FEED_SEED = 77_777;

/** Four times the trainer's default, for a client that keeps it fetches it once. */
const HELD_BYTES = 64 << 10;

/** Writes one of `size` bytes into `folder`, and returns its path. */
export function trainedOn({ name, seed }: PayloadSpec, folder: string, size = HELD_BYTES): string {
  const payloads = makePayloads({ name, seed: seed + 1 });
  const samples = Array.from({ length: Math.min(SAMPLES, payloads.count) }, (_, i) => payloads.get(i));
  const file = join(folder, `${name}-${size}.dict`);
  writeFileSync(file, trainDictionary(samples, { size }));
  return file;
}

/** The same of 32 KiB, for messages of all feeds. */
export function trainedOnFeeds(folder: string): string {
  const samples = FEEDS.flatMap((feed) => {
    const next = makeFeed(feed, FEED_SEED);
    return Array.from({ length: FEED_SAMPLES }, () => messageRecord(next()));
  });
  const file = join(folder, 'feeds.dict');
  writeFileSync(file, trainDictionary(samples, { size: 32_768 }));
  return file;
}
