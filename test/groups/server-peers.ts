/** Who may come to a server, how it goes on and how it ends. */

import '../server/authorize.test.ts';
import '../server/codes.test.ts';
import '../server/error-log.test.ts';
import '../server/proxy.test.ts';
import '../server/server.test.ts';
import '../server/shutdown.test.ts';
import '../server/tls.test.ts';
