/** `millrace serve`: a folder on the network, or on a socket of this machine. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Server, ServerOptions } from '../index.ts';
import type { Config } from '../ops/config.ts';
import { LIMIT_NAMES } from '../ops/settings.ts';
import { checkFolder, DEFAULT_PORT, notEmpty, showTarget } from './arguments.ts';
import type { Io } from './io.ts';
import { messageOf, UsageError } from './outcome.ts';
import { Reload } from './reload.ts';
import { tellRecorded } from './serve-experiment.ts';
import { serverOptions } from './serve-options.ts';
import { FINISHING, listen, reporter, untilStopped } from './serving.ts';
import { addSettings, readConfig, type SettingFlags } from './settings.ts';
import { oneLine, plural } from './show.ts';

const EXAMPLES = `
Limits that --limit knows: ${LIMIT_NAMES.join(', ')}.
Every setting can be a variable, too (MILLRACE_CACHE_BYTES), and in the file of --config (cacheBytes): docs/settings.md.

Examples:
  millrace serve .                                  this folder, on 127.0.0.1:${DEFAULT_PORT}
  millrace serve /srv/docs --host 0.0.0.0 --port 80
  millrace serve . --socket /run/millrace.sock
  millrace serve . --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
  millrace serve --config /etc/millrace.yaml --admin 127.0.0.1:7712
  millrace serve . --policy affinity --level 9      smaller, at more CPU`;

export function addServe(program: Command, io: Io): void {
  const command = program
    .command('serve')
    .description('serve the files below a folder')
    .argument('[dir]', 'the folder', notEmpty)
    .addHelpText('after', EXAMPLES)
    .action((dir: string | undefined, flags: SettingFlags) => {
      const read = () => readConfig({ dir, flags, env: io.env });
      return serve(read, io);
    });
  addSettings(command);
}

async function serve(read: () => Config, io: Io): Promise<void> {
  const config = read();
  const { settings } = config;
  const { dir } = settings;
  if (dir === undefined) throw new UsageError("missing required argument 'dir'");
  checkFolder(dir);
  const options = await serverOptions(settings);
  let isVerbose = settings.verbose;
  const onError = reporter(() => isVerbose === true, io);
  const server = await makeServer({ ...options, root: dir, onError });
  // From before the first request on: whoever starts a server may also stop it at once.
  const { stopped, release } = untilStopped(io);
  const reload = new Reload(config, read, server, io, ({ verbose }) => {
    isVerbose = verbose;
  });
  try {
    const address = await listen(server, settings);
    const { lanes } = await server.stats();
    io.print(
      `millrace serves ${oneLine(resolve(dir))} on ${showTarget(address)} (${how(options, lanes.length)})`,
    );
    await stopped;
    // Said only where somebody would wonder.
    setTimeout(() => io.complain(FINISHING), 300).unref();
  } finally {
    reload.stop();
    await server.close(reload.settings.grace);
    release();
    tellRecorded(server, settings, io);
  }
}

function how({ tls, policy, profile }: ServerOptions, workers: number): string {
  const secured = tls === undefined ? '' : tls.requestCert ? 'mutual TLS, ' : 'TLS, ';
  return `${secured}${plural(workers, 'worker')}, policy ${policy}, ${profile ?? "the client's choice of profile"}`;
}

async function makeServer(options: ServerOptions): Promise<Server> {
  const { createServer } = await import('../index.ts');
  try {
    return createServer(options);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
