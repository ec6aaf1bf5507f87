/** Emulated cores, what a machine is like, and runs side by side. No test here asserts how fast anything is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type CpuFolder, cpuFolders, EmulatedCores, threadsOf } from '../../bench/cgroup.ts';
import { main, makeCommand } from '../../bench/command.ts';
import { compare, parseReport } from '../../bench/compare.ts';
import { cpuTicks, describeConditions, measureConditions, waitingIn } from '../../bench/conditions.ts';
import { figure } from '../../bench/figures.ts';
import { describeMachine } from '../../bench/machine.ts';
import type { Measurement } from '../../bench/proc.ts';
import { asJson, asText, failedRun, makeReport, type Report } from '../../bench/report.ts';
import { emulatedFigures } from '../../bench/suite/emulated.ts';
import { processIo } from '../../src/cli/io.ts';
import { isOneLine, run } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';

const bench = (...args: string[]) => run(args, '', main).ended;

test('cores are emulated by the cpu controller of version 1, beside the group that we are in', (t) => {
  const at = tempFolder(t);
  mkdirSync(join(at, 'cpu/job'), { recursive: true });
  const mounts = `cgroup ${at}/memory cgroup rw,memory 0 0\ncgroup ${at}/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n`;
  const home = join(at, 'cpu/job');
  t.deepEqual(cpuFolders(mounts, '3:memory:/x\n2:cpu,cpuacct:/job\n0::/\n'), [
    { version: 1, path: home, home },
  ]);
  // A path of outside a container.
  t.is(cpuFolders(mounts, '2:cpu,cpuacct:/docker/ab\n')[0]?.home, join(at, 'cpu'));
});

test('in version 2, by the groups above us that give their own a cpu controller', (t) => {
  const at = tempFolder(t);
  const home = join(at, 'user/session');
  mkdirSync(home, { recursive: true });
  writeFileSync(join(at, 'cgroup.subtree_control'), 'cpuset cpu memory\n');
  writeFileSync(join(at, 'user/cgroup.subtree_control'), 'cpu\n');
  writeFileSync(join(home, 'cgroup.subtree_control'), 'cpuset memory\n');
  const found = cpuFolders(`cgroup2 ${at} cgroup2 rw 0 0\n`, '0::/user/session\n');
  t.deepEqual(
    found.map(({ path }) => path),
    [join(at, 'user'), at],
  );
  t.true(found.every((each) => each.version === 2 && each.home === home));
});

test('where there is no right to emulate cores, the reason is one line', (t) => {
  t.is(EmulatedCores.prepare([]), 'this system has no cgroup with a cpu controller');
  const path = join(tempFolder(t), 'gone');
  const why = EmulatedCores.prepare([{ version: 1, path, home: path }]);
  t.is(why, `no right to make a cgroup in ${path} (ENOENT)`);
});

test('an emulated core is 1 ms of every 10, in either version; threads go back where they were', (t) => {
  for (const version of [1, 2] as const) {
    const path = tempFolder(t);
    const cores = prepare({ version, path, home: path });
    cores.hold(77, [77, 78]);
    const group = join(path, readdirSync(path).find((name) => name.startsWith('millrace-bench-'))!);
    const read = (name: string) => readFileSync(join(group, name), 'utf8');
    if (version === 1) {
      t.is(read('core-1/cpu.cfs_period_us'), '10000');
      t.is(read('core-1/cpu.cfs_quota_us'), '1000');
      t.is(read('core-1/tasks'), '78');
    } else {
      t.is(read('cgroup.procs'), '77');
      t.is(read('cgroup.subtree_control'), '+cpu');
      t.is(read('core-1/cgroup.type'), 'threaded');
      t.is(read('core-1/cpu.max'), '1000 10000');
      t.is(read('core-1/cgroup.threads'), '78');
    }
    cores[Symbol.dispose]();
    if (version === 1) t.is(readFileSync(join(path, 'tasks'), 'utf8'), '78');
    else t.is(readFileSync(join(path, 'cgroup.procs'), 'utf8'), '77');
  }
});

test('what a killed run left is removed by the next', (t) => {
  const path = tempFolder(t);
  // Above the highest process ID that Linux gives.
  mkdirSync(join(path, 'millrace-bench-99999999-0/core-0'), { recursive: true });
  mkdirSync(join(path, `millrace-bench-${process.pid}-x`));
  const cores = prepare({ version: 1, path, home: path });
  cores[Symbol.dispose]();
  t.false(existsSync(join(path, 'millrace-bench-99999999-0')));
  t.true(existsSync(join(path, `millrace-bench-${process.pid}-x`)));
});

function prepare(folder: CpuFolder): EmulatedCores {
  const cores = EmulatedCores.prepare([folder]);
  if (typeof cores === 'string') throw new Error(cores);
  return cores;
}

test('here: a thread is held while it is wanted, and nothing is left', async (t) => {
  const cores = EmulatedCores.prepare();
  if (typeof cores === 'string') {
    t.log(`not here: ${cores}`);
    return t.pass();
  }
  const program = spawn('sleep', ['60']);
  t.teardown(() => program.kill());
  await once(program, 'spawn');
  const groups = () => readFileSync(`/proc/${program.pid}/cgroup`, 'utf8');
  const before = groups();
  cores.hold(program.pid!, [program.pid!]);
  const group = /:(\/.*millrace-bench-.*)$/m.exec(groups())?.[1];
  t.truthy(group);
  cores[Symbol.dispose]();
  t.is(groups(), before);
});

test('workers are told from the threads that Node.js has by itself', (t) => {
  const proc = tempFolder(t);
  for (const [id, name] of [
    ['7', 'node-MainThread'],
    ['8', 'node-V8Worker'],
    ['9', 'WorkerThread'],
    ['12', 'WorkerThread'],
  ] as const) {
    mkdirSync(join(proc, 'task', id), { recursive: true });
    writeFileSync(join(proc, 'task', id, 'comm'), `${name}\n`);
  }
  const { pid, main, workers } = threadsOf(7, proc);
  t.deepEqual([pid, main, workers], [7, 7, [9, 12]]);
});

test('figures of emulated lanes: the worst step, ratios over one lane, and null where there is none', (t) => {
  const rounds = (...speeds: number[]) =>
    speeds.map((requestsPerSecond) => ({ requestsPerSecond }) as Measurement);
  const small = new Map([
    [1, rounds(100, 102)],
    [2, rounds(200, 204)],
    [4, rounds(190, 193.8)],
    [8, rounds(300, 306)],
  ]);
  const figures = emulatedFigures(small, new Map([...small, [8, rounds(400, 408)]]));
  const values = Object.fromEntries(figures.map(({ id, value }) => [id, value]));
  t.is(values['scaling.small_monotone']?.toFixed(4), '0.9500');
  t.is(values['scaling.small_4'], 1.9);
  t.is(values['scaling.small_8'], 3);
  t.is(values['scaling.frame32k_8'], 0.5);
  t.is(values['scaling.frame32k_12'], null);
  t.true(emulatedFigures().every(({ value }) => value === null));
});

const report = (...figures: Report['figures']): Report =>
  makeReport(describeMachine('x'), [{ ...failedRun('sample', ''), figures }], {
    quick: true,
    seed: 1,
    everything: false,
  });
const at = (id: string, value: number | null, min?: number, max?: number) =>
  report(figure(id, value, min === undefined || max === undefined ? undefined : { min, max }));

test('a difference counts when it exceeds the spread of the rounds; which way is better, the goal says', (t) => {
  const says = (a: Report[], b: Report[]) => compare(a, b)[0];
  const cpu = 'small.cpu_vs_ws';
  t.like(says([at(cpu, 0.1, 0.09, 0.11)], [at(cpu, 0.2, 0.15, 0.3)]), { ratio: 2, verdict: 'worse' });
  t.is(says([at(cpu, 0.2, 0.15, 0.3)], [at(cpu, 0.1, 0.09, 0.11)])?.verdict, 'better');
  t.is(says([at(cpu, 0.1, 0.09, 0.16)], [at(cpu, 0.2, 0.15, 0.3)])?.verdict, 'within the rounds');
  const speed = 'small.rps_vs_ws';
  t.is(says([at(speed, 10, 9, 11)], [at(speed, 20, 19, 21)])?.verdict, 'better');
  t.is(says([at(speed, 20, 19, 21)], [at(speed, 10, 9, 11)])?.verdict, 'worse');
  t.is(says([at(cpu, 0.1)], [at(cpu, 0.2)])?.verdict, 'one measurement');
  t.is(says([at(cpu, 0.1)], [at(cpu, null)])?.verdict, 'not compared');
  t.deepEqual(compare([at(cpu, null)], [at(cpu, null)]), []);
});

test('of several runs the median is compared, and the spread is that of them all', (t) => {
  const id = 'small.cpu_vs_ws';
  const [of] = compare([at(id, 1, 0.8, 1.1), at(id, 3), at(id, 2)], [at(id, 4), at(id, 5)]);
  t.like(of, {
    a: { value: 2, spread: [0.8, 3] },
    b: { value: 4.5, spread: [4, 5] },
    ratio: 2.25,
    verdict: 'worse',
  });
});

test('compare prints two files of --json side by side', async (t) => {
  const folder = tempFolder(t);
  const [a, b, other] = ['a.json', 'b.json', 'other.json'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(a, asJson(at('cache.cpu_vs_encode', 0.1, 0.09, 0.11)));
  writeFileSync(b, asJson(at('cache.cpu_vs_encode', 0.05, 0.04, 0.06)));
  writeFileSync(other, '{"figures":[{"id":7}]}');
  const { code, out: bytes } = await bench('compare', a, b);
  const out = Buffer.from(bytes, 'latin1').toString();
  t.is(code, 0);
  t.regex(out, /A: a\.json.*B: b\.json/);
  t.regex(out, /cache\.cpu_vs_encode.*0\.1 .*0\.09 … 0\.11.*0\.05 .*0\.04 … 0\.06.*0\.5 .*better/);
  isOneLine(t, await bench('compare', a, other), 2, /other\.json: not what --json writes/);
  isOneLine(t, await bench('compare', a, join(folder, 'gone')), 2, /gone/);
  isOneLine(t, await bench('compare', a), 2, /./);
  for (const text of ['', 'null', '[]', '{}', '{"figures":[null]}']) {
    t.throws(() => parseReport(text), { instanceOf: RangeError });
  }
});

test('ab: wrong arguments and a revision that is none are one line each', async (t) => {
  isOneLine(t, await bench('ab', 'HEAD', 'nonsense'), 2, /nonsense/);
  isOneLine(t, await bench('ab', 'HEAD', 'limit', '--turns', '0'), 2, /from 1 to 100/);
  isOneLine(t, await bench('ab'), 2, /./);
  const { code, err } = await bench('ab', '--quick', '--', '--no-such', 'limit');
  t.is(code, 1);
  t.regex(err, /there is no revision --no-such\n$/);
});

for (const args of [
  ['--quick', 'HEAD', 'limit'],
  ['HEAD', 'limit', '--quick'],
]) {
  test(`ab takes its own --quick, not that of the benches: ab ${args.join(' ')}`, async (t) => {
    const program = makeCommand(processIo());
    const ab = program.commands.find((command) => command.name() === 'ab')!;
    const taken: unknown[] = [];
    ab.action((...given) => void taken.push(...given.slice(0, 3)));
    await program.parseAsync(['node', 'bench', 'ab', ...args]);
    t.deepEqual(taken, ['HEAD', ['limit'], { quick: true, turns: 3 }]);
  });
}

test('what else a machine did is read from Linux, or not said', (t) => {
  const text = 'cpu  100 20 30 700 50 1 2 97 40 0\ncpu0 1 2 3\n';
  t.deepEqual(cpuTicks(text), { busy: 153, stolen: 97, all: 1000 });
  t.is(cpuTicks(''), undefined);
  t.is(waitingIn('some avg10=13.66 avg60=8.74 avg300=39.83 total=1\nfull avg10=0.00\n'), 13.66);
  t.is(waitingIn(''), undefined);
});

test('the machine is measured before the benches, and the report says what it is like', async (t) => {
  const conditions = await measureConditions();
  const { memoryNs, wakeUpUs, before } = conditions.begin;
  t.deepEqual(
    memoryNs.map(({ bytes }) => bytes),
    [256 << 10, 1 << 20, 4 << 20, 16 << 20],
  );
  t.true(memoryNs.every(({ ns }) => ns > 0));
  t.true(wakeUpUs.median > 0 && wakeUpUs.p99 >= wakeUpUs.median);
  t.true(before.load >= 0);
  const made = makeReport(describeMachine('x'), [], {
    quick: true,
    seed: 1,
    everything: false,
    conditions: conditions.end(),
  });
  t.true(asText(made).includes(describeConditions(made.conditions!)));
  t.like(JSON.parse(asJson(made)), { conditions: { before } });
});
