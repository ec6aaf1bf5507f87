/** Transports, and HTTP and WebSockets on them. */

import '../transport/contract.test.ts';
import '../transport/paced-socket.test.ts';
import '../transport/proxy-header.test.ts';
import '../doors/doors.test.ts';
import '../doors/http.test.ts';
import '../doors/product.test.ts';
import '../doors/rpc.test.ts';
