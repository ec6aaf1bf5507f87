/**
 * Six kinds of small responses, for what dictionaries are held against: seeded, each record alike its neighbours and no
 * two the same. Nothing in src knows them.
 */

import { Random } from '../src/experiment/traffic/random.ts';
import { record } from '../src/experiment/traffic/records.ts';

export const CORPORA = {
  json: (random: Random, i: number) => record('json900', random, i),
  stanzas: stanza,
  ticks: tick,
  dashboards: dashboard,
  logs: logLines,
  messages: message,
} as const satisfies Record<string, (random: Random, i: number) => string | Uint8Array>;
export type CorpusName = keyof typeof CORPORA;

/** `count` responses of a kind. */
export function corpus(name: CorpusName, count: number, seed = 1): Uint8Array[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, i) => Buffer.from(CORPORA[name](random, i) as string));
}

const list = (words: string) => words.split(' ');
const NAMES = list(
  'alpha amber anchor apex arrow atlas aurora basil beacon birch bolt breeze cargo cedar chord cinder cobalt comet coral crane delta drift ember falcon fern flint forge galaxy garnet glide grove harbor hazel helix indigo iris jade juniper kestrel lagoon laurel lumen maple marble meadow merlin nimbus noble nova oak onyx opal orbit otter pearl pine prism quartz quill raven reef ridge river sable sage sierra slate sparrow spruce summit swift tango thistle tide timber topaz umber vale vector velvet vista walnut willow wren zenith zephyr',
);
const WORDS = list(
  'access archive backend binary bindings bridge buffer build cache client codec common compiler config console control converter core daemon data debug device dictionary display driver editor engine event export extension file filter format frame framework game generic graph handler header helper image import index input interface kernel language layout library linear loader local logging manager memory message metadata model module monitor network object output package parser plugin policy pool printer process profile protocol provider proxy query reader record remote render report resource runtime sample scanner schema search secure server service session shared signal simple socket source static storage stream string support symbol system table task template terminal test text thread token tool trace transport tree update utility validator vector version viewer virtual widget wrapper writer',
);
const ARCHITECTURES = list('all amd64 arm64 armhf i386 ppc64el riscv64 s390x');
const SECTIONS = list('admin devel doc libs net perl python science sound text utils web x11');

const version = (r: Random) =>
  `${r.between(0, 12)}.${r.between(0, 40)}.${r.between(0, 20)}-${r.between(1, 9)}${r.unit() < 0.3 ? `+b${r.between(1, 4)}` : ''}`;
const packageName = (r: Random) => {
  const name = `${r.pick(NAMES)}-${r.pick(WORDS)}`;
  const kind = r.unit();
  return kind < 0.3 ? `lib${name}${r.between(0, 9)}` : kind < 0.45 ? `python3-${name}` : name;
};
const sentence = (r: Random, least: number, most: number) =>
  Array.from({ length: r.between(least, most) }, () => r.pick(WORDS)).join(' ');

function stanza(r: Random): string {
  const name = packageName(r);
  const source = packageName(r);
  const depends = Array.from({ length: r.between(1, 9) }, () => `${packageName(r)} (>= ${version(r)})`);
  const lines = [
    `Package: ${name}`,
    `Source: ${source}`,
    `Version: ${version(r)}`,
    `Installed-Size: ${r.between(12, 90_000)}`,
    `Maintainer: Maintainers of ${source} <team+${source}@tracker.example.org>`,
    `Architecture: ${r.pick(ARCHITECTURES)}`,
    `Depends: libc6 (>= 2.${r.between(14, 38)}), ${depends.join(', ')}`,
    ...(r.unit() < 0.4 ? [`Recommends: ${packageName(r)}, ${packageName(r)}`] : []),
    `Description: ${sentence(r, 3, 8)}`,
    `Homepage: https://${source}.example.org/`,
    `Description-md5: ${r.hex(32)}`,
    `Section: ${r.pick(SECTIONS)}`,
    `Priority: ${r.unit() < 0.9 ? 'optional' : 'extra'}`,
    `Filename: pool/main/${source[0]}/${source}/${name}_${version(r)}_amd64.deb`,
    `Size: ${r.between(2000, 40_000_000)}`,
    `SHA256: ${r.hex(64)}`,
  ];
  return `${lines.join('\n')}\n\n`;
}

function tick(r: Random, i: number): string {
  const price = r.between(1000, 90_000) / 100;
  const symbol = `${r.pick(NAMES).slice(0, 4).toUpperCase()}`;
  return JSON.stringify({
    type: 'tick',
    seq: 100_000 + i,
    sym: symbol,
    bid: price,
    ask: Number((price + r.between(1, 9) / 100).toFixed(2)),
    vol: 100 * r.between(1, 90),
    ts: 1_700_000_000_000 + i * 37 + r.between(0, 36),
    venue: r.pick(['XNYS', 'XNAS', 'BATS', 'ARCX', 'IEXG']),
  });
}

