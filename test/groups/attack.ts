/** Peers that mean harm, one after the other. */

import '../attack/client.test.ts';
import '../attack/flow.test.ts';
import '../attack/http.test.ts';
import '../attack/senseless.test.ts';
