import test from 'ava';
import { isAccounted } from './context-memory.ts';

const CONTEXTS = [
  'zstd-8mb enc 1 17',
  'zstd-8mb enc 3 17',
  'zstd-8mb enc 9',
  'zstd-8mb enc 3 22 records',
  'zstd-8mb dec 3',
  'zlib enc 6',
];

for (const which of CONTEXTS) test(`${which} is accounted with what it takes`, (t) => isAccounted(t, which));
