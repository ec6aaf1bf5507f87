/** `npm run reference`: writes docs/options.md and docs/settings.md. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './helpers/imports.ts';
import { reference, settingsReference } from './helpers/reference.ts';

writeFileSync(join(ROOT, 'docs/options.md'), reference());
writeFileSync(join(ROOT, 'docs/settings.md'), settingsReference());
