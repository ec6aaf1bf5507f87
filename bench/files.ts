/** A tree of many small files, as a source repository has them: names, depth and sizes from a seed, real text inside. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Random } from '../src/experiment/traffic/random.ts';
import { makePayloads } from './payloads.ts';

/** Writes `count` files of 200 bytes to 12 KiB under `root`; no two share their text. Returns their bytes in total. */
export function makeTree(root: string, count: number, seed: number): number {
  const random = new Random(seed);
  const text = makePayloads({ name: 'text32k', seed, streams: Math.ceil((count * MEAN_BYTES) / (16 << 20)) });
  const all = Buffer.concat(Array.from({ length: text.count }, (_, i) => text.get(i)));
  let at = 0;
  for (let i = 0; i < count; i++) {
    // Many small ones and a few large ones, evenly over the orders of magnitude.
    const size = Math.round(SMALLEST * (LARGEST / SMALLEST) ** random.unit());
    const file = join(root, `part-${i % 37}`, `module-${i % 7}`, `file-${i}.ts`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, all.subarray(at, at + size));
    at += size;
    if (at > all.length) throw new RangeError('the tree needs more text than there is');
  }
  return at;
}

const SMALLEST = 200;
const LARGEST = 12 * 1024;
/** Of sizes spread evenly over the orders of magnitude. */
const MEAN_BYTES = (LARGEST - SMALLEST) / Math.log(LARGEST / SMALLEST);

/** Makes every `of`th file below `copy` another than it was: longer, and older than anything. */
export function changeSome(copy: string, of: number): void {
  const files = readdirSync(copy, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name)).sort();
  for (let i = 0; i < paths.length; i += of) {
    appendFileSync(paths[i], 'changed');
    utimesSync(paths[i], 1, 1);
  }
}

/** @throws Error when a file is missing in `copy` or differs. */
export function compareTrees(original: string, copy: string): void {
  for (const entry of readdirSync(original, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name).slice(original.length);
    if (!readFileSync(join(original, path)).equals(readFileSync(join(copy, path))))
      throw new Error(`${path} differs`);
  }
}
