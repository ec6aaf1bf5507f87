/** The script of the Web Worker in which a client with `inWorker` has its connection. */

import { type HostPort, hostClient } from './worker-host.ts';

hostClient(globalThis as unknown as HostPort);
