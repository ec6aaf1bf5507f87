#!/usr/bin/env node
/**
 * The command `millrace`. Looks only at what it runs on, its Node and its malloc, and must itself run on any: nothing
 * may be imported here statically that an old Node does not have.
 */

import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeProblem } from '../node-version.ts';
import { HEAP_FLAGS, serverEnvironment } from '../ops/malloc.ts';

/** What a server is to find in its environment; other commands are content with their own. */
const environment = process.argv[2] === 'serve' ? serverEnvironment(process.env) : process.env;

/** The Node that a checkout has among its development dependencies. */
function newerNode(): string | undefined {
  try {
    const folder = dirname(nodeModule.createRequire(import.meta.url).resolve('node/package.json'));
    const path = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return existsSync(path) && path !== process.execPath ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Lets another Node do it, which gets our signals and whose end is ours. */
async function runOn(node: string): Promise<void> {
  const { spawn } = await import('node:child_process');
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(node, args, { stdio: 'inherit', env: environment });
  // A terminal sends Ctrl-C to both of us; other signals come to us alone.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`millrace: ${error.message}`);
    process.exitCode = 2;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
  });
}

/** Begins again as the same process, where its environment has to be another one. */
function restart(): void {
  // Another program's channel to us, or its sockets, would be lost; it may set the environment itself.
  if (environment === process.env || process.connected || process.env.LISTEN_FDS !== undefined) return;
  try {
    process.execve?.(
      process.execPath,
      [process.execPath, ...HEAP_FLAGS, ...process.execArgv, ...process.argv.slice(1)],
      environment,
    );
  } catch {
    // It is not allowed: then malloc keeps more than it needs to.
  }
}

/** The command line. A build has one for `pull` alone, in one module (release/bundle.ts). */
async function commandLine(): Promise<typeof import('./pull-main.ts')> {
  const pull = fileURLToPath(new URL('./pull.cjs', import.meta.url));
  if (process.argv[2] !== 'pull' || !existsSync(pull)) return import('./main.ts');
  return nodeModule.createRequire(import.meta.url)(pull);
}

function start(): void {
  const problem = nodeProblem();
  if (problem === undefined) {
    restart();
    // From the second start on no module is compiled, nor stripped of its types: half of the time that a start takes.
    nodeModule.enableCompileCache();
    commandLine().then(async ({ main }) => {
      process.exitCode = await main(process.argv);
    });
    return;
  }
  const node = newerNode();
  if (node !== undefined) {
    void runOn(node);
    return;
  }
  console.error(`millrace: ${problem}`);
  process.exitCode = 2;
}

start();
