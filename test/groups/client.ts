/** Clients of all kinds. */

import '../client/addresses.test.ts';
import '../client/broken-off.test.ts';
import '../client/calls-end.test.ts';
import '../client/chaos.test.ts';
import '../client/errors.test.ts';
import '../client/left.test.ts';
import '../client/life.test.ts';
import '../client/mistakes.test.ts';
import '../client/parts.test.ts';
import '../client/pool.test.ts';
import '../client/time.test.ts';
import '../client/unread.test.ts';
