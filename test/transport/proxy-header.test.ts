// The header with which a proxy begins a connection: what the protocol's text has, to the byte, and nothing else.
import test from 'ava';
import { crc32c } from '../../src/transport/crc32c.ts';
import { type ProxyHeader, ProxyHeaderError, parseProxyHeader } from '../../src/transport/proxy-header.ts';
import { Random } from '../fuzz/random.ts';
import { binaryHeader, fact, LOCAL, TCP4, TCP6, UNIX, withChecksum } from '../helpers/proxy.ts';

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const parsed = (bytes: Uint8Array): ProxyHeader | undefined => parseProxyHeader(bytes)?.header;

/** Whole in its last byte and not before, whatever follows it. */
function isExactly(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++)
    if (parseProxyHeader(bytes.subarray(0, i)) !== undefined) return false;
  const followed = parseProxyHeader(Buffer.concat([bytes, latin1('more\r\n')]));
  return parseProxyHeader(bytes)?.length === bytes.length && followed?.length === bytes.length;
}

const LINES: Record<string, Partial<ProxyHeader>> = {
  'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n': {
    source: '192.0.2.1:56324',
    destination: '198.51.100.2:443',
  },
  'PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n': {
    source: '0.0.0.0:0',
    destination: '255.255.255.255:65535',
  },
  'PROXY TCP6 2001:db8::1 ::1 56324 443\r\n': { source: '2001:db8::1:56324', destination: '::1:443' },
  'PROXY TCP6 2001:DB8:0:0::1 ::FFFF:192.0.2.1 1 2\r\n': {
    source: '2001:db8::1:1',
    destination: '::ffff:192.0.2.1:2',
  },
  'PROXY UNKNOWN\r\n': {},
  'PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n': {},
};

for (const [line, expected] of Object.entries(LINES)) {
  test(`version 1: ${line.trimEnd()}`, (t) => {
    t.deepEqual(parsed(latin1(line)), { version: 1, ...expected, facts: [] });
    t.true(isExactly(latin1(line)));
  });
}

const LONG = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';

test('version 1: the longest line there can be is taken, and one byte more is not', (t) => {
  const longest = `PROXY UNKNOWN ${LONG} ${LONG} 65535 65535\r\n`;
  t.is(longest.length, 107);
  t.true(isExactly(latin1(longest)));
  t.throws(() => parsed(latin1(longest.replace('\r\n', '0\r\n'))), { message: /longer than 107 bytes/ });
  t.throws(() => parsed(latin1('PROXY '.padEnd(107, 'x'))), { message: /longer than 107 bytes/ });
});

for (const line of [
  'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n',
  'PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 5\r\n',
  'PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n',
  'PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n',
  'PROXY TCP4 ::1 ::1 56324 443\r\n',
  'PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n',
  'PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n',
  'PROXY TCP4 192.0.2.1 198.51.100.2 5e3 443\r\n',
  'PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n',
  'PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n',
  'PROXY \r\n',
  'PROXY\r\n',
  'proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n',
  ' PROXY UNKNOWN\r\n',
  'GET / HTTP/1.1\r\n',
  '\r\n\r\nGET',
]) {
  test(`version 1 is refused: ${JSON.stringify(line)}`, (t) => {
    t.throws(() => parsed(latin1(line)), { instanceOf: ProxyHeaderError });
  });
}

test('version 2: addresses of TCP over IPv4 and IPv6, of sockets, and none', (t) => {
  const tcp4 = binaryHeader(TCP4, [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb]);
  t.deepEqual(parsed(tcp4), {
    version: 2,
    source: '192.0.2.1:56324',
    destination: '198.51.100.2:443',
    facts: [],
  });
  const ip = [0x20, 0x01, 0x0d, 0xb8, ...Array(11).fill(0), 1];
  const tcp6 = binaryHeader(TCP6, [...ip, ...Array(15).fill(0), 1, 0xdc, 0x04, 0x01, 0xbb]);
  t.like(parsed(tcp6), { source: '2001:db8::1:56324', destination: '::1:443' });
  const unix = binaryHeader(UNIX, Array(216).fill(47));
  t.deepEqual(parsed(unix), { version: 2, facts: [] });
  t.deepEqual(parsed(binaryHeader(0x00, [])), { version: 2, facts: [] });
  for (const bytes of [tcp4, tcp6, unix]) t.true(isExactly(bytes));
});

