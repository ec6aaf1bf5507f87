/** A job for a worker on a queue, and what a worker takes from nobody. */

import { constants, zstdCompressSync } from 'node:zlib';
import { type CellJob, MAX_TRAFFIC_BYTES } from '../../src/experiment/job.ts';

export const JOB: CellJob = {
  cell: { profile: 'zstd-8mb', level: 1, streams: 1, policy: 'single', frameSize: 32_768, coalesceMs: 0 },
  traffic: '0123456789abcdef',
  options: { rounds: 1, inFlight: 1, workers: 1, links: [1e6] },
};

/** The job of a setting with a dictionary. */
export const DICTIONARY_JOB: CellJob = {
  ...JOB,
  cell: { ...JOB.cell, contexts: 'none', dictionary: 16_384 },
  options: { ...JOB.options, dictionaries: [{ size: 16_384, id: '0123456789abcdef0123456789abcdef' }] },
};

const withDictionaries = (...dictionaries: unknown[]) => ({
  ...JOB,
  options: { ...JOB.options, dictionaries },
});
const [NAMED] = DICTIONARY_JOB.options.dictionaries ?? [];

/** What a job must not say, at the place that the message names. */
export const WRONG_JOBS: [unknown, RegExp][] = [
  [undefined, /not a job/],
  [[], /not a job/],
  [{ ...JOB, cell: { ...JOB.cell, streams: 1e9 } }, /cell\.streams/],
  [{ ...JOB, cell: { ...JOB.cell, streams: 1.5 } }, /cell\.streams/],
  [{ ...JOB, cell: { ...JOB.cell, frameSize: 0 } }, /cell\.frameSize/],
  [{ ...JOB, cell: { ...JOB.cell, windowLog: 31 } }, /cell\.windowLog/],
  [{ ...JOB, cell: { ...JOB.cell, coalesceMs: 1e9 } }, /cell\.coalesceMs/],
  [{ ...JOB, cell: { ...JOB.cell, profile: 'x'.repeat(256) } }, /cell\.profile/],
  [{ ...JOB, cell: { ...JOB.cell, module: 'file:///x.js' } }, /cell: .*module/],
  [{ ...JOB, cell: { ...JOB.cell, dictionary: 512 } }, /cell\.dictionary/],
  [{ ...JOB, cell: { ...JOB.cell, dictionary: 2 << 20 } }, /cell\.dictionary/],
  [{ ...JOB, cell: { ...JOB.cell, contexts: 'auto' } }, /cell\.contexts/],
  [withDictionaries({ ...NAMED, id: '../x' }), /dictionaries\.0\.id/],
  [withDictionaries({ ...NAMED, size: 1e9 }), /dictionaries\.0\.size/],
  [withDictionaries({ ...NAMED, file: '/etc/passwd' }), /dictionaries\.0: .*file/],
  [withDictionaries(...Array(17).fill(NAMED)), /options\.dictionaries/],
  [{ ...JOB, traffic: '../../../etc/passwd' }, /traffic/],
  [{ ...JOB, options: { ...JOB.options, workers: 300 } }, /options\.workers/],
  [{ ...JOB, options: { ...JOB.options, workers: 256 } }, /wants 256 workers/],
  [{ ...JOB, options: { ...JOB.options, rounds: 1e6 } }, /options\.rounds/],
  [{ ...JOB, options: { ...JOB.options, inFlight: 0 } }, /options\.inFlight/],
  [{ ...JOB, options: { ...JOB.options, links: [0] } }, /options\.links/],
  [{ ...JOB, options: { ...JOB.options, links: Array(101).fill(1e6) } }, /options\.links/],
  [
    { ...JOB, options: { ...JOB.options, codecs: [{ url: 'file:///x.js', export: 'codecs' }] } },
    /options: .*codecs/,
  ],
  [{ ...JOB, codecs: [] }, /codecs/],
];

/** More than may be unpacked, in some kilobytes. */
let packedZeros: Buffer | undefined;
export const zeros = () => {
  packedZeros ??= zstdCompressSync(Buffer.alloc(MAX_TRAFFIC_BYTES + 1), {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
  });
  return packedZeros;
};
