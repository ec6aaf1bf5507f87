/**
 * Load on a server whose workers are killed all the while, in four ways, and what came of it. Every response must be
 * right to the last byte, or an error that says what happened. `node test/lanes/kill-load.ts --seconds 60` is the long run.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Client, CommandError, createServer } from '../../src/index.ts';
import { pattern } from '../fixtures/pattern.ts';
import { randomNumbers } from '../helpers/random.ts';
import { LONG, reach } from '../helpers/serving.ts';

const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);
const WAYS = ['exit', 'throw', 'reject'] as const;

export interface KillFigures {
  kills: number;
  whole: number;
  errors: number;
  corrupt: number;
  /** Errors of requests on lanes where nobody died. */
  unexplained: string[];
  /** What the errors said, without numbers. */
  messages: Record<string, number>;
}

/**
 * Kills a worker every `killEveryMs` until `seconds` are over and each way has had its turn, and then wants one good
 * answer from each connection.
 */
export async function killLoad(seconds: number, killEveryMs: number, connections = 4): Promise<KillFigures> {
  const figures: KillFigures = { kills: 0, whole: 0, errors: 0, corrupt: 0, unexplained: [], messages: {} };
  let deaths = 0;
  const server = createServer({
    workers: 3,
    laneTimeout: LONG,
    // One command is what ends them all, again and again.
    quarantine: { deaths: 1000 },
    commands: {
      fill: { module: MODULE, export: 'fill' },
      die: { module: MODULE, export: 'die' },
      here: (request) => pattern(Number(request.text('seed')), Number(request.text('size'))).slice(),
    },
    onError: (_error, { lane }) => {
      if (lane !== undefined) deaths++;
    },
  });
  const { port } = (await server.listen()) as { port: number };
  const clients = await Promise.all(
    Array.from({ length: connections }, (_, i) =>
      reach({ port }, { profiles: [['zstd-8mb'], ['zlib'], []][i % 3] }),
    ),
  );
  const killer = await reach({ port });
  const end = performance.now() + seconds * 1000;
  const isOver = () => performance.now() >= end && figures.kills >= WAYS.length;
  const loops = clients.flatMap((client, i) =>
    Array.from({ length: 8 }, (_, k) => ask(client, 100 * i + k, isOver, figures)),
  );
  while (!isOver()) {
    await delay(killEveryMs);
    const before = deaths;
    const how = WAYS[figures.kills % WAYS.length];
    const said = await killer.call('die', { args: { how } }).text().catch(String);
    // Where those that died are not back yet there is nobody to kill.
    if (!/died|no worker/.test(said)) figures.unexplained.push(`a killing call answered: ${said}`);
    figures.kills += deaths - before;
  }
  await Promise.all(loops);
  for (const [i, client] of clients.entries()) await untilServed(client, i, figures);
  await Promise.all([...clients, killer].map((client) => client.close()));
  await server.close();
  return figures;
}

/** Asks one thing after the other. */
async function ask(client: Client, seed: number, isOver: () => boolean, figures: KillFigures): Promise<void> {
  const next = randomNumbers(seed);
  while (!isOver()) {
    const size = Math.floor(next() < 0.2 ? next() * 300_000 : next() * 3000);
    const command = next() < 0.7 ? 'fill' : 'here';
    await check(client, command, Math.floor(next() * 20), size, figures);
  }
}

async function check(
  client: Client,
  command: string,
  seed: number,
  size: number,
  figures: KillFigures,
): Promise<boolean> {
  const args = { seed: String(seed), size: String(size) };
  try {
    const bytes = await client.call(command, { args }).bytes();
    if (Buffer.compare(bytes, pattern(seed, size)) === 0) figures.whole++;
    else figures.corrupt++;
    return true;
  } catch (error) {
    figures.errors++;
    const message = String(error).replace(/\d+/g, 'N');
    figures.messages[message] = (figures.messages[message] ?? 0) + 1;
    const explained = error instanceof CommandError && /worker/.test(error.message);
    if (!explained) figures.unexplained.push(String(error));
    return false;
  }
}

/** Lanes that died come back, and connections that lived through it are served on. */
async function untilServed(client: Client, seed: number, figures: KillFigures): Promise<void> {
  while (!(await check(client, 'fill', seed, 1000, figures))) await delay(100);
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seconds: { type: 'string' } } });
  const figures = await killLoad(Number(values.seconds ?? 60), 1000);
  console.log(figures);
  console.log(`peak RSS ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
  process.exit(figures.corrupt + figures.unexplained.length === 0 ? 0 : 1);
}
