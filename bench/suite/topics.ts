/** A topic with 500 subscribers on 500 connections, at a pace, against WebSockets that are sent the same. */
import { join } from 'node:path';
import { Child } from '../../src/experiment/process/child.ts';
import { median } from '../../src/experiment/results/statistics.ts';
import type { Bench } from '../bench.ts';
import { trainedOnFeeds } from '../dictionary-file.ts';
import { FEEDS, type FeedName } from '../feeds.ts';
import { figure } from '../figures.ts';
import { Scratch } from '../scratch.ts';
import { pairedRatio, spread } from '../stats.ts';
import type { TopicOperations, TopicPeer } from '../topic-child.ts';

const SUBSCRIBERS = 500;
/** Messages a second; for what is compared with others, whose CPU ends earlier, fewer. */
const RATE = 40;
const COMPARED_RATE = 10;
/** By then V8 has compiled what a delivery takes, and does no more of that beside what is measured. */
const WARM_SECONDS = 4;
const STALLED = 50;
const PEERS: readonly TopicPeer[] = ['millrace', 'ws + deflate', 'ws', 'ws, one prepared frame'];
const CHILD = join(import.meta.dirname, '..', 'topic-child.ts');

/** A server and the client that has all its subscribers. */
class TopicRig implements AsyncDisposable {
  readonly #server: Child<TopicOperations>;
  readonly #client: Child<TopicOperations>;
  readonly #peer: TopicPeer;
  #port = 0;
  /** Subscribers come and go: how many messages each is to have is not known. */
  #churns = false;

  constructor(peer: TopicPeer) {
    this.#peer = peer;
    this.#server = new Child(CHILD, `the ${peer} server has ended`);
    this.#client = new Child(CHILD, `the client of ${peer} has ended`);
  }

  static async start(peer: TopicPeer, subscribers: number, dictionary: string): Promise<TopicRig> {
    const rig = new TopicRig(peer);
    rig.#port = await rig.#server.ask('serve', peer, dictionary);
    await rig.connect(subscribers, true);
    return rig;
  }

  async connect(count: number, subscribes: boolean): Promise<void> {
    await this.#client.ask('connect', this.#peer, this.#port, count, subscribes);
  }

