/** How much a server takes and gives. */

import '../server/accept.test.ts';
import '../server/data-credit.test.ts';
import '../server/flow.test.ts';
import '../server/limits.test.ts';
import '../server/limits-flow.test.ts';
import '../server/marker.test.ts';
import '../server/mistakes.test.ts';
import '../server/property.test.ts';
import '../server/small-limits.test.ts';
