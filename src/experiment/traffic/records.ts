/**
 * JSON records as an API returns them: orders of a shop with ids, names, times, floats and nested lists. Tuned so that
 * the 900-byte kind has these ratios: in one context that lives on,
 * 3.66 with zstd level 3 and 3.71 with zlib level 6; in a fresh zstd context per record about 1.65. What decides
 * between the two libraries is how far apart things repeat: zlib remembers 32 KiB, zstd 2 MiB.
 */
import { Random } from './random.ts';

const list = (words: string) => words.split(' ');
const FIRST = list(
  'Ada Alan Barbara Bjarne Carol Claude Dana Dennis Edith Edsger Frances Fred Grace Guido Hedy Hugo Ingrid Ivan Jean John Karen Ken Leslie Linus Margaret Maurice Niklaus Nina Olga Oscar Peter Petra Radia Ralph Sofia Shafi Tony Tilda Ulrich Ursula Vera Vint Whitfield Wanda Xavier Xenia Yukihiro Yvonne Zoe Zeno',
);
const LAST = list(
  'Abelson Allen Backus Bartik Cerf Clarke Dijkstra Diffie Estrin Engelbart Floyd Feinler Goldberg Goldwasser Hamilton Hopper Iverson Ichbiah Johnson Jacobson Karp Knuth Lamport Liskov Lovelace McCarthy Milner Naur Nygaard Ousterhout Perlis Perlman Rabin Ritchie Shannon Shaw Sutherland Tarjan Thompson Turing Ullman Valiant Wilkes Wing Wirth Yao Yu Zuse',
);
const CITY = list(
  'Aarhus Basel Cordoba Dresden Eindhoven Florence Geneva Hamburg Innsbruck Jena Krakow Lisbon Malmo Nantes Oslo Porto Rennes Seville Turin Utrecht Vienna Warsaw Zagreb Zurich',
);
const STREET = list('Station Mill Church Garden Market Bridge River School Castle Harbour Forest Meadow');
const ADJECTIVE = list(
  'compact durable foldable heavy-duty insulated lightweight magnetic modular padded portable precision reusable ribbed smooth stackable waterproof',
);
const NOUN = list(
  'backpack bottle bracket cable charger clamp compass cushion drill flashlight hammock helmet kettle lantern notebook pump ruler sleeve stove tent toolbox tripod vise wrench',
);
const COLOUR = list(
  'amber black blue cream graphite green navy olive orange red sand silver teal violet white yellow',
);
const STATUS = list('pending paid packed shipped delivered returned');
const TAG = list(
  'gift express fragile export invoice newsletter priority reseller return vip wholesale winter',
);

const CUSTOMER_ID_DIGITS = 16;
const ORDER_ID_DIGITS = 20;
const TRACE_DIGITS = 32;
/** Out of a hundred orders, by customers who are among the known ones. */
const RETURNING_PERCENT = 10;
const KNOWN_CUSTOMERS = 2000;
/** The knob for zstd's lead over zlib: the more products, the rarer one comes again within 2 MiB. */
const PRODUCTS_ON_SALE = 8500;

const START = Date.UTC(2024, 0, 1);
const moment = (r: Random) => START + r.between(0, 63_000_000) * 1000 + r.between(0, 999);
const iso = (milliseconds: number) => new Date(milliseconds).toISOString();
const money = (r: Random) => r.between(199, 49_999) / 100;

function person(r: Random) {
  const first = r.pick(FIRST);
  const last = r.pick(LAST);
  return {
    name: `${first} ${last}`,
    email: `${first}.${last}${r.between(1, 99)}@example.${r.pick(['com', 'org', 'net'])}`.toLowerCase(),
  };
}

function product(r: Random) {
  const noun = r.pick(NOUN);
  return {
    sku: `${noun.slice(0, 3).toUpperCase()}-${r.between(10_000, 99_999)}`,
    title: `${r.pick(ADJECTIVE)} ${noun}, ${r.pick(COLOUR)}`,
    unitPrice: money(r),
  };
}

function customer(r: Random) {
  return {
    id: `cus_${r.hex(CUSTOMER_ID_DIGITS)}`,
    ...person(r),
    phone: `+${r.between(30, 49)} ${r.between(100, 999)} ${r.between(100_000, 9_999_999)}`,
    address: {
      street: `${r.pick(STREET)} Street ${r.between(1, 240)}`,
      city: r.pick(CITY),
      postalCode: `${r.between(10_000, 99_999)}`,
      location: { lat: r.between(360_000, 600_000) / 1e4, lon: r.between(-90_000, 240_000) / 1e4 },
    },
  };
}

/** What the shop sells and who bought before: things come again, at a distance, as in a real database. */
const SHOP = new Random(1);
const PRODUCTS = Array.from({ length: PRODUCTS_ON_SALE }, () => product(SHOP));
const CUSTOMERS = Array.from({ length: KNOWN_CUSTOMERS }, () => customer(SHOP));

/** About 200 bytes. */
function contact(r: Random, id: number) {
  return {
    id,
    key: r.hex(12),
    ...person(r),
    city: r.pick(CITY),
    locale: r.pick(['en-GB', 'de-DE', 'fr-FR']),
    active: r.between(0, 9) > 1,
    score: r.between(0, 9999) / 100,
    seenAt: iso(moment(r)),
  };
}

/** About 900 bytes. */
function order(r: Random, number: number) {
  const items = Array.from({ length: r.between(2, 4) }, () => ({
    ...r.pick(PRODUCTS),
    quantity: r.between(1, 9),
  }));
  const buyer = r.between(0, 99) < RETURNING_PERCENT ? r.pick(CUSTOMERS) : customer(r);
  const createdAt = moment(r);
  const id = `ord_${r.hex(ORDER_ID_DIGITS)}`;
  return {
    id,
    number,
    status: r.pick(STATUS),
    createdAt: iso(createdAt),
    updatedAt: iso(createdAt + r.between(1, 86_400) * 1000),
    customer: buyer,
    items,
    channel: r.pick(['web', 'app', 'shop']),
    taxIncluded: true,
    currency: r.pick(['EUR', 'EUR', 'EUR', 'CHF', 'GBP', 'DKK']),
    total: Math.round(items.reduce((sum, each) => sum + each.quantity * each.unitPrice, 0) * 100) / 100,
    links: { self: `/v1/orders/${id}`, customer: `/v1/customers/${buyer.id}` },
    tags: Array.from({ length: r.between(0, 3) }, () => r.pick(TAG)),
    trace: r.hex(TRACE_DIGITS),
  };
}

/** About 4 KiB: what a list endpoint returns. */
function page(r: Random, id: number) {
  return {
    page: id,
    cursor: r.hex(32),
    items: Array.from({ length: 4 }, (_, i) => order(r, id * 4 + i)),
    contact: contact(r, id),
    total: r.between(5_000, 6_000),
  };
}

export const RECORD_KINDS = { json200: contact, json900: order, json4k: page };
export type RecordKind = keyof typeof RECORD_KINDS;

/** Record `id` of a kind as UTF-8 JSON text. */
export function record(kind: RecordKind, random: Random, id: number): string {
  return JSON.stringify(RECORD_KINDS[kind](random, id));
}