  /**
   * CPU in microseconds and bytes for each message that is delivered, and how long that takes. The first `stalled` connections
   * read on when it has been measured, and get what they have missed.
   */
  async measure(feed: FeedName, seed: number, seconds: number, rate = RATE, stalled = 0) {
    await this.#client.ask('mark');
    const before = await this.#server.ask('usage');
    const encodesBefore = await this.#server.ask('encodes');
    const times = await this.#server.ask('publish', feed, seed, rate, seconds);
    const each = this.#churns ? 0 : times.length;
    await this.#client.ask('arrived', each, stalled);
    const after = await this.#server.ask('usage');
    const encodes = (await this.#server.ask('encodes')) - encodesBefore;
    const latency = await this.#client.ask('latency', times, stalled);
    if (stalled > 0) await this.#client.ask('readOn');
    await this.#client.ask('arrived', each, 0);
    const { received, lost, wireBytes } = await this.#client.ask('mark');
    const cpu = (after.total - before.total) / received;
    return {
      cpu,
      wire: wireBytes / received,
      encodes: encodes / times.length,
      received,
      lost,
      ...latency,
    };
  }

  /** All connections that do not yet. */
  async subscribe(): Promise<void> {
    await this.#client.ask('subscribe');
  }

  settledMemory(): Promise<number> {
    return this.#server.ask('settledMemory');
  }

  async stall(count: number): Promise<void> {
    await this.#client.ask('stall', count);
  }

  async churn(perSecond: number): Promise<void> {
    await this.#client.ask('churn', perSecond);
    this.#churns = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end();
    await this.#server.end();
  }
}

export const topics: Bench = {
  name: 'topics',
  describe: 'a topic with 500 subscribers against WebSockets: CPU, bytes, memory, slow readers',
  async run({ quick, seed, progress }) {
    const rounds = quick ? 2 : 5;
    const seconds = quick ? 2 : 5;
    const steps = rounds * PEERS.length + 5;
    let done = 0;
    const say = (what: string) => progress(done++, steps, what);
    using scratch = new Scratch();
    const dictionary = trainedOnFeeds(scratch.path);
    await using stack = new AsyncDisposableStack();
    const rigs = new Map<TopicPeer, TopicRig>();
    for (const peer of PEERS) {
      const rig = stack.use(await TopicRig.start(peer, SUBSCRIBERS, dictionary));
      await rig.measure('records', seed, WARM_SECONDS);
      rigs.set(peer, rig);
    }
    const cpu = new Map<TopicPeer, Awaited<ReturnType<TopicRig['measure']>>[]>(
      PEERS.map((peer) => [peer, []]),
    );
    for (let round = 0; round < rounds; round++)
      for (const [peer, rig] of rigs) {
        say(`${peer}, round ${round + 1} of ${rounds}`);
        cpu.get(peer)!.push(await rig.measure('records', seed + round, seconds, COMPARED_RATE));
      }
    const cpuOf = (peer: TopicPeer) => cpu.get(peer)!.map((each) => each.cpu);
    const lost = cpu.get('millrace')!.reduce((sum, each) => sum + each.lost, 0);

    const ours = rigs.get('millrace')!;

    say('bytes on the wire');
    const wire: Record<string, Record<string, number>> = {};
    for (const feed of FEEDS) {
      // Nobody has seen these messages before.
      const unseen = seed + 1000;
      wire[feed] = {};
      for (const [peer, rig] of rigs)
        wire[feed][peer] = (await rig.measure(feed, unseen, quick ? 4 : 8, COMPARED_RATE)).wire;
    }
    say(`${STALLED} subscribers that read nothing`);
    const undisturbed: number[] = [];
    const disturbed: number[] = [];
    for (let round = 0; round < rounds; round++) {
      undisturbed.push((await ours.measure('records', seed + 2000 + round, seconds)).p99);
      await ours.stall(STALLED);
      disturbed.push((await ours.measure('records', seed + 3000 + round, seconds, RATE, STALLED)).p99);
    }

    say('subscribers that come and go');
    await using churning = await TopicRig.start('millrace', SUBSCRIBERS, dictionary);
    await churning.churn(SUBSCRIBERS * 0.05);
    const { encodes } = await churning.measure('records', seed, seconds);

    say('memory of a subscriber');
    const bytes = await memoryPerSubscriber(quick ? 1000 : 1500, dictionary);

    const deflate = pairedRatio(cpuOf('millrace'), cpuOf('ws + deflate'));
    const plain = pairedRatio(cpuOf('millrace'), cpuOf('ws'));
    const slow = pairedRatio(disturbed, undisturbed);
    const late = spread(undisturbed);
    const wireRatio = (feed: string) => wire[feed]!.millrace! / wire[feed]!['ws + deflate']!;
    return {
      bench: 'topics',
      summary: `One topic, ${SUBSCRIBERS} subscribers on as many connections of one client process, ${COMPARED_RATE} messages a second where they are compared, else ${RATE}, with a dictionary that was trained on other messages of these feeds; CPU of the server's process, all threads.`,
      payloads: [],
      tables: [
        {
          title: 'A delivered message of 268 bytes',
          columns: ['server', 'CPU µs', 'wire bytes', 'p50 ms', 'p99 ms'],
          rows: PEERS.map((peer) => [
            peer,
            median(cpuOf(peer)),
            wire.records![peer]!,
            median(cpu.get(peer)!.map((each) => each.p50)),
            median(cpu.get(peer)!.map((each) => each.p99)),
          ]),
        },
        {
          title: 'Bytes on the wire for a delivered message',
          columns: ['feed', ...PEERS],
          rows: Object.entries(wire).map(([feed, by]) => [feed, ...PEERS.map((peer) => by[peer]!)]),
          note: 'ticks: some 139 bytes; dashboard: 6.6 KB of which a few figures change.',
        },
      ],
      charts: [],
      figures: [
        figure('topics.cpu_vs_ws_deflate', deflate.median, deflate),
        figure('topics.cpu_vs_ws_plain', plain.median, plain),
        figure('topics.wire_ticks_vs_ws_deflate', wireRatio('ticks')),
        figure('topics.wire_dashboard_vs_ws_deflate', wireRatio('dashboard')),
        figure('topics.memory', bytes / 1024),
        figure('topics.encodes', encodes),
        figure('topics.slow', slow.median, slow),
        figure('topics.p99', late.median, late),
      ],
      skipped: lost === 0 ? [] : [`${lost} messages, which millrace's slow subscribers have lost`],
      raw: { cpu: Object.fromEntries(cpu), wire, undisturbed, disturbed, encodes, bytes },
    };
  },
};

/** Subscribers before those that are counted: what is there once is there by then, such as batches and compiled code. */
const WARM = 500;

/**
 * Of a subscriber that has been sent messages and is idle, beyond the same connection when it was: two servers, one with
 * subscribers and one without, differ by as much as all this is.
 */
async function memoryPerSubscriber(count: number, dictionary: string): Promise<number> {
  await using rig = await TopicRig.start('millrace', WARM, dictionary);
  await rig.connect(count, false);
  await rig.measure('records', 1, 0.25);
  const before = await rig.settledMemory();
  await rig.subscribe();
  await rig.measure('records', 1, 0.25);
  return ((await rig.settledMemory()) - before) / count;
}
