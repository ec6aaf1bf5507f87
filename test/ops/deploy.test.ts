/** What is shipped for machines: each file is what its reader takes, and names nothing that the server does not have. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { parse, parseAllDocuments } from 'yaml';
import { createServer } from '../../src/index.ts';
import { combine } from '../../src/ops/config.ts';
import { HEAP_FLAGS, serverEnvironment } from '../../src/ops/malloc.ts';
import { DEFINITIONS } from '../../src/ops/metric-table.ts';
import { HISTOGRAMS, Metrics } from '../../src/ops/metrics.ts';
import { SETTING_NAMES, variableOf } from '../../src/ops/settings.ts';
import { ROOT } from '../helpers/imports.ts';

const run = promisify(execFile);
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');

async function page(): Promise<string> {
  const server = createServer({ workers: 1 });
  const metrics = await Metrics.of(server);
  const text = await metrics.text();
  metrics.close();
  await server.close();
  return text;
}

/** Names that a page of metrics can have. */
async function realNames(): Promise<Set<string>> {
  const text = await page();
  const histograms = HISTOGRAMS.flatMap(([name]) => ['_bucket', '_sum', '_count'].map((part) => name + part));
  const ofAll = ['millrace_processes', 'millrace_process_restarts_total', 'up'];
  return new Set([
    ...[...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name),
    ...histograms,
    ...ofAll,
  ]);
}

const NAME = /\b(?:millrace|nodejs|process)_[a-z0-9_]+\b/g;

function namesIn(expressions: readonly string[]): Set<string> {
  return new Set(expressions.flatMap((each) => each.match(NAME) ?? []));
}

interface Rules {
  groups: {
    rules: { alert: string; expr: string; annotations: { summary: string }; labels: { severity: string } }[];
  }[];
}

interface Dashboard {
  panels: { title: string; targets: { expr: string }[] }[];
}

const rules = () => (parse(read('deploy/alerts.yaml')) as Rules).groups.flatMap(({ rules }) => rules);
const expressionsOf = ({ panels }: Dashboard) =>
  panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

test('dashboard and alert rules ask for metrics that there are, and the dashboard shows nearly all of them', async (t) => {
  const real = await realNames();
  const dashboard = expressionsOf(JSON.parse(read('deploy/dashboard.json')));
  const alerts = rules().map(({ expr }) => expr);
  t.true(dashboard.length > 15 && alerts.length > 8);
  const asked = namesIn([...dashboard, ...alerts]);
  t.deepEqual(
    [...asked].filter((name) => !real.has(name)),
    [],
  );
  const shown = namesIn(dashboard);
  const ours = DEFINITIONS.map(({ name }) => name);
  t.true(ours.filter((name) => shown.has(name)).length > ours.length / 2);
  for (const { alert, annotations, labels } of rules())
    t.truthy(annotations.summary && labels.severity, alert);
});

test('docs/operations.md has every metric, every channel and every signal', async (t) => {
  const page = read('docs/operations.md');
  for (const { name } of DEFINITIONS) t.true(page.includes(`\`${name}\``), name);
  for (const [name] of HISTOGRAMS) t.true(page.includes(`\`${name}\``), name);
  for (const [, name] of read('src/server/channels.ts').matchAll(/channel\('([\w:]+)'\)/g))
    t.true(page.includes(`\`${name}\``), name);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2']) t.true(page.includes(signal), signal);
  const unknown = [...namesIn([page])].filter((name) => name.startsWith('millrace_'));
  const real = await realNames();
  t.deepEqual(
    unknown.filter(
      (name) =>
        !real.has(name) &&
        !HISTOGRAMS.some(([each]) => each === name) &&
        name !== 'millrace_lane_utilization',
    ),
    [],
  );
});

/** A tool that may not be there: then the test says so, and passes. */
async function tool(t: ExecutionContext, name: string, ...args: string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await run(name, args, { cwd: ROOT });
    return stdout + stderr;
  } catch (error) {
    const { code, stderr = '', stdout = '' } = error as { code: unknown; stderr?: string; stdout?: string };
    if (code !== 'ENOENT') return `failed: ${stdout}${stderr}`;
    t.log(`${name} is not on this machine: its check is skipped`);
    return undefined;
  }
}

