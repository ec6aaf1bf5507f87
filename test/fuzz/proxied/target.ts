/**
 * A server and its clients, a process each, and between them a proxy that cuts, delays, splits, changes and swaps what goes
 * through. What either side may believe then is the model: see {@link mistakeIn}.
 */

import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Child } from '../../../src/experiment/process/child.ts';
import { connect } from '../../../src/index.ts';
import { pattern } from '../../fixtures/pattern.ts';
import type { FuzzTarget } from '../target.ts';
import type { ClientOperations, Outcome, Outcomes } from './client.ts';
import { type ClientPlan, faultsOf, planOf, type Task, TOPICS } from './plan.ts';
import { FaultyProxy } from './proxy.ts';
import type { ServerOperations } from './server.ts';

/** Milliseconds without an end after which connections that the proxy has harmed are cut. */
const QUIET_MS = 100;
/** Milliseconds that the rest may take then, on a machine that has too much to do. */
const PATIENCE_MS = 60_000;
/** Milliseconds between two looks at what is left in the server. */
const LOOK_MS = 5;

export function proxiedTarget(): FuzzTarget {
  let processes: Promise<Processes> | undefined;
  return {
    name: 'proxied',
    // The whole round follows from its seed.
    generate: (random) => Uint8Array.from({ length: 4 }, () => random.below(256)),
    async run(input) {
      processes ??= Processes.start();
      return (await processes).round(Buffer.from([...input, 0, 0, 0, 0]).readUInt32LE());
    },
    remarks: async () => (await processes)?.remarks(),
    async close() {
      await (await processes)?.stop();
      processes = undefined;
    },
  };
}

