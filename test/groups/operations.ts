/** Topics, and a server in production. */

import '../topics/relay.test.ts';
import '../topics/topics.test.ts';
import '../ops/deploy.test.ts';
import '../ops/ops.test.ts';
import '../ops/top.test.ts';
