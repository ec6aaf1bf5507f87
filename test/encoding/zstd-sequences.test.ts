import test from 'ava';
import { DecodeError } from '../../src/encoding/codec.ts';
import { FseTable } from '../../src/encoding/zstd-entropy.ts';
import {
  CodeTables,
  LITERAL_LENGTH_BASES,
  LITERAL_LENGTH_BITS,
  MATCH_LENGTH_BASES,
  MATCH_LENGTH_BITS,
  SEQUENCE_CODES,
  type SequenceCode,
} from '../../src/encoding/zstd-sequences.ts';

const CODES = Object.keys(SEQUENCE_CODES) as SequenceCode[];
const NOTHING = new Uint8Array(0);
const PREDEFINED = 0;
const RUN = 1;
const COMPRESSED = 2;
const REPEAT = 3;

test('lengths of the last codes are those of RFC 8878, and each code begins where the one before it ends', (t) => {
  t.deepEqual([LITERAL_LENGTH_BASES[0], LITERAL_LENGTH_BASES[16], LITERAL_LENGTH_BASES[35]], [0, 16, 65_536]);
  t.deepEqual([MATCH_LENGTH_BASES[0], MATCH_LENGTH_BASES[32], MATCH_LENGTH_BASES[52]], [3, 35, 65_539]);
  for (const [bases, bits] of [
    [LITERAL_LENGTH_BASES, LITERAL_LENGTH_BITS],
    [MATCH_LENGTH_BASES, MATCH_LENGTH_BITS],
  ])
    for (let code = 1; code < bases.length; code++)
      t.is(bases[code], bases[code - 1] + 2 ** bits[code - 1], String(code));
});

for (const code of CODES) {
  test(`the predefined table of ${code} has all its states, and none of a code that does not exist`, (t) => {
    const { log, frequencies, maxSymbol } = SEQUENCE_CODES[code];
    const states = frequencies.reduce((sum: number, each) => sum + Math.abs(each), 0);
    t.is(states, 2 ** log);
    t.true(frequencies.length <= maxSymbol + 1);
    const tables = new CodeTables(code);
    t.is(tables.select(PREDEFINED, NOTHING, 0, 0), 0);
    t.is(tables.table.log, log);
  });

  test(`a table of ${code} is repeated when there was one, of a block or of a dictionary, and refused when not`, (t) => {
    const tables = new CodeTables(code);
    t.throws(() => tables.select(REPEAT, NOTHING, 0, 0), { instanceOf: DecodeError });
    t.is(tables.select(RUN, Uint8Array.of(9, 1), 1, 2), 2);
    const { table } = tables;
    t.deepEqual([table.log, table.symbols[0]], [0, 1]);
    t.is(tables.select(REPEAT, NOTHING, 0, 0), 0);
    t.is(tables.table, table);
    tables.reset(undefined);
    t.throws(() => tables.select(REPEAT, NOTHING, 0, 0), { instanceOf: DecodeError });
    const dictionary = new FseTable(1, 1);
    tables.reset(dictionary);
    tables.select(REPEAT, NOTHING, 0, 0);
    t.is(tables.table, dictionary);
  });

  test(`a table of ${code} that is cut off is refused`, (t) => {
    const tables = new CodeTables(code);
    t.throws(() => tables.select(RUN, Uint8Array.of(1), 1, 1), { message: /cut off/ });
    t.throws(() => tables.select(COMPRESSED, Uint8Array.of(0x30), 0, 1), { instanceOf: DecodeError });
  });
}
