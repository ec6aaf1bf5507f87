/** A server in a process that may open few files; prints its port. */
import { createServer } from '../../src/index.ts';

const server = createServer({ workers: 1 });
const address = (await server.listen()) as { port: number };
console.log(address.port);
