/** Frames by HTTP: `POST <prefix>/{ro|rw}/<command>`, the body frames, and the answer's body (protocol A7). */

import type { SessionRules } from '../server/session-context.ts';
import { ProtocolError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import type { DoorHost } from './host.ts';
import { HttpExchange } from './http-exchange.ts';
import { acceptedOf, contentTypeOf, FRAMES, PART_A } from './media-types.ts';
import { plain, type Reply, send } from './reply.ts';
import { refusedByHead } from './request-body.ts';
import type { Exchange, Route } from './routes.ts';
import { statusOf } from './status.ts';

/** Under this name any number of commands may come in one request. */
const MULTIPLE = 'multirequest';
const TYPES = [FRAMES, PART_A];

/** What a request's path says. */
interface Asked {
  readonly permission: 'ro' | 'rw';
  readonly command: string;
}

export function framesRoute(host: DoorHost): Route {
  return async (exchange) => {
    const { req, res } = exchange;
    const asked = askedBy(exchange.rest);
    const refusal = await refusalOf(host, exchange, asked);
    if (refusal !== undefined || asked === undefined) {
      send(req, res, refusal ?? plain(404, 'there is nothing here'));
      return;
    }
    const accepted = acceptedOf(req, TYPES) as string;
    const transport = new HttpExchange(exchange, accepted, host.limits);
    const permitsExtensions = accepted === FRAMES && contentTypeOf(req) === FRAMES;
    host.serve(transport, exchange.info, rulesOf(host, asked, permitsExtensions, transport, req));
  };
}

function askedBy(rest: string): Asked | undefined {
  const [, permission, command] = /^(ro|rw)\/(.+)$/s.exec(rest) ?? [];
  return command === undefined ? undefined : { permission: permission as 'ro' | 'rw', command };
}

/**
 * Why a request is not served, in the order in which protocol A7's statuses are told; undefined: it is. Who may not run a
 * command does not learn whether there is one: what is well formed is told so in frames, whatever it names.
 */
async function refusalOf(
  host: DoorHost,
  { req, info }: Exchange,
  asked: Asked | undefined,
): Promise<Reply | undefined> {
  if (asked === undefined) return plain(404, 'there is nothing here');
  if (req.method !== 'POST') return plain(405, 'frames come by POST', { Allow: 'POST' });
  const { command } = asked;
  const ofForm = formFault(host, req);
  const refusal = commandFault(host, asked) ?? ofForm;
  if (refusal === undefined || command === MULTIPLE) return refusal;
  const { mode = 'rw' } = host.commands.get(command) ?? {};
  const failure = await host.ask(info, { command, mode, args: new Map() });
  if (failure === undefined) return refusal;
  return ofForm && plain(statusOf(failure.code, req), failure.message);
}

function commandFault({ commands }: DoorHost, { permission, command }: Asked): Reply | undefined {
  if (command === MULTIPLE) return undefined;
  const known = commands.get(command);
  if (known === undefined) return plain(404, 'there is no such command');
  return permission === 'ro' && known.mode !== 'ro' ? plain(403, CHANGES) : undefined;
}

function formFault({ limits }: DoorHost, req: Exchange['req']): Reply | undefined {
  if (acceptedOf(req, TYPES) === undefined) return plain(406, `the answer is ${TYPES.join(' or ')}`);
  if (!TYPES.includes(contentTypeOf(req) ?? '')) return plain(415, `the body is ${TYPES.join(' or ')}`);
  return refusedByHead(req, 'maxBody', limits.maxBody);
}

const CHANGES = 'the command may change state: it is under rw only';

function rulesOf(
  { commands }: DoorHost,
  { permission, command }: Asked,
  permitsExtensions: boolean,
  transport: HttpExchange,
  req: Exchange['req'],
): SessionRules {
  let count = 0;
  return {
    halfDuplex: true,
    judge(framed): Failure | undefined {
      if (command !== MULTIPLE) {
        if (framed !== command)
          throw new ProtocolError('wrong-command', 'the command in the frames is not the one in the URL');
        if (++count > 1) throw new ProtocolError('wrong-command', 'one request carries one command');
      }
      const changes = permission === 'ro' && (commands.get(framed)?.mode ?? 'ro') !== 'ro';
      return changes ? { code: 'not-authorized', message: CHANGES } : undefined;
    },
    onSettings() {
      if (!permitsExtensions)
        throw new ProtocolError(
          'extension-without-settings',
          `extensions need ${FRAMES} both ways (protocol A7)`,
        );
    },
    onFailed({ code }) {
      transport.status = code === 'not-authorized' || code === 'timeout' ? statusOf(code, req) : 400;
    },
  };
}
