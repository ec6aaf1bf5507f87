/**
 * What is used of node:http as a value. An `import` of it makes everything that it exports, undici's WebSocket among it:
 * some 110 ms of CPU of each process, for what nobody here uses.
 */

export const { createServer, request, Server, ServerResponse, STATUS_CODES } =
  process.getBuiltinModule('node:http');
