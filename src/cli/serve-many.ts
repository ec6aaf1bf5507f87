/** Several processes on one port: this one starts them, and speaks for them. */

import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adminHandler } from '../ops/admin.ts';
import type { Config } from '../ops/config.ts';
import type { MetricsJson } from '../ops/metrics.ts';
import { Processes, StartError } from '../ops/processes.ts';
import type { Settings } from '../ops/settings.ts';
import { handedDown, Notify } from '../ops/systemd.ts';
import { after, unref } from '../wire/timers.ts';
import { showTarget } from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, UsageError } from './outcome.ts';
import { how, openAdminOn } from './serve-one.ts';
import { serverOptions } from './serve-options.ts';
import { FINISHING, isTerminalGone, listenProblem, untilStopped } from './serving.ts';
import { oneLine, plural } from './show.ts';

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const PROGRAM = fileURLToPath(new URL(`./millrace.${EXTENSION}`, import.meta.url));

/** Serves until it is stopped. `args`: what each process is started with. */
export async function serveMany(
  config: Config,
  read: () => Config,
  dir: string,
  args: readonly string[],
  io: Io,
): Promise<void> {
  const { settings } = config;
  // What is wrong with the settings is said once, and not by each.
  const options = await serverOptions(settings);
  const sockets = handedDown(io.env);
  if (sockets !== undefined) process.env.MILLRACE_FD = String(sockets.fd);
  const notify = new Notify(io.env, (message) => io.complain(message));
  let { grace = 0 } = settings;
  const processes = new Processes({
    count: settings.processes ?? 1,
    exec: PROGRAM,
    args: [...args, ...(await portArgs(settings, sockets !== undefined))],
    graceMs: () => grace,
    onTrouble: (message) => io.complain(message),
  });
  const { stopped, release } = untilStopped(io);
  const onHangup = async () => {
    if (isTerminalGone(io)) return;
    await notify.reloading();
    const said = await reloaded(read, processes, (changed) => {
      grace = changed.settings.grace ?? 0;
    });
    io.complain(said);
    await notify.ready(said);
  };
  const onRoll = async () => {
    if (await processes.roll()) io.complain('all processes are new');
  };
  io.signals.on('SIGHUP', onHangup).on('SIGUSR2', onRoll);
  let admin: HttpServer | undefined;
  try {
    const handler = adminHandler({
      metrics: async () => metricsOf(await processes.metrics(), processes),
      notReady: () => processes.notReady(),
      onError: (error) => io.complain(`server: ${messageOf(error)}`),
    });
    admin = await openAdminOn(handler, settings.admin, sockets?.adminFd);
    const address = await Promise.race([processes.start(), stopped]);
    // Told to stop while they start, as all of them are by Ctrl-C: they have nothing to finish.
    if (address === undefined) return processes.kill();
    const where = `${oneLine(resolve(dir))} on ${showTarget(address)}`;
    const workers = `${settings.processes} processes, ${plural(processes.lanes, 'worker')}`;
    io.print(`millrace serves ${where} (${how(options, workers)})`);
    notify.ready(`serves ${where}`);
    await stopped;
    unref(after(300, () => io.complain(FINISHING)));
    void notify.stopping();
  } catch (error) {
    processes.kill();
    // By the same Ctrl-C that we are told of a moment later.
    if (error instanceof StartError && error.isInterrupted) return;
    if (error instanceof StartError && error.isMisuse) throw new UsageError(error.message);
    throw error;
  } finally {
    io.signals.off('SIGHUP', onHangup).off('SIGUSR2', onRoll);
    await processes.stop();
    admin?.close();
    admin?.closeAllConnections();
    release();
  }
}

/** A free port is found here, once: were none of the processes left for a moment, the next one would find another. */
async function portArgs({ port, host = '127.0.0.1' }: Settings, isHandedDown: boolean): Promise<string[]> {
  if (port !== 0 || isHandedDown) return [];
  const server = createServer().listen(0, host);
  await once(server, 'listening').catch((error) => {
    throw new Error(`cannot listen on ${showTarget({ host, port })}: ${listenProblem(error)}`);
  });
  const found = (server.address() as AddressInfo).port;
  await new Promise((resolve) => server.close(resolve));
  return ['--port', String(found)];
}

/** What is wrong is found here, once; then all of them do it. */
async function reloaded(
  read: () => Config,
  processes: Processes,
  onRead: (config: Config) => void,
): Promise<string> {
  try {
    const config = read();
    await serverOptions(config.settings);
    onRead(config);
    const answers = new Set(await processes.reload());
    return [...answers].join('; ');
  } catch (error) {
    return `not reloaded: ${messageOf(error)}`;
  }
}

/** All of them as one page: sums, and what is of one process with its number. */
async function metricsOf(all: MetricsJson[], processes: Processes): Promise<{ text: string; type: string }> {
  const { default: client } = await import('prom-client');
  const own = new client.Registry();
  const registers = [own];
  new client.Gauge({ name: 'millrace_processes', help: 'Processes that serve', registers }).set(
    processes.serving,
  );
  const restarts = new client.Counter({
    name: 'millrace_process_restarts_total',
    help: 'Processes that have died and were replaced',
    registers,
  });
  restarts.inc(processes.restarts);
  const merged = client.AggregatorRegistry.aggregate([
    ...all,
    await own.getMetricsAsJSON(),
  ] as unknown as object[]);
  return { text: await merged.metrics(), type: merged.contentType };
}
