/** Programs and modules of ours in processes of their own, run to their end. */

import { spawn } from 'node:child_process';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { track } from './track.ts';

export interface RunOptions {
  /** Flags of Node.js, for modules. */
  readonly flags?: readonly string[];
  /** Its standard input; missing: nothing. */
  readonly input?: Uint8Array;
  /** Variables beyond ours. */
  readonly env?: NodeJS.ProcessEnv;
}

/** Bytes of standard error that are kept: the reason is at its end. */
const KEPT_COMPLAINT = 10_000;

/** Resolves with what it printed. @throws Error with what it said on standard error. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<string> {
  const { code, output, complaint } = await run(command, args, options);
  if (code !== 0) throw new Error(`${basename(command)} ended with ${code}: ${reasonIn(complaint)}`);
  return output;
}

/** Resolves with what the module printed. @throws Error with the message of the one that it failed with. */
export async function runModule(
  file: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { flags = [] } = options;
  const all = ['--no-warnings', ...flags, file, ...args];
  const { code, output, complaint } = await run(process.execPath, all, options);
  if (code !== 0) throw new Error(reasonIn(complaint) || `${basename(file)} ended with ${code}`);
  return output;
}

async function run(command: string, args: readonly string[], { input, env }: RunOptions = {}) {
  const program = track(
    spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } }),
  );
  let output = '';
  let complaint = '';
  program.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  program.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-KEPT_COMPLAINT);
  });
  program.stdin.on('error', () => undefined); // It ended without reading all: its exit code says why.
  program.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    program.once('error', reject).once('close', resolve);
  });
  return { code, output, complaint };
}

/** The message in what a module of ours has printed as it failed, without the stack; else the end of what was said. */
export function reasonIn(complaint: string): string {
  return /^\w*Error: (.+)$/m.exec(complaint)?.[1] ?? complaint.trim().slice(-500);
}

/** The file of a module beside the one at the URL `importer`: in a checkout it ends in .ts, in a build in .js. */
export function moduleBeside(importer: string, name: string): string {
  const extension = importer.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`${name}.${extension}`, importer));
}
