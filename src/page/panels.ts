/** What the page shows of a moment: tiles, charts and tables. */

import type { LiveFigures } from '../server/live-figures.ts';
import { after } from '../wire/timers.ts';
import { Chart, type Line, MAX_LINES } from './charts.ts';
import { type LaneMoment, LIVE_COMMAND, type Moment, othersOf, over, ratioOf } from './moments.ts';
import { bytes, duration, milliseconds, NONE, number, percent, plural, ratio } from './show.ts';
import { type Row, Table } from './table.ts';

const perSecond = (value: number) => `${bytes(value)}/s`;
const size = (value: number) => (value === 0 ? NONE : bytes(value));
const name = (title: string) => ({ title, text: true });
const figures = (...titles: string[]) => titles.map((title) => ({ title }));

/** An element of the page's. @throws Error when there is none. */
export function element<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as Kind;
}

type ChartName = 'throughput' | 'ratio' | 'requests' | 'cpu' | 'queue' | 'lanes';

export class Panels {
  readonly #tiles = element('tiles');
  readonly #charts: Readonly<Record<ChartName, Chart>> = {
    throughput: new Chart(element('charts'), 'Throughput', perSecond, 1000),
    ratio: new Chart(element('charts'), 'Ratio', ratio, 1),
    requests: new Chart(element('charts'), 'Requests', number, 10),
    cpu: new Chart(element('charts'), 'CPU per lane', percent, 0.1),
    queue: new Chart(element('charts'), 'Queue per lane', bytes, 1000),
    lanes: new Chart(element('charts'), 'Throughput per lane', perSecond, 1000),
  };
  readonly #lanes = new Table(
    element('lanes'),
    'Lanes',
    [
      name('Lane'),
      ...figures('Before encoding', 'On the wire', 'Ratio', 'Queue', 'CPU', 'At work', 'Memory', 'Streams'),
    ],
    'no lane has answered',
  );
  readonly #streams = new Table(
    element('streams'),
    'Connections and their streams',
    [
      name('Connection, stream'),
      name('Profile'),
      ...figures('Level', 'Window', 'Context', 'Ratio', 'Age', 'Lane', 'Frames', 'Sent', 'CPU', 'In flight'),
    ],
    'nobody is connected',
  );
  readonly #commands = new Table(
    element('commands'),
    'Commands',
    [name('Command'), ...figures('In flight', 'Per second', 'Well', 'Failed', 'Before encoding', 'Ratio')],
    'there are none',
  );
  readonly #slow = new Table(
    element('slow'),
    'Slowest commands',
    [name('Command'), ...figures('Mean', 'Longest', 'Of it waiting', 'Requests')],
    'no request has ended',
  );
  readonly #trouble = new Table(
    element('trouble'),
    'Errors and limits',
    [name('What'), name('Code or limit'), ...figures('Times')],
    'none',
  );

  readonly #parts: readonly ((moment: Moment) => void)[] = [
    (moment) => this.#showTiles(moment),
    this.#line('throughput', (moment) => [
      { label: 'before encoding', value: moment.bytesIn },
      { label: 'on the wire', value: moment.bytesOut },
    ]),
    this.#line('ratio', (moment) => [{ label: 'ratio', value: moment.ratio }]),
    this.#line('requests', (moment) => [
      { label: 'ended a second', value: moment.requests },
      { label: 'in flight', value: moment.inFlight },
    ]),
    this.#line('cpu', (moment) => laneLines(moment, (lane) => lane.cpu)),
    this.#line('queue', (moment) => laneLines(moment, (lane) => lane.queuedBytes)),
    this.#line('lanes', (moment) => laneLines(moment, (lane) => lane.bytesIn)),
    ({ figures, lanes }) => this.#lanes.show(figures.lanes.map((row) => laneRow(row, lanes.get(row.lane)))),
    (moment) => this.#showStreams(moment),
    (moment) =>
      this.#commands.show(
        othersOf(moment.figures)
          .filter(isUsed)
          .map((row) => commandRow(row, moment)),
      ),
    ({ figures }) => this.#slow.show(figures.slowest.map(slowRow)),
    ({ figures }) => this.#trouble.show(troubles(figures)),
  ];
  /** The newest. */
  #moment: Moment | undefined;

  /** Each part in a task of its own, so that the page answers in between; a newer moment takes the place of the rest. */
  async show(moment: Moment): Promise<void> {
    this.#moment = moment;
    for (const part of this.#parts) {
      await nextTask();
      if (this.#moment !== moment) return;
      part(moment);
    }
  }

  /** Nothing was heard for a while. */
  gap(): void {
    for (const chart of Object.values(this.#charts)) chart.gap();
  }

  recolour(): void {
    for (const chart of Object.values(this.#charts)) chart.recolour();
  }

  #line(name: ChartName, lines: (moment: Moment) => Line[]) {
    return (moment: Moment) => this.#charts[name].add(moment.figures.atMs / 1000, lines(moment));
  }

  #showTiles(moment: Moment): void {
    for (const [title, text] of tilesOf(moment)) {
      let tile = this.#tiles.querySelector<HTMLElement>(`[data-title="${title}"] dd`);
      if (tile === null) {
        const box = document.createElement('div');
        box.dataset.title = title;
        const term = document.createElement('dt');
        term.textContent = title;
        tile = document.createElement('dd');
        box.append(term, tile);
        this.#tiles.append(box);
      }
      setText(tile, text);
    }
    const { connections } = moment.figures.watching;
    const who = `this page and others like it, on ${plural(connections, 'connection')}`;
    setText(element('watching'), `Not counted above: ${who}, are sent ${perSecond(moment.watching)}.`);
  }

  #showStreams(moment: Moment): void {
    const { peers, connections } = moment.figures;
    this.#streams.show(
      [...peers].sort((a, b) => a.connectionId - b.connectionId).flatMap((peer) => peerRows(peer, moment)),
    );
    setText(
      element('streams-note'),
      connections > peers.length ? `The ${peers.length} busiest of ${number(connections)}.` : '',
    );
  }
}

