/** The first import of every entry point for Node.js: where it is too old, one clear error instead of many odd ones. */

import { nodeProblem } from './node-version.ts';

const problem = nodeProblem();
if (problem !== undefined) throw new Error(`millrace: ${problem}`);
