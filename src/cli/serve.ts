/** `millrace serve`: a folder on the network, or on a socket of this machine. */

import cluster from 'node:cluster';
import type { Command } from 'commander';
import type { Config } from '../ops/config.ts';
import { LIMIT_NAMES } from '../ops/settings.ts';
import { checkFolder, DEFAULT_PORT, notEmpty } from './arguments.ts';
import type { Io } from './io.ts';
import { UsageError } from './outcome.ts';
import { serveMany } from './serve-many.ts';
import { serveBeside, serveOne } from './serve-one.ts';
import { addSettings, readConfig, type SettingFlags } from './settings.ts';

const EXAMPLES = `
Limits that --limit knows: ${LIMIT_NAMES.join(', ')}.
Every setting can be a variable, too (MILLRACE_CACHE_BYTES), and in the file of --config (cacheBytes): docs/settings.md.

Examples:
  millrace serve .                                  this folder, on 127.0.0.1:${DEFAULT_PORT}
  millrace serve /srv/docs --host 0.0.0.0 --port 80
  millrace serve . --socket /run/millrace.sock
  millrace serve . --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
  millrace serve --config /etc/millrace.yaml --admin 127.0.0.1:7712
  millrace serve . --policy affinity --level 9      smaller, at more CPU
  millrace serve . --dictionary files.dict=files.get,files.bundle --contexts none`;

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
  const { dir, processes = 1 } = config.settings;
  if (dir === undefined) throw new UsageError("missing required argument 'dir'");
  checkFolder(dir);
  if (cluster.isWorker && process.send !== undefined) return serveBeside(config, read, dir, io);
  if (processes === 1) return serveOne(config, read, dir, io);
  return serveMany(config, read, dir, process.argv.slice(2), io);
}
