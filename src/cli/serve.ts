/** `millrace serve`: a folder on the network, or on a socket of this machine. */

import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { TUNINGS, type Tuning } from '../encoding/codec.ts';
import { problemOf } from '../files/paths.ts';
import type { Address, Contexts, DictionaryOption, PolicyName, Server, ServerOptions } from '../index.ts';
import { CONTEXTS } from '../lanes/stream-kind.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { after } from '../wire/timers.ts';
import {
  checkFolder,
  DEFAULT_PORT,
  notEmpty,
  pairs,
  parseBytes,
  showTarget,
  wholeNumber,
} from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, onStop, UsageError } from './outcome.ts';
import {
  addExperimentOptions,
  experimentOptions,
  type ServeExperimentOptions,
  tellRecorded,
} from './serve-experiment.ts';
import { oneLine, plural } from './show.ts';
import { addServerTls, type ServerTlsOptions } from './tls.ts';
import { serverTls } from './tls-files.ts';
import { parseTopic } from './topics.ts';

/** Limits of the whole server that have no flag of their own. */
const SERVER_LIMITS = [
  'maxConnections',
  'outputMemory',
  'inputMemory',
  'streamIdleTimeout',
  'streamLifetime',
  'laneTimeout',
  'keepAliveInterval',
] as const;

type AnyLimit = keyof Limits | (typeof SERVER_LIMITS)[number];

const LIMITS: readonly string[] = [...Object.keys(DEFAULT_LIMITS), ...SERVER_LIMITS];

const EXAMPLES = `
Limits that --limit knows: ${LIMITS.join(', ')}.

Examples:
  millrace serve .                                  this folder, on 127.0.0.1:${DEFAULT_PORT}
  millrace serve /srv/docs --host 0.0.0.0 --port 80
  millrace serve . --socket /run/millrace.sock
  millrace serve . --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
  millrace serve . --policy affinity --level 9      smaller, at more CPU
  millrace serve . --dictionary files.dict=files.get,files.bundle --contexts none`;

const FINISHING = 'finishing the requests in flight; another signal ends them';

interface ServeOptions extends ServeExperimentOptions, ServerTlsOptions {
  host: string;
  port: number;
  socket?: string;
  workers?: number;
  profile?: string;
  level?: number;
  windowLog?: number;
  tuning?: Tuning;
  policy: PolicyName;
  streams?: number;
  dictionary?: DictionaryOption[];
  contexts?: Contexts;
  cacheBytes?: number;
  contextMemory?: number;
  limit?: Partial<Record<AnyLimit, number>>;
  topic?: Record<string, number>;
  verbose?: boolean;
}

export function addServe(program: Command, io: Io): void {
  const command = program
    .command('serve')
    .description('serve the files below a folder')
    .argument('<dir>', 'the folder', notEmpty)
    .option('--host <host>', 'address to listen on', notEmpty, '127.0.0.1')
    .option('--port <port>', 'port to listen on, 0 for a free one', wholeNumber(0, 65_535), DEFAULT_PORT)
    .addOption(
      new Option('--socket <path>', 'listen on a Unix socket instead')
        .argParser(notEmpty)
        .conflicts(['host', 'port']),
    )
    .option('--workers <n>', 'worker threads (default: one per core)', wholeNumber(1, 256))
    .option('--profile <name>', "identity, zlib or zstd-8mb (default: the client's choice)")
    .option('--level <n>', "compression level, in the profile's own scale", wholeNumber(-131_072, 22))
    .option('--window-log <n>', 'base-2 logarithm of the compression window', wholeNumber(9, 23))
    .addOption(
      new Option(
        '--tuning <name>',
        'parameters beyond the level: records, for small responses that are alike',
      ).choices(TUNINGS),
    )
    .addOption(
      new Option('--policy <name>', 'which stream answers a request')
        .choices(['shared', 'per-request', 'affinity', 'single', 'adaptive'])
        .default('shared'),
    )
    .option('--streams <n>', 'streams per connection (default: by policy)', wholeNumber(1, 12))
    .option(
      '--dictionary <file[=command,...]>',
      'a dictionary that contexts begin with, for these commands or for all; may be repeated',
      dictionaryOption,
    )
    .addOption(
      new Option(
        '--contexts <how>',
        'whether streams keep their context: kept, none, or auto (default with a dictionary): kept while there are few',
      ).choices(CONTEXTS),
    )
    .option('--cache-bytes <bytes>', 'budget for compressed files that are kept (default: 64M)', parseBytes)
    .option(
      '--context-memory <bytes>',
      'budget for all compression contexts (default: a quarter of the memory)',
      parseBytes,
    )
    .option('--limit <name=value>', 'change a limit; may be repeated', pairs(parseLimit))
    .option(
      '--topic <name[=messages]>',
      'have a topic, and keep so many messages of it; may be repeated',
      parseTopic,
    )
    .option('--verbose', 'report broken connections, too')
    .addHelpText('after', EXAMPLES)
    .action((dir: string, options: ServeOptions) => serve(dir, options, io));
  addServerTls(command);
  addExperimentOptions(command);
}

