/** The server of the tree bench: `ROOT POLICY`; says its port and stays. */
import { createServer, type PolicyName } from '../src/index.ts';

const [root, policy] = process.argv.slice(2);
const server = createServer({ root, policy: policy as PolicyName });
const address = await server.listen({ host: '127.0.0.1', port: 0 });
console.log('port' in address ? address.port : 0);
