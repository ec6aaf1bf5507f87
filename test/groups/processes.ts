/** Programs in processes of their own, and benches. */

import '../bench/bench.test.ts';
import '../bench/scaling.test.ts';
import '../cli/failing.test.ts';
import '../cli/process.test.ts';
import '../examples/examples.test.ts';
