import test from 'ava';
import fc from 'fast-check';
import { decodeName, nameOf } from '../../src/wire/names.ts';
import { encodeUtf8 } from '../../src/wire/utf8.ts';

const ASCII = fc.string({ unit: 'binary-ascii', maxLength: 40 });

/** More names than are remembered, each several times. */
const NAMES = fc.array(ASCII, { minLength: 300, maxLength: 400 }).map((names) => [...names, ...names]);

test('a name is what its bytes say, whatever names came before it', (t) => {
  fc.assert(
    fc.property(NAMES, fc.nat(5), (names, start) => {
      for (const name of names) {
        const bytes = new Uint8Array([...new Uint8Array(start), ...encodeUtf8(name), 7]);
        t.is(decodeName(bytes, start, start + name.length), name);
      }
    }),
    { numRuns: 10 },
  );
});

test('names that differ in one byte, or in length, are never taken for each other', (t) => {
  for (let i = 0; i < 128; i++)
    for (const name of [`get${String.fromCharCode(i)}`, 'get', `${String.fromCharCode(i)}get`])
      t.is(nameOf(encodeUtf8(name)), name);
});

test('what is not ASCII is no name of an argument, and is shown as UTF-8 where it is a command', (t) => {
  for (const text of ['ä', 'größe', '\u{1F600}', `${'x'.repeat(30)}é`]) {
    const bytes = encodeUtf8(text);
    t.is(decodeName(bytes, 0, bytes.length), undefined);
    t.is(nameOf(bytes), text);
  }
});
