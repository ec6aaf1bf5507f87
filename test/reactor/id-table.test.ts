import test from 'ava';
import fc from 'fast-check';
import { IdTable } from '../../src/reactor/id-table.ts';

/** Few IDs, so that they meet, of which many have the same home in a small table. */
const ids = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(1, 65, 129, 257, 1025, 32769, 65535));
const steps = fc.array(fc.record({ id: ids, deletes: fc.boolean() }), { maxLength: 300 });

test('an ID table holds what a Map would hold, whatever is set and deleted in whichever order', (t) => {
  fc.assert(
    fc.property(steps, (plan) => {
      const table = new IdTable<number>();
      const map = new Map<number, number>();
      plan.forEach(({ id, deletes }, step) => {
        if (deletes) t.is(table.delete(id), map.delete(id));
        else {
          table.set(id, step);
          map.set(id, step);
        }
        t.is(table.size, map.size);
        t.is(table.get(id), map.get(id));
        t.is(table.has(id), map.has(id));
      });
      const inOrder = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b);
      t.deepEqual(inOrder(table.ids()), inOrder(map.keys()));
      t.deepEqual(inOrder(table.values()), inOrder(map.values()));
    }),
  );
});

test('an ID may have undefined attached, and is there all the same', (t) => {
  const table = new IdTable<string | undefined>();
  t.false(table.has(7));
  table.set(7, undefined);
  t.true(table.has(7));
  t.is(table.get(7), undefined);
  t.is(table.size, 1);
});

test('a table may be emptied while its values are gone through', (t) => {
  const table = new IdTable<number>();
  for (let id = 1; id < 200; id += 2) table.set(id, id);
  const seen: number[] = [];
  for (const id of table.values()) {
    table.delete(id);
    seen.push(id);
  }
  t.is(seen.length, 100);
  t.is(table.size, 0);
  table.set(1, 1);
  table.clear();
  t.false(table.has(1));
  t.deepEqual(table.values(), []);
});