test('only counters have the name of one, as promtool would have it', async (t) => {
  const types = [...(await page()).matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  t.true(types.length > 40);
  for (const [, name, type] of types) t.is(name.endsWith('_total'), type === 'counter', `${name} ${type}`);
});

test('promtool takes the alert rules', async (t) => {
  const said = await tool(t, 'promtool', 'check', 'rules', 'deploy/alerts.yaml');
  t.regex(said ?? 'SUCCESS', /SUCCESS/);
});

test('haproxy takes its configuration', async (t) => {
  const said = await tool(t, 'haproxy', '-c', '-f', 'deploy/haproxy.cfg');
  t.regex(said ?? 'valid', /valid/);
});

test('systemd takes the unit, and finds little that it could still forbid', async (t) => {
  const unit = read('deploy/systemd/millrace.service');
  for (const line of [
    'Type=notify',
    'NotifyAccess=all',
    'DynamicUser=yes',
    'ProtectSystem=strict',
    'NoNewPrivileges=yes',
  ])
    t.true(unit.includes(`\n${line}\n`), line);
  t.regex(unit, /LimitNOFILE=\d+\n/);
  if (process.platform === 'linux')
    for (const [name, value] of Object.entries(serverEnvironment({})))
      t.true(unit.includes(`${name}=${value}`), name);
  t.true(unit.includes(`NODE_OPTIONS=${HEAP_FLAGS.join(' ')}`));
  const said = await tool(
    t,
    'systemd-analyze',
    'verify',
    'deploy/systemd/millrace.service',
    'deploy/systemd/millrace.socket',
  );
  const wrong = (said ?? '')
    .split('\n')
    .filter((line) => line.includes('millrace') && !line.includes('is not executable'));
  t.deepEqual(wrong, []);
  const score = await tool(
    t,
    'systemd-analyze',
    'security',
    '--offline=true',
    'deploy/systemd/millrace.service',
  );
  const exposure = /exposure level for millrace\.service: (\d+\.\d+)/.exec(score ?? '')?.[1];
  if (exposure === undefined) t.log('this systemd-analyze cannot look at files');
  else t.true(Number(exposure) < 2.5, exposure);
});

test('the manifests have what a rollout needs, and the settings in them can be', (t) => {
  const all = parseAllDocuments(read('deploy/kubernetes/millrace.yaml'), { uniqueKeys: true }).map(
    (document) => {
      t.deepEqual(document.errors, []);
      return document.toJS();
    },
  );
  const kind = (name: string) => all.find((each) => each.kind === name);
  t.deepEqual(all.map((each) => each.kind).sort(), [
    'ConfigMap',
    'Deployment',
    'HorizontalPodAutoscaler',
    'PodDisruptionBudget',
    'Service',
  ]);
  for (const each of all) t.truthy(each.apiVersion && each.metadata.name, each.kind);
  const { settings } = combine([
    { values: parse(kind('ConfigMap').data['millrace.yaml']), placeOf: () => 'map' },
  ]);
  const { spec } = kind('Deployment').spec.template;
  const [container] = spec.containers;
  const ports = Object.fromEntries(
    container.ports.map((port: { name: string; containerPort: number }) => [port.name, port.containerPort]),
  );
  t.deepEqual(ports, { millrace: settings.port ?? 7711, admin: settings.admin?.port });
  t.is(spec.enableServiceLinks, false, 'a Service called millrace would set MILLRACE_PORT');
  t.is(container.readinessProbe.httpGet.path, '/readyz');
  t.is(container.livenessProbe.httpGet.path, '/healthz');
  t.true(spec.securityContext.runAsNonRoot && container.securityContext.readOnlyRootFilesystem);
  const preStopMs = Number(/(\d{4,})/.exec(container.lifecycle.preStop.exec.command[2])?.[1]);
  t.true(
    preStopMs + (settings.grace ?? 5000) < spec.terminationGracePeriodSeconds * 1000,
    'it may finish before it is killed',
  );
  const { labels } = kind('Deployment').spec.template.metadata;
  for (const name of ['Service', 'PodDisruptionBudget']) {
    const { selector } = kind(name).spec;
    t.deepEqual(selector.matchLabels ?? selector, labels);
  }
  t.is(kind('HorizontalPodAutoscaler').spec.scaleTargetRef.name, kind('Deployment').metadata.name);
});

test('the image runs as nobody in particular, has a health check, and sets variables that there are', (t) => {
  const lines = read('deploy/Dockerfile').split('\n');
  const last = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM ')));
  t.true(last.includes('USER node'));
  t.true(last.some((line) => line.startsWith('HEALTHCHECK ')));
  t.true(last.some((line) => line.startsWith('ENTRYPOINT ["node"')));
  const variables = last.flatMap((line) => line.match(/\bMILLRACE_\w+/g) ?? []);
  t.true(variables.length > 1);
  const known = SETTING_NAMES.map(variableOf);
  t.deepEqual(
    variables.filter((name) => !known.includes(name)),
    [],
  );
  t.regex(last.join('\n'), /MALLOC_ARENA_MAX=2/);
});