/** Resolves in another task than this. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => void after(0, resolve));
}

export function setText(where: HTMLElement, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}

function tilesOf(moment: Moment): [title: string, text: string][] {
  const { cache, contexts, output, profiles, input, lanes } = moment.figures;
  const frames = (profile: string) => profiles.find((row) => row.profile === profile)?.frames ?? 0;
  const encoded = frames('zstd-8mb') + frames('zstd-dict');
  return [
    ['Before encoding', perSecond(moment.bytesIn)],
    ['On the wire', perSecond(moment.bytesOut)],
    ['Ratio', ratio(moment.ratio)],
    ['Requests', `${number(moment.requests)}/s`],
    ['In flight', number(moment.inFlight)],
    ['Connections', number(moment.connections)],
    ['Received', perSecond(moment.received)],
    ['Lanes', number(lanes.length)],
    ['CPU, all threads', percent(moment.cpu)],
    ['Main thread at work', percent(moment.mainBusy)],
    ['Memory', bytes(moment.figures.process.memoryBytes)],
    ['Contexts', `${bytes(contexts.bytes)}, ${percent(contexts.bytes / contexts.limit)}`],
    ['Output that waits', bytes(output.bytes)],
    ['Input that is held', bytes(input.bytes)],
    ['Cache', bytes(cache.bytes)],
    ['Cache hits', hits(cache.hits, cache.hits + cache.misses)],
    ['Dictionary hits', hits(frames('zstd-dict'), encoded)],
  ];
}

function hits(count: number, of: number): string {
  return of === 0 ? NONE : `${percent(count / of)} of ${number(of)}`;
}

/** One line for each lane; where there are too many to be told apart, the busiest and the mean. */
function laneLines({ lanes }: Moment, read: (lane: LaneMoment) => number): Line[] {
  if (lanes.size <= MAX_LINES)
    return [...lanes].map(([lane, each]) => ({ label: `lane ${lane}`, value: read(each) }));
  const values = [...lanes.values()].map(read);
  return [
    { label: 'the most', value: Math.max(...values) },
    { label: 'mean', value: values.reduce((sum, value) => sum + value, 0) / values.length },
  ];
}

