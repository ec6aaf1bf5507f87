/** What an experiment is made of, on figures that are made up. */

import '../experiment/capture.test.ts';
import '../experiment/dictionaries.test.ts';
import '../experiment/grid.test.ts';
import '../experiment/queue.test.ts';
import '../experiment/results.test.ts';
import '../experiment/skipped.test.ts';
import '../experiment/sources.test.ts';