class Processes {
  readonly #server = new Child<ServerOperations>(fileOf('./server.ts'), 'the server has ended');
  readonly #clients = new Child<ClientOperations>(fileOf('./client.ts'), 'the clients have ended');
  readonly #counts: Record<string, number> = {
    rounds: 0,
    connections: 0,
    faults: 0,
    calls: 0,
    right: 0,
    failed: 0,
  };
  #proxies: FaultyProxy[] = [];
  #ports: number[] = [];
  #port = 0;

  static async start(): Promise<Processes> {
    const started = new Processes();
    started.#port = await started.#server.ask('port');
    for (let slot = 0; slot < TOPICS.length; slot++) {
      const { proxy, port } = await FaultyProxy.start(started.#port);
      started.#proxies.push(proxy);
      started.#ports.push(port);
    }
    return started;
  }

  /** Plays a round; returns how many calls it had. */
  async round(seed: number): Promise<number> {
    const plans = planOf(seed);
    for (const plan of plans) this.#proxies[plan.slot].open((index) => faultsOf(seed, plan, index));
    await this.#clients.ask('begin', seed, this.#ports);
    const outcomes = await this.#outcomes(plans);
    for (const proxy of this.#proxies) proxy.end();
    await this.#isAlone();
    const begun = new Map(await this.#server.ask('begun'));
    for (const plan of plans) this.#judge(plan, outcomes[plan.slot], begun);
    await this.#asks();
    await this.#isAlone();
    this.#counts.rounds++;
    return plans.reduce((sum, { tasks }) => sum + tasks.length, 0);
  }

  /** Everything ends: what was left in peace by itself, the rest when its connections are gone. */
  async #outcomes(plans: readonly ClientPlan[]): Promise<Outcomes> {
    const early = await this.#clients.ask('outcomes', QUIET_MS);
    if (early !== undefined) return early;
    for (const { slot, harm } of plans) if (harm !== 'none') this.#proxies[slot].cut();
    const late = await this.#clients.ask('outcomes', PATIENCE_MS);
    if (late !== undefined) return late;
    const pending = await this.#clients.ask('pending');
    throw new Error(`never ended: ${pending.join(', ')}`);
  }

  #judge(plan: ClientPlan, outcomes: Outcomes[number], begun: ReadonlyMap<string, number>): void {
    const proxy = this.#proxies[plan.slot];
    this.#counts.connections += proxy.connections;
    this.#counts.faults += proxy.applied;
    const tasks = new Map(plan.tasks.map((task) => [task.id, task]));
    for (const [id, outcome] of Object.entries(outcomes)) {
      const task = tasks.get(id);
      if (task !== undefined) {
        this.#counts.calls++;
        this.#counts[outcome.error === undefined ? 'right' : 'failed']++;
      }
      const mistake = mistakeIn(outcome, plan, task, proxy, begun.get(id) ?? 0);
      assert.equal(mistake, undefined, `${id}, ${JSON.stringify(task)}, harm ${plan.harm}: ${mistake}`);
    }
  }

  /** Whoever comes straight to the server gets right answers. */
  async #asks(): Promise<void> {
    const witness = await connect({ port: this.#port }, { timeoutMs: PATIENCE_MS });
    const args = { id: 'witness', seed: '5', size: '5000' };
    assert.equal(await witness.call('echo', { args }).text(), 'witness');
    for (const command of ['lane-fill', 'cached'])
      assert.deepEqual(
        Buffer.from(await witness.call(command, { args }).bytes()),
        Buffer.from(pattern(5, 5000)),
      );
    await witness.close();
  }

  /** Nothing of the clients is left in the server. */
  async #isAlone(): Promise<void> {
    const patience = performance.now() + PATIENCE_MS;
    for (;;) {
      assert.deepEqual(await this.#server.ask('faults'), [], 'nothing of the server failed');
      const remains = await this.#server.ask('remains');
      if (remains.length === 0) return;
      assert.ok(performance.now() < patience, `left in the server: ${remains.join(', ')}`);
      await delay(LOOK_MS);
    }
  }

  async remarks(): Promise<string> {
    const [server, clients] = [await this.#server.ask('stalls'), await this.#clients.ask('stalls')];
    const counts = Object.entries(this.#counts).map(([what, count]) => `${count} ${what}`);
    return `${counts.join(', ')}; longest stalls ${stallOf(server)} in the server, ${stallOf(clients)} in the clients`;
  }

  async stop(): Promise<void> {
    for (const proxy of this.#proxies) proxy.stop();
    await Promise.all([this.#clients.end(), this.#server.end()]);
  }
}

const OURS = ['CommandError', 'ConnectionError', 'ProtocolError'];
/** How calls end where bytes were not changed, but may be missing. `cancelled`: by the server, when input ends that it waits for. */
const LOSSES = ['lost', 'connect-failed', 'closed', 'overloaded', 'shutting-down', 'cancelled'];
/** Commands whose handlers say that they have begun. */
const NOTED = ['echo', 'fill', 'record', 'back', 'sink', 'hold'];

/** What a client has been told and may not have been; undefined: nothing. `begun`: how often the server has begun the task. */
function mistakeIn(
  { error, wrong }: Outcome,
  { pooled, harm }: ClientPlan,
  task: Task | undefined,
  { isDamaged, isHarmed }: FaultyProxy,
  begun: number,
): string | undefined {
  const isCancelled =
    task?.cancelMs !== undefined && (error?.code === 'cancelled' || error?.name === 'AbortError');
  if (error !== undefined && !isCancelled && !OURS.includes(error.name))
    return `no error of ours: ${error.text}`;
  // Nobody can tell changed bytes that decode from others: all that is asked then is an end.
  if (isDamaged) return undefined;
  if (wrong !== undefined) return wrong;
  if (error !== undefined) {
    const isOwn = isCancelled || (error.code === 'deadline-exceeded' && task?.deadlineMs !== undefined);
    // Pools whose connections are to be harmed do not wait for long.
    const isImpatient = error.code === 'overloaded' && pooled && harm !== 'none';
    if (!isOwn && !isImpatient && !(isHarmed && LOSSES.includes(error.code)))
      return `failed with ${error.code}: ${error.text}`;
  }
  if (task === undefined || !NOTED.includes(task.command)) return undefined;
  if (error === undefined && begun === 0) return 'answered, and never begun';
  if (error?.notStarted && begun > 0) return `said to be not started, and begun: ${error.text}`;
  if (begun > 1 && !(pooled && task.idempotent)) return `begun ${begun} times`;
  return undefined;
}

function stallOf({ stallMs, stallCpuMs }: { stallMs: number; stallCpuMs: number }): string {
  return `${stallMs} ms (CPU ${stallCpuMs})`;
}

function fileOf(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
