/** Bytes, frames and both ends of the protocol, without a socket. */

import '../conformance/conformance.test.ts';
import '../wire/failure.test.ts';
import '../wire/fifo.test.ts';
import '../wire/names.test.ts';
import '../wire/property.test.ts';
import '../wire/records.test.ts';
import '../wire/wire.test.ts';
import '../reactor/client.test.ts';
import '../reactor/flow.test.ts';
import '../reactor/hostile.test.ts';
import '../reactor/parts.test.ts';
import '../reactor/server.test.ts';
import '../connection/input.test.ts';
import '../options/lines.test.ts';
import '../options/options.test.ts';
import '../page/page.test.ts';
