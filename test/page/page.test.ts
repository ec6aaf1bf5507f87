/** What the live page makes of schemas and figures. */

import test from 'ava';
import { z } from 'zod';
import { operationDocument } from '../../src/doors/openapi.ts';
import { argumentsIn, operationsIn } from '../../src/page/fields.ts';
import { type Moment, momentOf } from '../../src/page/moments.ts';
import { CommandTable } from '../../src/server/commands.ts';
import type { LiveFigures } from '../../src/server/live-figures.ts';

// The fields by which the live page asks for a command's arguments.

const input = z.object({
  size: z.coerce.number().int().min(1).max(9).describe('how many'),
  weight: z.number(),
  how: z.enum(['plain', 'fancy']),
  loud: z.boolean().optional(),
  name: z.string().default('nobody'),
});

test('each argument of a typed command has the field that suits its schema', (t) => {
  const commands = new CommandTable();
  commands.add('typed', { handler: () => '', args: input, mode: 'ro' });
  commands.add('untyped', () => '');
  const [typed, untyped] = operationsIn(operationDocument({ commands }, '') as never);
  t.deepEqual(untyped, { name: 'untyped', changes: true, fields: undefined });
  t.is(typed?.changes, false);
  const [size, weight, how, loud, name] = typed?.fields ?? [];
  t.like(size, { name: 'size', kind: 'number', required: true, min: 1, max: 9, step: 1, hint: 'how many' });
  t.like(weight, { kind: 'number', required: true, min: undefined, step: undefined });
  t.like(how, { kind: 'choice', required: true, choices: ['plain', 'fancy'] });
  t.like(loud, { kind: 'choice', required: false, choices: ['true', 'false'] });
  t.like(name, { kind: 'text', required: false, hint: '(nobody without it)' });
});

test('arguments of any other command are lines, and the line that is none is told', (t) => {
  t.deepEqual(argumentsIn('a=1\n\n b =x=y \nc='), { a: '1', b: 'x=y ', c: '' });
  for (const line of ['nothing', '=1'])
    t.throws(() => argumentsIn(`a=1\n${line}`), { message: `'${line}' is no argument: name=value` });
});

// What the live page makes of two looks at a server's figures.

const NOTHING_WATCHED = { connections: 1, bytesRead: 0, bytesWritten: 0, frames: 0, bytesIn: 0, bytesOut: 0 };

function figures(atMs: number, change: Partial<LiveFigures> = {}): LiveFigures {
  const some = {
    atMs,
    process: { id: 1, cpuSeconds: 0, busySeconds: 0, memoryBytes: 0, uptimeSeconds: atMs / 1000 },
    lanes: [],
    connections: 1,
    connectionTotals: { opened: 1, closed: {}, bytesRead: 0, bytesWritten: 0 },
    commands: [],
    profiles: [],
    peers: [],
    slowest: [],
    watching: NOTHING_WATCHED,
  };
  return { ...some, ...change } as unknown as LiveFigures;
}

const lane = (cpuSeconds: number, bytesIn: number, bytesOut: number) =>
  ({
    lane: 0,
    cpuSeconds,
    busySeconds: 0,
    queuedBytes: 7,
    bytesIn,
    bytesOut,
  }) as LiveFigures['lanes'][number];
const profile = (bytesIn: number, bytesOut: number) => ({
  profile: 'zstd-8mb',
  frames: 1,
  bytesIn,
  bytesOut,
});
const command = (name: string, running: number, ok: number) =>
  ({ command: name, running, codes: { ok }, bytes: 0, wireBytes: 0 }) as const;

test('figures per second are of the time that has really passed', (t) => {
  const before = figures(1000, { profiles: [profile(1000, 100)], lanes: [lane(1, 1000, 100)] });
  const now = figures(5000, { profiles: [profile(9000, 2100)], lanes: [lane(3, 9000, 2100)] });
  const moment = momentOf(before, now) as Moment;
  t.like(moment, { bytesIn: 2000, bytesOut: 500, ratio: 4 });
  t.deepEqual(moment.lanes.get(0), {
    bytesIn: 2000,
    bytesOut: 500,
    ratio: 4,
    cpu: 0.5,
    busy: 0,
    queuedBytes: 7,
  });
});

test('who looks is not counted: neither their bytes, nor their requests, nor their connections', (t) => {
  const watching = {
    connections: 2,
    bytesRead: 50,
    bytesWritten: 300,
    frames: 9,
    bytesIn: 400,
    bytesOut: 250,
  };
  const before = figures(0, { commands: [command('server.stats', 2, 0), command('echo', 0, 0)] });
  const now = figures(1000, {
    connections: 3,
    connectionTotals: { opened: 3, closed: {}, bytesRead: 80, bytesWritten: 1300 },
    profiles: [profile(1400, 450)],
    commands: [command('server.stats', 2, 5), command('echo', 1, 6)],
    watching,
  });
  const moment = momentOf(before, now) as Moment;
  t.like(moment, {
    received: 30,
    sent: 1000,
    bytesIn: 1000,
    bytesOut: 200,
    requests: 6,
    inFlight: 1,
    connections: 1,
  });
  t.is(moment.watching, 300);
  t.deepEqual([...moment.commands.keys()], ['echo']);
});

test('a lane that was opened again counts from nothing, and a server that was started again not at all', (t) => {
  const before = figures(1000, { lanes: [lane(9, 9000, 9000)] });
  const moment = momentOf(before, figures(2000, { lanes: [lane(0.5, 100, 50)] })) as Moment;
  t.like(moment.lanes.get(0), { cpu: 0.5, bytesIn: 100, bytesOut: 50 });
  const { process } = before;
  t.is(momentOf(before, figures(2000, { process: { ...process, id: 2 } })), undefined);
  t.is(momentOf(before, figures(2000, { process: { ...process, uptimeSeconds: 0 } })), undefined);
  t.is(momentOf(before, before), undefined);
});

test('without a byte there is no ratio', (t) => {
  t.is((momentOf(figures(0), figures(1000)) as Moment).ratio, undefined);
});
