/** Files, as they are listed, sent and written. */

import '../files/bundle.test.ts';
import '../files/changes.test.ts';
import '../files/files.test.ts';
import '../files/moving.test.ts';
import '../files/open-files.test.ts';
import '../files/pull.test.ts';
import '../files/retry.test.ts';
import '../files/write-whole.test.ts';
