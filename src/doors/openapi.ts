/** `GET /rpc`: what commands there are, and what they take, as OpenAPI 3.1 tells it. */

import type { Command } from '../server/commands.ts';
import type { DoorHost } from './host.ts';
import { json, plain, type Reply, send } from './reply.ts';
import type { Route } from './routes.ts';
import { DATA_TYPE, JSON_TYPE } from './rpc-arguments.ts';
import { statusOf } from './status.ts';

const ERROR = {
  type: 'object',
  properties: { code: { type: 'string' }, message: { type: 'string' }, data: {} },
  required: ['code', 'message'],
};

export function openApiRoute(host: DoorHost): Route {
  /** By base, made once: schemas take their time to say themselves. */
  const documents = new Map<string, Reply>();
  return async ({ req, res, info, base }) => {
    if (req.method !== 'GET' && req.method !== 'HEAD')
      return send(req, res, plain(405, 'this is only to be read', { Allow: 'GET, HEAD' }));
    // It tells no less than that command does.
    const failure = await host.ask(info, { command: 'capabilities', mode: 'ro', args: new Map() });
    if (failure !== undefined)
      return send(
        req,
        res,
        json(statusOf(failure.code, req), { code: failure.code, message: failure.message }),
      );
    const document = documents.get(base) ?? json(200, operationDocument(host, base));
    documents.set(base, document);
    send(req, res, document);
  };
}

/** What there is below `base`, as OpenAPI. */
export function operationDocument({ commands }: Pick<DoorHost, 'commands'>, base: string): unknown {
  const paths = commands.names.map((name) => {
    const command = commands.get(name) as Command;
    return [`${base}/rpc/${encodeURIComponent(name)}`, { post: operationOf(command) }];
  });
  return {
    openapi: '3.1.0',
    info: { title: 'millrace', version: '1' },
    paths: Object.fromEntries(paths),
    components: { schemas: { Error: ERROR } },
  };
}

function operationOf({ name, args, mode }: Command): unknown {
  return {
    operationId: name,
    'x-mode': mode,
    requestBody: {
      content: {
        [JSON_TYPE]: { schema: schemaOf(args) },
        // Then arguments are in the query.
        [DATA_TYPE]: { schema: { type: 'string', format: 'binary' } },
      },
    },
    responses: {
      200: { description: 'the response', content: { [DATA_TYPE]: {} } },
      default: {
        description: 'an error',
        content: { [JSON_TYPE]: { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

/** Schemas can say themselves in JSON Schema by the same standard's next part; where one cannot, any object will do. */
interface TellsJsonSchema {
  readonly jsonSchema?: { readonly input?: (options: { target: string }) => unknown };
}

function schemaOf(schema: Command['args']): unknown {
  try {
    const { jsonSchema } = (schema?.['~standard'] ?? {}) as TellsJsonSchema;
    const own = jsonSchema?.input?.({ target: 'draft-2020-12' }) ?? { type: 'object' };
    // What JSON cannot say, such as a circle, is found here.
    return JSON.parse(JSON.stringify(own));
  } catch {
    return { type: 'object' };
  }
}
