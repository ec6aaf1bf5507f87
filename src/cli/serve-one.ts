/** One server in this process: alone, or beside others that share its port. */

import type { Server as HttpServer } from 'node:http';
import { resolve } from 'node:path';
import type { Address, Server, ServerOptions } from '../index.ts';
import { type AdminHandler, adminHandler, listenAdmin } from '../ops/admin.ts';
import type { Config } from '../ops/config.ts';
import { Health } from '../ops/health.ts';
import { ServerLog, wantsLog } from '../ops/log.ts';
import { Metrics } from '../ops/metrics.ts';
import { isQuestion, type Question, type Told } from '../ops/process-messages.ts';
import type { Settings } from '../ops/settings.ts';
import { handedDown, Notify } from '../ops/systemd.ts';
import { asError } from '../wire/thrown.ts';
import { after, unref } from '../wire/timers.ts';
import { showTarget } from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, UsageError } from './outcome.ts';
import { Reload } from './reload.ts';
import { tellRecorded } from './serve-experiment.ts';
import { serverOptions } from './serve-options.ts';
import { FINISHING, listen, listenProblem, reporter, untilStopped } from './serving.ts';
import { oneLine, plural } from './show.ts';

type OnError = NonNullable<ServerOptions['onError']>;

/** A server that serves, with what operators have of it. */
export interface Served {
  readonly server: Server;
  readonly options: ServerOptions;
  readonly reload: Reload;
  readonly log: ServerLog | undefined;
  readonly onError: OnError;
  /** What operators ask by HTTP; made where it is answered. */
  readonly admin: AdminHandler | undefined;
}

/** Serves until it is stopped. */
export async function serveOne(config: Config, read: () => Config, dir: string, io: Io): Promise<void> {
  const served = await make(config, read, dir, io);
  const { server, options, reload } = served;
  const sockets = handedDown(io.env);
  const notify = new Notify(io.env, (message) => io.complain(message));
  const { stopped, release } = untilStopped(io);
  const onHangup = async () => {
    await notify.reloading();
    await notify.ready(reload.run());
  };
  reload.onSignal(onHangup);
  let admin: HttpServer | undefined;
  try {
    admin = await openAdmin(served, sockets?.adminFd);
    const address = await listen(server, config.settings, sockets?.fd);
    const { lanes } = await server.stats();
    const where = `${oneLine(resolve(dir))} on ${showTarget(address)}`;
    io.print(`millrace serves ${where} (${how(options, plural(lanes.length, 'worker'))})`);
    notify.ready(`serves ${where}`);
    await stopped;
    // Said only where somebody would wonder.
    unref(after(300, () => io.complain(FINISHING)));
    void notify.stopping();
  } finally {
    reload.stop();
    await server.close(reload.settings.grace);
    // Until then it says that it is not ready.
    admin?.close();
    admin?.closeAllConnections();
    release();
    served.log?.close();
    tellRecorded(server, config.settings, io);
  }
}

/** Serves beside others, for the process that has started this one. */
export async function serveBeside(config: Config, read: () => Config, dir: string, io: Io): Promise<void> {
  const { stopped, stop, release } = untilStopped(io);
  const send = (message: Told) => void process.send?.(message, () => {});
  let served: Served | undefined;
  try {
    served = await make(config, read, dir, io);
    const { server, reload, onError } = served;
    const metrics = await Metrics.of(server, io.env.MILLRACE_PROCESS);
    const health = new Health(server);
    const answers: Record<Question['ask'], () => unknown> = {
      metrics: () => metrics.json(),
      health: async () => (await health.notReady()) ?? '',
      reload: () => reload.run(),
      stop,
    };
    process.on('message', async (message) => {
      if (!isQuestion(message)) return;
      const { id, ask } = message;
      const answering = (async () => answers[ask]())();
      const answer = await answering.catch((error) => onError(asError(error), {}));
      send({ millrace: 'answer', id, answer });
    });
    const address: Address = await listen(server, config.settings, Number(io.env.MILLRACE_FD) || undefined);
    const { lanes } = await server.stats();
    send({ millrace: 'ready', address, lanes: lanes.length });
    await stopped;
  } catch (error) {
    send({ millrace: 'failed', message: messageOf(error), isMisuse: error instanceof UsageError });
    io.exitCode = 1;
  } finally {
    await served?.server.close(served.reload.settings.grace);
    release();
    served?.log?.close();
    process.disconnect?.();
  }
}

async function make(config: Config, read: () => Config, dir: string, io: Io): Promise<Served> {
  const { settings } = config;
  const options = await serverOptions(settings);
  const log = wantsLog(settings)
    ? await ServerLog.to(io.stderr as NodeJS.WritableStream, settings)
    : undefined;
  let isVerbose = settings.verbose;
  const onError = log?.onError ?? reporter(() => isVerbose === true, io);
  let admin: AdminHandler | undefined;
  const fallback: AdminHandler = (request, response) => admin?.(request, response);
  const http = settings.metrics ? { ...options.http, fallback } : options.http;
  const server = await makeServer({ ...options, root: dir, onError, http });
  if (settings.metrics) admin = await adminOf(server, onError);
  log?.update(settings, server);
  for (const { name, history } of settings.topics ?? []) makeTopic(server, name, history);
  const onChange = (changed: Settings) => {
    isVerbose = changed.verbose;
    log?.update(changed);
  };
  const tell = (message: string, level: 'info' | 'error') =>
    log === undefined ? io.complain(message) : log.tell(message, level);
  return {
    server,
    options,
    log,
    admin,
    onError,
    reload: new Reload(config, { read, server, io, onChange, tell }),
  };
}

/** @throws UsageError in one line, where no server can be made of these settings. */
export async function checkServer(settings: Settings): Promise<void> {
  // What is made is gone at once, and nothing is left of it: no file either.
  const { record, ...options } = await serverOptions(settings);
  const server = await makeServer({ ...options, workers: 1, root: settings.dir });
  await server.close(0);
}

async function adminOf(server: Server, onError: OnError): Promise<AdminHandler> {
  const metrics = await Metrics.of(server);
  const health = new Health(server);
  return adminHandler({
    metrics: async () => ({ text: await metrics.text(), type: metrics.contentType }),
    notReady: () => health.notReady(),
    onError: (error) => onError(error, {}),
  });
}

async function openAdmin(served: Served, fd: number | undefined): Promise<HttpServer | undefined> {
  const { admin } = served.reload.settings;
  if (admin === undefined && fd === undefined) return undefined;
  return openAdminOn(served.admin ?? (await adminOf(served.server, served.onError)), admin, fd);
}

/** @throws Error in one line, where it cannot be listened. */
export async function openAdminOn(
  handler: AdminHandler,
  admin: Settings['admin'],
  fd: number | undefined,
): Promise<HttpServer | undefined> {
  const where = fd === undefined ? admin : { fd };
  if (where === undefined) return undefined;
  try {
    return await listenAdmin(handler, where);
  } catch (error) {
    const place = admin === undefined ? `descriptor ${fd}` : showTarget(admin);
    throw new Error(`cannot listen on ${place}: ${listenProblem(error)}`);
  }
}

export function how({ tls, policy, profile }: ServerOptions, workers: string): string {
  const secured = tls === undefined ? '' : tls.requestCert ? 'mutual TLS, ' : 'TLS, ';
  return `${secured}${workers}, policy ${policy}, ${profile ?? "the client's choice of profile"}`;
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
    void server.close(0);
    throw new UsageError(messageOf(error));
  }
}
