/** `npm run reference`: writes docs/options.md. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './helpers/imports.ts';
import { reference } from './helpers/reference.ts';

writeFileSync(join(ROOT, 'docs/options.md'), reference());