function dashboard(r: Random): string {
  const rows = Array.from({ length: r.between(18, 30) }, () => {
    const state = r.pick(['ok', 'ok', 'ok', 'warning', 'critical']);
    const host = `${r.pick(NAMES)}-${r.between(1, 40)}`;
    return `      <tr class="row row--${state}" data-host="${host}">
        <td class="cell cell--host"><a href="/hosts/${host}">${host}</a></td>
        <td class="cell cell--number">${(r.unit() * 100).toFixed(1)} %</td>
        <td class="cell cell--number">${r.between(100, 64_000)} MiB</td>
        <td class="cell"><span class="badge badge--${state}">${state}</span></td>
      </tr>`;
  });
  const owner = r.pick(NAMES);
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Fleet of ${owner} – dashboard</title>
  <link rel="stylesheet" href="/assets/dashboard-${'3f9ac1'}.css">
</head>
<body class="page page--dashboard">
  <header class="header"><h1>Fleet of ${owner}</h1><p>Updated <time>${new Date(1.7e12 + r.between(0, 1e9)).toISOString()}</time></p></header>
  <main>
    <table class="table table--hosts">
      <thead><tr><th>Host</th><th>CPU</th><th>Memory</th><th>State</th></tr></thead>
      <tbody>
${rows.join('\n')}
      </tbody>
    </table>
  </main>
  <footer class="footer"><a href="/help">Help</a> · <a href="/status">Status</a> · request ${r.hex(16)}</footer>
</body>
</html>
`;
}

function logLines(r: Random): string {
  let at = 1.7e12 + r.between(0, 1e10);
  const lines = Array.from({ length: r.between(4, 14) }, () => {
    at += r.between(1, 900);
    const time = new Date(at).toISOString();
    const ip = `10.${r.between(0, 255)}.${r.between(0, 255)}.${r.between(1, 254)}`;
    switch (r.between(0, 3)) {
      case 0:
        return `${time} INFO  [http-${r.between(1, 32)}] access: ${ip} "GET /api/v2/${r.pick(WORDS)}/${r.between(1, 99_999)} HTTP/1.1" ${r.pick([200, 200, 200, 304, 404])} ${r.between(120, 90_000)} ${r.between(1, 900)}ms`;
      case 1:
        return `${time} WARN  [pool-${r.between(1, 8)}] ${r.pick(NAMES)}.${r.pick(WORDS)}: connection to ${ip}:5432 took ${r.between(500, 9000)}ms, retrying (attempt ${r.between(1, 5)} of 5)`;
      case 2:
        return `${time} DEBUG [worker-${r.between(1, 16)}] ${r.pick(NAMES)}.${r.pick(WORDS)}: processed job id=${r.hex(8)}-${r.hex(4)}-${r.hex(4)} queue=${r.pick(NAMES)} duration=${r.between(1, 4000)}ms`;
      default:
        return `${time} ERROR [http-${r.between(1, 32)}] ${r.pick(NAMES)}.${r.pick(WORDS)}: request ${r.hex(16)} failed: upstream ${ip}:8443 returned ${r.pick([500, 502, 503])}`;
    }
  });
  return `${lines.join('\n')}\n`;
}

/** A message as protocol buffers have it: tagged fields, varints, fixed numbers, a few strings. */
function message(r: Random, i: number): Uint8Array {
  const out: number[] = [];
  const varint = (value: number) => {
    let left = value;
    for (; left > 127; left = Math.floor(left / 128)) out.push((left % 128) | 128);
    out.push(left);
  };
  const bytes = (field: number, content: Uint8Array | number[]) => {
    varint(field * 8 + 2);
    varint(content.length);
    out.push(...content);
  };
  const double = (field: number, value: number) => {
    varint(field * 8 + 1);
    out.push(...new Uint8Array(Float64Array.of(value).buffer));
  };
  varint(8);
  varint(5_000_000 + i);
  bytes(2, Buffer.from(`devices/${r.pick(NAMES)}/${r.pick(WORDS)}`));
  varint(3 * 8);
  varint(1_700_000_000 + 5 * i);
  for (let reading = r.between(3, 9); reading > 0; reading--) {
    bytes(
      4,
      Buffer.from(
        `${r.pick(['temperature', 'humidity', 'pressure', 'voltage', 'current'])}.${r.pick(['mean', 'max', 'min'])}`,
      ),
    );
    double(5, Math.round(r.unit() * 8000) / 64);
    varint(6 * 8);
    varint(r.between(0, 3));
  }
  bytes(7, Buffer.from(r.hex(24), 'hex'));
  bytes(8, Buffer.from(`fw-${r.between(1, 3)}.${r.between(0, 9)}.${r.between(0, 9)}`));
  return Uint8Array.from(out);
}
