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
  const schemas: Schemas = new Map([['Error', ERROR]]);
  const paths = commands.names.map((name) => {
    const command = commands.get(name) as Command;
    const schema = placed(schemaOf(command.args), name, schemas);
    return [`${base}/rpc/${encodeURIComponent(name)}`, { post: operationOf(command, schema) }];
  });
  return {
    openapi: '3.1.0',
    info: { title: 'millrace', version: '1' },
    paths: Object.fromEntries(paths),
    components: { schemas: Object.fromEntries(schemas) },
  };
}

function operationOf({ name, mode }: Command, schema: JsonSchema): unknown {
  return {
    operationId: name,
    'x-mode': mode,
    parameters: parametersOf(schema),
    requestBody: {
      content: {
        [JSON_TYPE]: { schema },
        // Then arguments are in the query.
        [DATA_TYPE]: { schema: { type: 'string', format: 'binary' } },
      },
    },
    responses: {
      200: { description: 'the response', content: { [DATA_TYPE]: {} } },
      default: {
        description: 'an error',
        content: { [JSON_TYPE]: { schema: { $ref: `${SCHEMAS}Error` } } },
      },
    },
  };
}

/** Where schemas are that others refer to. */
const SCHEMAS = '#/components/schemas/';

type Schemas = Map<string, unknown>;
/** Whatever a schema has said of itself, as JSON. */
type JsonSchema = unknown;

/** JSON Schema, as far as it is looked into; nothing of it need be what it should. */
interface Looked {
  readonly type?: unknown;
  readonly description?: unknown;
  readonly properties?: unknown;
  readonly $ref?: unknown;
}

function look(schema: JsonSchema): Looked {
  return Object(schema);
}

/** The arguments as a query has them; none is required there, since each may come in the body. What has parts is for JSON alone. */
function parametersOf(whole: JsonSchema): unknown[] {
  const { properties } = look(whole);
  if (properties === undefined) return [ANY_PARAMETER];
  const ofText = Object.entries(Object(properties)).filter(([, schema]) => !hasParts(look(schema)));
  return ofText.map(([name, schema]) => {
    const { description } = look(schema);
    return { name, in: 'query', ...(typeof description === 'string' && { description }), schema };
  });
}

/** Whatever the names are. */
const ANY_PARAMETER = {
  name: 'arguments',
  in: 'query',
  style: 'form',
  explode: true,
  schema: { type: 'object', additionalProperties: { type: 'string' } },
};

function hasParts({ type, $ref }: Looked): boolean {
  return type === 'object' || type === 'array' || $ref !== undefined;
}

/**
 * `schema` for a place in the document. What it says of itself by reference, `#` and what follows, is of the document there: so
 * one that does is among `schemas`, too, and its references lead to that.
 */
function placed(schema: JsonSchema, command: string, schemas: Schemas): JsonSchema {
  const name = freeName(command, schemas);
  let refers = false;
  const rebased = JSON.parse(JSON.stringify(schema), (key, value) => {
    if (key !== '$ref' || typeof value !== 'string' || !value.startsWith('#')) return value;
    refers = true;
    return SCHEMAS + name + value.slice(1);
  });
  if (refers) schemas.set(name, rebased);
  return rebased;
}

/** One made of `command`, of the characters that names of components may have. */
function freeName(command: string, taken: Schemas): string {
  const name = command.replaceAll(/[^\w.-]/g, '_');
  return taken.has(name) ? freeName(`${name}_`, taken) : name;
}

/** Schemas can say themselves in JSON Schema by the same standard's next part; where one cannot, any object will do. */
interface TellsJsonSchema {
  readonly jsonSchema?: {
    readonly input?: (options: {
      target: string;
      libraryOptions: Readonly<Record<string, unknown>>;
    }) => unknown;
  };
}

/** For zod: a part that JSON Schema has no word for, such as a date, is anything, instead of the end of all others. */
const LIBRARY_OPTIONS = { unrepresentable: 'any' };

function schemaOf(schema: Command['args']): JsonSchema {
  try {
    const { jsonSchema } = (schema?.['~standard'] ?? {}) as TellsJsonSchema;
    const input = { target: 'draft-2020-12', libraryOptions: LIBRARY_OPTIONS };
    // What JSON cannot say, such as a circle, is found here.
    return JSON.parse(JSON.stringify(jsonSchema?.input?.(input) ?? { type: 'object' }));
  } catch {
    return { type: 'object' };
  }
}
