/** What policies measure, and lanes whose parts fail. */

import '../lanes/adaptive.test.ts';
import '../lanes/failing-parts.test.ts';