async function serve(dir: string, options: ServeOptions, io: Io): Promise<void> {
  checkFolder(dir);
  const settings = { ...serverOptions(options), ...(await experimentOptions(options)) };
  const server = await makeServer({ ...settings, root: dir, onError: reporter(options, io) });
  // From before the first request on: whoever starts a server may also stop it at once.
  const { stopped, release } = untilStopped(io);
  try {
    for (const [name, history] of Object.entries(options.topic ?? {})) makeTopic(server, name, history);
    const address = await listen(server, options);
    const { lanes } = await server.stats();
    const profile = settings.profile ?? "the client's choice of profile";
    const tls = settings.tls === undefined ? '' : settings.tls.requestCert ? 'mutual TLS, ' : 'TLS, ';
    const how = `${tls}${plural(lanes.length, 'worker')}, policy ${settings.policy}, ${profile}`;
    io.print(`millrace serves ${oneLine(resolve(dir))} on ${showTarget(address)} (${how})`);
    await stopped;
    // Said only where somebody would wonder.
    after(300, () => io.complain(FINISHING)).unref();
  } finally {
    await server.close();
    release();
    tellRecorded(server, options, io);
  }
}

function serverOptions(options: ServeOptions): ServerOptions {
  const { workers, profile, level, windowLog, tuning } = options;
  const { policy, streams, dictionary: dictionaries, contexts, cacheBytes, contextMemory } = options;
  return {
    workers,
    profile,
    level,
    windowLog,
    tuning,
    policy,
    streams,
    dictionaries,
    contexts,
    cacheBytes,
    contextMemory,
    tls: serverTls(options),
    ...limitOptions(options.limit),
  };
}

/** Limits as options: those of connections together, those of the server beside them. */
function limitOptions(given: ServeOptions['limit'] = {}): ServerOptions {
  const isOfServer = ([name]: [string, number]) => (SERVER_LIMITS as readonly string[]).includes(name);
  const all = Object.entries(given);
  const limits = Object.fromEntries(all.filter((limit) => !isOfServer(limit)));
  return { ...Object.fromEntries(all.filter(isOfServer)), limits };
}

async function makeServer(options: ServerOptions): Promise<Server> {
  const { createServer } = await import('../index.ts');
  try {
    return createServer(options);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

function makeTopic(server: Server, name: string, history: number): void {
  try {
    server.topic(name, { history });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

async function listen(server: Server, { socket, host, port }: ServeOptions): Promise<Address> {
  const where = socket === undefined ? { host, port } : { path: socket };
  if (socket !== undefined) await removeStale(socket);
  try {
    return await server.listen(where);
  } catch (error) {
    throw new Error(`cannot listen on ${showTarget(where)}: ${listenProblem(error, socket)}`);
  }
}

function listenProblem(error: unknown, socket?: string): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') return 'it is in use';
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') return 'this machine has no such address';
  // Node says EACCES for the one and EINVAL for the other.
  if (socket !== undefined && !existsSync(dirname(socket))) return 'its folder is not there';
  if (socket !== undefined && code === 'EINVAL') return 'the path is too long for a socket';
  return problemOf(error);
}

/** A server that was killed leaves its socket behind, where nobody answers. */
async function removeStale(path: string): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return;
  const isStale = await new Promise<boolean>((done) => {
    const probe = createConnection(path, () => done(false));
    probe.on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED'));
    probe.on('connect', () => probe.destroy());
  });
  if (isStale) unlinkSync(path);
}

/** `stopped` resolves at the first signal; until `release` requests in flight are finished, unless another comes. */
function untilStopped({ signals }: Io): { stopped: Promise<void>; release(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { stopped: promise, release: onStop(() => resolve(), undefined, signals) };
}

/** Prints one line per failure of ours; those of connections are the clients' and would fill the log. */
function reporter({ verbose = false }: ServeOptions, io: Io): ServerOptions['onError'] {
  return (error, { command, lane, remote, recording }) => {
    if (recording) return io.complain(`recording stopped: ${problemOf(error)}`);
    if (command === undefined && lane === undefined && !verbose) return;
    const what = command ?? (lane === undefined ? 'connection' : `worker ${lane}`);
    const message = error instanceof Error ? error.message : String(error);
    io.complain(`${what}${remote === undefined ? '' : ` from ${remote}`}: ${message}`);
  };
}

/** `FILE` or `FILE=COMMAND,…`, after those that came before. */
function dictionaryOption(value: string, before: DictionaryOption[] = []): DictionaryOption[] {
  const at = value.lastIndexOf('=');
  const file = notEmpty(at < 0 ? value : value.slice(0, at));
  const names = at < 0 ? undefined : value.slice(at + 1).split(',');
  if (names?.includes('')) throw new InvalidArgumentError('A name of a command is missing.');
  return [...before, { file, ...(names && { commands: names }) }];
}

function parseLimit(value: string, name: string): number {
  if (!LIMITS.includes(name)) throw new InvalidArgumentError(`There is no limit '${name}'.`);
  return wholeNumber(name === 'keepAliveInterval' ? 0 : 1, Number.MAX_SAFE_INTEGER)(value);
}
