/** `POST /rpc/COMMAND`: commands for whoever has nothing but HTTP. */

import { NO_ROOM } from '../reactor/held-arguments.ts';
import type { Answer } from '../server/answer-feed.ts';
import type { Admission } from '../server/authorize.ts';
import type { CallSession } from '../server/call-session.ts';
import { afterInput } from '../transport/after-input.ts';
import { asReceived } from '../wire/failure.ts';
import type { Bodies } from './bodies.ts';
import { BodySink, CODINGS } from './body-sink.ts';
import { EVENT_STREAM, EventSink } from './event-sink.ts';
import type { DoorHost } from './host.ts';
import { acceptedOf, codingOf, contentTypeOf, takesIdentity } from './media-types.ts';
import { breakOff, clientLeft, failed, json, plain, type Reply, send } from './reply.ts';
import { RequestBody, refusedByHead } from './request-body.ts';
import type { Exchange, Route } from './routes.ts';
import { ArgumentsError, argumentsOf, DATA_TYPE, FORM_TYPE, JSON_TYPE } from './rpc-arguments.ts';
import { resumedBy, TopicEvents } from './topic-events.ts';
import { hasBody } from './whole.ts';

export function rpcRoute(host: DoorHost, bodies: Bodies): Route {
  return (exchange) => {
    const { req, res } = exchange;
    const type = hasBody(req) ? contentTypeOf(req) : undefined;
    const refusal = refusalOf(host, exchange, type);
    if (refusal !== undefined) return refuse(host, exchange, refusal);
    const admission = host.admission(exchange.info);
    const run = (body?: Uint8Array) => {
      if (res.headersSent || res.destroyed) return;
      try {
        const args = argumentsOf(exchange.query, host.limits.maxArguments, body, type);
        call(host, bodies, exchange, args, type === DATA_TYPE, admission);
      } catch (error) {
        if (!(error instanceof ArgumentsError)) throw error;
        send(req, res, json(400, { code: 'invalid-argument', message: error.message }));
      }
    };
    if (type === undefined || type === DATA_TYPE) return run();
    return admittedBody(host, exchange, admission).then(run);
  };
}

function refusalOf(
  { limits, commands }: DoorHost,
  exchange: Exchange,
  type: string | undefined,
): Reply | undefined {
  const { req, rest } = exchange;
  if (req.method !== 'POST' && !(wantsEvents(req) && commands.get(rest)?.mode === 'ro'))
    return plain(405, 'commands come by POST', { Allow: 'POST' });
  if (Buffer.byteLength(rest) > limits.maxCommandName) return plain(404, 'there is no such command');
  if (!takesIdentity(req) && codingOf(req, CODINGS) === undefined)
    return plain(406, `responses come as they are, or in ${CODINGS.join(' or ')}`);
  if (!hasBody(req)) return undefined;
  if (type === DATA_TYPE) return refusedByHead(req, 'maxBody', limits.maxBody);
  if (type === JSON_TYPE || type === FORM_TYPE)
    return refusedByHead(req, 'maxArgumentBytes', limits.maxArgumentBytes);
  return plain(415, `arguments are ${JSON_TYPE} or ${FORM_TYPE}, command data is ${DATA_TYPE}`);
}

/** By GET there are some commands and not others, so who may not run one is told no more than that. */
async function refuse(host: DoorHost, { req, res, info, rest }: Exchange, refusal: Reply): Promise<void> {
  const { mode = 'rw' } = host.commands.get(rest) ?? {};
  const asks = wantsEvents(req) && refusal.status !== 404;
  const failure = asks ? await host.ask(info, { command: rest, mode, args: new Map() }) : undefined;
  send(req, res, failure === undefined ? refusal : failed(req, asReceived(failure)));
}

/** What a page's EventSource sends; it can do no other than GET, so it gets what changes nothing. */
function wantsEvents(req: Exchange['req']): boolean {
  return req.method === 'GET' && acceptedOf(req, [EVENT_STREAM]) !== undefined;
}

/** The body, of which nothing is read where the client is not let in: then it has been told so. */
async function admittedBody(
  host: DoorHost,
  exchange: Exchange,
  admission: Admission | undefined,
): Promise<Uint8Array | undefined> {
  const { req, res } = exchange;
  const failure = await admission?.admit();
  if (failure === undefined) return await bodyOf(host, exchange);
  send(req, res, failed(req, asReceived(failure)));
  return undefined;
}

/** The whole body, which is arguments: it is refused where it is longer or slower than those may be, or there is no memory. */
function bodyOf(host: DoorHost, exchange: Exchange): Promise<Uint8Array> {
  const { req, res } = exchange;
  const { maxArgumentBytes: maxBytes, idleTimeout, commandTimeout } = host.limits;
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    const input = host.openInput();
    const finish = (reply?: Reply) => {
      notLate();
      input.close();
      if (reply !== undefined) {
        body.stop();
        send(req, res, reply);
      }
      resolve(Buffer.concat(chunks));
    };
    const limits = { maxBytes, limitName: 'maxArgumentBytes', idleTimeout } as const;
    const refuse = () => {
      input.counts.refused++;
      finish(failed(req, asReceived(NO_ROOM)));
      return true;
    };
    input.holder = { letGo: refuse };
    const body = new RequestBody(exchange, limits, {
      onData: (chunk) => {
        if (!input.makeRoom(chunk.length)) return void refuse();
        input.take(chunk.length);
        chunks.push(chunk);
      },
      onEnd: () => finish(),
      onFailed: finish,
    });
    const late = () => finish(plain(408, `commandTimeout: the arguments took over ${commandTimeout} ms`));
    const notLate = afterInput(commandTimeout, late);
    res.once('close', () => finish());
    body.resume();
  });
}

type Arguments = ReadonlyMap<string, Uint8Array>;

function call(
  host: DoorHost,
  bodies: Bodies,
  exchange: Exchange,
  asked: Arguments,
  hasData: boolean,
  admission: Admission | undefined,
): void {
  const { req, res, info, rest: name, pipeline: asker } = exchange;
  const isEvents = acceptedOf(req, [EVENT_STREAM]) !== undefined;
  // A command of the user's that is called so is like any other.
  const isTopic = isEvents && name === 'subscribe' && host.commands.get(name)?.makeRun !== undefined;
  const args = isTopic ? resumedBy(req, asked) : asked;
  const events = (): Answer => {
    const sink = new EventSink(req, res, host.keepAliveMs);
    return isTopic ? new TopicEvents(sink, args) : sink;
  };
  const answer = isEvents ? events() : new BodySink(req, res, bodies);
  const data = hasData ? dataOf(host, exchange, () => session) : undefined;
  const session = host.call({ name, args, data, asker }, answer, info, admission);
  res.once('close', () => {
    // Who listens to events leaves when they have heard enough.
    const left = !res.writableFinished && !isEvents;
    session?.close(left ? clientLeft() : undefined);
  });
}

function dataOf(host: DoorHost, exchange: Exchange, session: () => CallSession | undefined): RequestBody {
  const { req, res } = exchange;
  const { maxBody: maxBytes, idleTimeout } = host.limits;
  return new RequestBody(
    exchange,
    { maxBytes, limitName: 'maxBody', idleTimeout },
    {
      onData: (chunk) => session()?.push(chunk, false),
      onEnd: () => session()?.push(new Uint8Array(0), true),
      onFailed: (reply) => {
        if (res.headersSent) breakOff(req, res);
        else send(req, res, reply);
        session()?.close(new Error(reply.body.trim()));
      },
    },
  );
}
