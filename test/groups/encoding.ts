/** Codecs, all on one thread. */

import '../encoding/dictionary.test.ts';
import '../encoding/encoding.test.ts';
import '../encoding/extra.test.ts';
import '../encoding/limits.test.ts';
import '../encoding/zstd.test.ts';
import '../encoding/zstd-dict.test.ts';
