/** What a server encodes, and how; and what goes by the clock, away from crowds. */

import '../server/cache.test.ts';
import '../server/codec-mistakes.test.ts';
import '../server/deadline.test.ts';
import '../server/dictionary.test.ts';
import '../server/encoding.test.ts';
import '../server/keepalive.test.ts';
import '../server/policy.test.ts';
import '../server/typed.test.ts';
