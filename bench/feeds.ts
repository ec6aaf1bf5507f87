/** Messages of a topic, as feeds have them: each is much like the ones before. */
import { Random } from '../src/experiment/traffic/random.ts';

export const FEEDS = ['records', 'ticks', 'dashboard'] as const;
export type FeedName = (typeof FEEDS)[number];

/** Makes message 0, 1, 2 … of a feed; the same for the same seed. */
export function makeFeed(name: FeedName, seed: number): () => Buffer {
  const random = new Random(seed);
  if (name === 'ticks') return () => Buffer.from(tick(random));
  if (name === 'records') return () => Buffer.from(record(random));
  const rows = Array.from(
    { length: 60 },
    (_, i) => [`service-${i}`, random.between(10, 900)] as [string, number],
  );
  return () => Buffer.from(dashboard(rows, random));
}

const SYMBOLS = ['ALDR', 'BIRC', 'CEDR', 'ELMS', 'FIRX', 'LRCH', 'MAPL', 'OAKS', 'PINE', 'WLLW'];

/** About 139 bytes. */
function tick(random: Random): string {
  const price = (random.between(1000, 99_999) / 100).toFixed(2);
  const at = new Date(1_790_000_000_000 + random.between(0, 1e9)).toISOString();
  return `{"type":"tick","symbol":"${random.pick(SYMBOLS)}","price":"${price}","size":${random.between(1, 500)},"side":"${random.pick(['buy', 'sell'])}","venue":"XNAS","currency":"EUR","at":"${at}"}`;
}

/** 268 bytes. */
function record(random: Random): string {
  const text = JSON.stringify({
    id: random.u32(),
    type: 'order.updated',
    account: `acct_${random.hex(12)}`,
    status: random.pick(['open', 'filled', 'cancelled']),
    price: random.between(1000, 99_999) / 100,
    quantity: random.between(1, 10_000),
    venue: random.pick(SYMBOLS),
    trace: random.hex(16),
  });
  return `${text}${' '.repeat(Math.max(0, 268 - text.length))}`.slice(0, 268);
}

/** About 6.6 KB, of which a few figures change from one to the next. */
function dashboard(rows: [string, number][], random: Random): string {
  for (let i = 0; i < 6; i++) random.pick(rows)[1] += random.between(-5, 5);
  const shown = rows.map(
    ([name, value]) =>
      `<tr class="service"><td class="name">${name}</td><td class="p99">${value} ms</td><td class="state">healthy</td></tr>\n`,
  );
  return `<table class="dashboard"><caption>All services</caption>\n${shown.join('')}</table>`;
}
