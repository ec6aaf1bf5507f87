import test from 'ava';
import { isAccounted } from './context-memory.ts';

const CONTEXTS = [
  'zstd-8mb enc 1 17',
  'zstd-8mb enc 3 17',
  'zstd-8mb enc 9',
  'zstd-8mb enc 3 22 records',
  'zstd-8mb dec 3',
  'zlib enc 6',
  'zstd-dict enc 3 17 112640',
  'zstd-dict enc 9 17 1048576',
  'zstd-dict free 11 15 112640',
  'zstd-dict free 3 15 1048576',
  'zstd-dict free 11 15 1048576',
  'zstd-dict free 13 15 1048576',
];

for (const which of CONTEXTS) test(`${which} is accounted with what it takes`, (t) => isAccounted(t, which));
