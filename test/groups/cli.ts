/** The command line in this process. */

import '../cli/cli.test.ts';
import '../cli/config.test.ts';
import '../cli/dictionary.test.ts';
import '../cli/reach.test.ts';
