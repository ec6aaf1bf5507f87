/** What a server encodes, and how. */

import '../server/cache.test.ts';
import '../server/codec-mistakes.test.ts';
import '../server/dictionary.test.ts';
import '../server/encoding.test.ts';
import '../server/policy.test.ts';