test('version 2: a proxy that speaks for itself says nothing of anybody', (t) => {
  t.deepEqual(parsed(binaryHeader(0xff, [1, 2, 3], LOCAL)), { version: 2, facts: [] });
});

const ADDRESSES = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

test('version 2: facts come in their order; padding and a right checksum are left out', (t) => {
  const facts = [...fact(1, 'h2'), ...fact(4, 'xxx'), ...fact(2, 'mill.example'), ...fact(0xee, '')];
  const bytes = withChecksum(TCP4, [...ADDRESSES, ...facts]);
  t.true(isExactly(bytes));
  t.deepEqual(
    parsed(bytes)?.facts.map(({ type, value }) => [type, Buffer.from(value).toString()]),
    [
      [1, 'h2'],
      [2, 'mill.example'],
      [0xee, ''],
    ],
  );
});

test('version 2: every bit that the checksum covers counts', (t) => {
  t.is(crc32c(latin1('123456789')), 0xe3069283);
  const bytes = withChecksum(TCP4, [...ADDRESSES, ...fact(2, 'mill')]);
  for (let bit = 8 * 16; bit < 8 * bytes.length; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] ^= 1 << (bit & 7);
    // The checksum itself may become another fact; what it covers does not pass for what was sent.
    const isUnchecked = (header: ProxyHeader | undefined) => header?.facts.length === 2;
    try {
      t.true(isUnchecked(parsed(flipped)), `bit ${bit}`);
    } catch (error) {
      t.true(error instanceof ProxyHeaderError);
    }
  }
});

for (const [what, bytes] of Object.entries({
  'another version': binaryHeader(TCP4, ADDRESSES, 0x11),
  'another command': binaryHeader(TCP4, ADDRESSES, 0x22),
  'another family': binaryHeader(0x41, ADDRESSES),
  datagrams: binaryHeader(0x12, ADDRESSES),
  'a family without a transport': binaryHeader(0x10, ADDRESSES),
  'too few bytes for addresses': binaryHeader(TCP4, ADDRESSES.slice(1)),
  'a fact without a length': binaryHeader(TCP4, [...ADDRESSES, 2, 0]),
  'a fact that is cut off': binaryHeader(TCP4, [...ADDRESSES, 2, 0, 9, 1]),
  'a short checksum': binaryHeader(TCP4, [...ADDRESSES, ...fact(3, 'abc')]),
  'a wrong checksum': binaryHeader(TCP4, [...ADDRESSES, ...fact(3, 'abcd')]),
  'two checksums': binaryHeader(TCP4, [...ADDRESSES, ...fact(3, 'abcd'), ...fact(3, 'abcd')]),
  'more than 4 096 bytes': binaryHeader(TCP4, [...ADDRESSES, ...fact(4, 'x'.repeat(4066))]).subarray(0, 16),
})) {
  test(`version 2 is refused: ${what}`, (t) => {
    t.throws(() => parsed(bytes), { instanceOf: ProxyHeaderError });
  });
}

test('version 2: 4 096 bytes are taken', (t) => {
  t.true(parseProxyHeader(binaryHeader(TCP4, [...ADDRESSES, ...fact(4, 'x'.repeat(4065))]))?.length === 4096);
});

test('nothing throws anything else, or waits for more than a header can have', (t) => {
  const random = new Random(7);
  const good = [latin1(Object.keys(LINES)[0]), withChecksum(TCP4, [...ADDRESSES, ...fact(2, 'mill')])];
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.concat([random.pick(good), Buffer.alloc(4096)]);
    for (let flips = random.below(4); flips >= 0; flips--) bytes[random.below(80)] = random.below(256);
    try {
      t.truthy(parseProxyHeader(bytes));
    } catch (error) {
      if (!(error instanceof ProxyHeaderError)) throw error;
    }
  }
  t.pass();
});
