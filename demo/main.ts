/**
 * `npm run demo`: serves a tree of files, pulls it through one connection, compares every byte, and shows what that
 * took, beside what the same payloads take with a context for each request and with one for each frame.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Option } from 'commander';
import { checkFolder, wholeNumber } from '../src/cli/arguments.ts';
import { stopSignal } from '../src/cli/outcome.ts';
import { newProgram, runProgram } from '../src/cli/program.ts';
import { pull } from '../src/files/pull.ts';
import { type Client, connect, createServer, type PolicyName, type ServerStats } from '../src/index.ts';
import { MAX_STREAMS, POLICY_NAMES } from '../src/lanes/policy.ts';
import { payloadCosts } from './costs.ts';
import { type DemoResult, demoTable } from './table.ts';
import { filesOf, haveSameFiles, linkSmallTextFiles, payloadsOf } from './tree.ts';

interface DemoOptions {
  json?: boolean;
  workers: number;
  streams: number;
  policy: PolicyName;
  level: number;
}

const PROFILE = 'zstd-8mb';

const HOW_TO = `
To serve a folder of your own:  npx millrace serve DIR
and to fetch it elsewhere:      npx millrace pull HOST:PORT DEST`;

async function demo(dir: string | undefined, options: DemoOptions): Promise<void> {
  if (dir !== undefined) checkFolder(dir);
  const { signal, release } = stopSignal();
  const temp = mkdtempSync(join(tmpdir(), 'millrace-demo-'));
  // Also when something fails, or somebody has no patience.
  process.once('exit', () => rmSync(temp, { recursive: true, force: true }));
  const root = dir ?? linkSmallTextFiles(join(temp, 'tree'));
  const result = await serveAndPull(root, join(temp, 'pulled'), options, signal);
  release();
  if (options.json) console.log(JSON.stringify(result));
  else console.log(`${demoTable(result, options)}\n${HOW_TO}`);
  if (!result.identical) throw new Error('what was pulled is not what was served');
}

async function serveAndPull(
  root: string,
  dest: string,
  { workers, streams, policy, level }: DemoOptions,
  signal: AbortSignal,
): Promise<DemoResult> {
  const server = createServer({ root, workers, streams, policy, level, profile: PROFILE });
  const address = await server.listen({ host: '127.0.0.1', port: 0 });
  const client = await connect(address);
  try {
    const started = performance.now();
    const { files, bytes } = await pull(client, dest, { signal });
    const seconds = (performance.now() - started) / 1000;
    const wireBytes = client.stats().bytesRead;
    const stats = await server.stats();
    const served = filesOf(root);
    return {
      files,
      bytes,
      wireBytes,
      ...payloadCosts([...payloadsOf(root, served, await listingOf(client))], PROFILE, level),
      identical: haveSameFiles(root, dest, served),
      lanesUsed: stats.lanes.filter(({ frames }) => frames > 0).length,
      seconds,
      ...rowsOf(stats),
    };
  } finally {
    await client.close();
    await server.close();
  }
}

/** The listing is on the wire as well; the comparison must have it too. */
function listingOf(client: Client): Promise<Uint8Array> {
  return client.call('files.list').bytes();
}

function rowsOf(stats: ServerStats): Pick<DemoResult, 'streams' | 'lanes'> {
  const streams = stats.streams.filter(({ frames }) => frames > 0);
  return {
    streams: streams.map(({ streamId, lane, frames, bytesIn, bytesOut, cpuSeconds }) => {
      return { stream: streamId, lane, frames, bytesIn, bytesOut, ratio: bytesIn / bytesOut, cpuSeconds };
    }),
    lanes: stats.lanes.map(({ lane, frames, bytesIn, bytesOut, cpuSeconds }) => {
      return { lane, frames, bytesIn, bytesOut, ratio: bytesIn / bytesOut, cpuSeconds };
    }),
  };
}

const program = newProgram('npm run demo --')
  .description('Serves a tree of files, pulls it through one connection and shows what that took.')
  .argument('[dir]', 'the tree (default: some thousand small text files of node_modules)')
  .option('--json', 'print one JSON object instead')
  .option('--workers <n>', 'worker threads', wholeNumber(1, 256), 2)
  .option('--streams <n>', 'streams of the connection', wholeNumber(1, MAX_STREAMS), 2)
  .option('--level <n>', 'compression level of zstd', wholeNumber(-7, 22), 3)
  .addOption(
    new Option('--policy <name>', 'which stream answers a request').choices(POLICY_NAMES).default('affinity'),
  )
  .addHelpText('after', '\nExamples:\n  npm run demo\n  npm run demo -- /usr/share/doc --json')
  .action(demo);

process.exitCode = await runProgram(program, process.argv);
