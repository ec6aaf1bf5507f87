/** The repository and the package that is made of it. */

import '../house/citations.test.ts';
import '../house/faces.test.ts';
import '../house/protocol.test.ts';
import '../house/readme.test.ts';
import '../house/structure.test.ts';
import '../package/bundle.test.ts';
import '../package/entry.test.ts';
import '../package/release.test.ts';
import '../package/tarball.test.ts';
