/** How commands reach their server: by TLS or not, by which part of the protocol, and with which token. */

import { type Command, Option } from 'commander';
import type { Client, ConnectOptions } from '../index.ts';
import type { ServerTarget } from './arguments.ts';
import type { Io } from './io.ts';
import { UsageError } from './outcome.ts';
import { addClientTls, type ClientTlsOptions } from './tls.ts';
import { readToken, tokenOf } from './token.ts';

export interface ReachOptions extends ClientTlsOptions {
  plain?: boolean;
  tokenFile?: string;
}

/** Adds the options. `extensions`: those of the command that need part C, by their names in code. */
export function addReach(command: Command, extensions: readonly string[] = []): Command {
  const plain = new Option(
    '--plain',
    'speak the published frames alone, to a server that knows no other (part A of the protocol)',
  ).conflicts(['tokenFile', ...extensions]);
  return addToken(addClientTls(command).addOption(plain));
}

export function addToken(command: Command): Command {
  return command.option(
    '--token-file <file>',
    'show the server what this file has in its one line; without it, the environment variable MILLRACE_TOKEN',
  );
}

export type Reach = Pick<ConnectOptions, 'tls' | 'plain' | 'authorization'>;

/** What `connect` takes for them. @throws UsageError in one line. */
export async function reachOptions(options: ReachOptions, target: ServerTarget, io: Io): Promise<Reach> {
  if (options.tls && isUrl(target) && target.protocol === 'ws:')
    throw new UsageError('ws:// is without TLS: wss:// has it');
  const tls = options.tls ? (await import('./tls-files.ts')).clientTls(options) : undefined;
  if (options.plain) return { tls, plain: true };
  const authorization =
    options.tokenFile === undefined ? tokenOf(process.env.MILLRACE_TOKEN) : readToken(options.tokenFile);
  if (authorization !== undefined && tls === undefined && !isHidden(target))
    io.complain(
      `the token goes over the network in clear: ${isUrl(target) ? 'wss://' : '--tls'} would hide it`,
    );
  return { tls, authorization };
}

/** A client of the server at `target`, reached as `reach` says. @throws as connect does, with a hint where --plain may help. */
export async function dial(
  target: ServerTarget,
  reach: Reach,
  options: ReachOptions,
  signal?: AbortSignal,
): Promise<Client> {
  const { connect } = await import('../client/connect.ts');
  return connect(target, { ...reach, signal }).catch((error) => {
    throw plainHint(error, options);
  });
}

function isUrl(target: ServerTarget): target is URL {
  return target instanceof URL;
}

/** Nobody else is on the way there, or can read what goes there. */
function isHidden(target: ServerTarget): boolean {
  if (isUrl(target)) return target.protocol === 'wss:' || isHere(target.hostname);
  return 'path' in target || isHere(target.host);
}

function isHere(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|::1|\[::1\])$/.test(host);
}

/** A server that has answered, if with an error, is to hear of an orderly end and of no broken connection. */
export async function endAfter(error: unknown, client: Pick<Client, 'close'> | undefined): Promise<void> {
  if ((error as Error)?.name === 'CommandError') await client?.close({ graceMs: 0 });
}

/** Says which option may be the way out, where a server refused the first frame that is not a published one. */
export function plainHint(error: unknown, { plain }: ReachOptions): unknown {
  const { message } = error as Error;
  if (plain || !(error instanceof Error) || !/expected command frame; got 9/.test(message)) return error;
  error.message += '; with --plain it may answer';
  return error;
}