function laneRow(
  { lane, queuedBytes, memoryBytes, openStreams }: LiveFigures['lanes'][number],
  now?: LaneMoment,
): Row {
  const { bytesIn = 0, bytesOut = 0, cpu, busy } = now ?? {};
  return {
    cells: [
      `lane ${lane}`,
      perSecond(bytesIn),
      perSecond(bytesOut),
      ratio(now?.ratio),
      bytes(queuedBytes),
      percent(cpu),
      percent(busy),
      bytes(memoryBytes),
      number(openStreams),
    ],
  };
}

type Peer = LiveFigures['peers'][number];

function peerRows(
  { connectionId, remote, ageMs, running, watches, streams }: Peer,
  { peers }: Moment,
): Row[] {
  const who = `${connectionId}: ${remote}${watches ? ', watches' : ''}`;
  const sent = perSecond(peers.get(connectionId) ?? 0);
  const head = [who, '', '', '', '', '', duration(ageMs / 1000), '', '', sent, '', number(running)];
  return [{ head: true, cells: head }, ...streams.map(streamRow)];
}

function streamRow(stream: Peer['streams'][number]): Row {
  const { streamId, lane, profile, level, windowBytes, contextBytes, ageMs, frames, bytesOut, cpuSeconds } =
    stream;
  return {
    cells: [
      `stream ${streamId}`,
      profile,
      level === undefined ? NONE : String(level),
      size(windowBytes),
      size(contextBytes),
      ratio(ratioOf(stream)),
      duration(ageMs / 1000),
      lane < 0 ? NONE : String(lane),
      number(frames),
      bytes(bytesOut),
      `${number(cpuSeconds)} s`,
    ],
  };
}

type Command = LiveFigures['commands'][number];

function isUsed(row: Command): boolean {
  return row.running > 0 || over(row) > 0;
}

function commandRow(row: Command, { commands }: Moment): Row {
  const { command, running, codes, bytes: bytesIn, wireBytes: bytesOut } = row;
  const well = codes.ok ?? 0;
  return {
    cells: [
      command,
      number(running),
      number(commands.get(command) ?? 0),
      number(well),
      number(over(row) - well),
      bytes(bytesIn),
      ratio(ratioOf({ bytesIn, bytesOut })),
    ],
  };
}

function slowRow({ command, meanMs, mostMs, meanQueuedMs, requests }: LiveFigures['slowest'][number]): Row {
  const times = [meanMs, mostMs, meanQueuedMs].map(milliseconds);
  return { cells: [command, ...times, number(requests)] };
}

function troubles({
  commands,
  connectionTotals,
  limitsHit,
  contexts,
  input,
  laneRestarts,
  quarantine,
}: LiveFigures): Row[] {
  const failed = commands.flatMap(({ command, codes }) =>
    Object.entries(codes)
      // Whoever leaves the page cancels its figures.
      .filter(([code]) => command !== LIVE_COMMAND || code !== 'cancelled')
      .map(([code, times]) => [`requests of ${command}`, code, times] as const),
  );
  const rows: (readonly [what: string, code: string, times: number])[] = [
    ...failed,
    ...Object.entries(connectionTotals.closed).map(([code, times]) => ['connections', code, times] as const),
    ...Object.entries(limitsHit).map(([limit, times]) => ['limit reached', limit, times] as const),
    ['contexts not made', 'contextMemory', contexts.refused],
    ['contexts made smaller', 'contextMemory', contexts.shrunk],
    ['contexts given up', 'contextMemory', contexts.givenUp],
    ['requests refused', 'inputMemory', input.refused],
    ['requests cancelled', 'inputMemory', input.cancelled],
    ['lanes opened again', NONE, laneRestarts],
    ...quarantine
      .filter(({ state }) => state !== 'free')
      .map(({ kind, name }) => ['held', `${kind} ${name}`, 1] as const),
  ];
  return rows
    .filter(([, code, times]) => code !== 'ok' && times > 0)
    .map(([what, code, times]) => ({ cells: [what, code, number(times)] }));
}
