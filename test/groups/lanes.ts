/** The parts of lanes, and what is lost with one. */

import '../lanes/batches.test.ts';
import '../lanes/budget.test.ts';
import '../lanes/kill.test.ts';
import '../lanes/lanes.test.ts';
import '../lanes/lanes-in-use.test.ts';
import '../lanes/loading.test.ts';
import '../lanes/quarantine.test.ts';
import '../lanes/thread-time.test.ts';
import '../lanes/trace.test.ts';
import '../lanes/work-queue.test.ts';
