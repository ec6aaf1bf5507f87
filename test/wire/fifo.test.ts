import test from 'ava';
import fc from 'fast-check';
import { Fifo } from '../../src/wire/fifo.ts';

test('a queue gives what it was given, in order, whatever is put in and taken in between', (t) => {
  const steps = fc.array(
    fc.oneof(fc.nat(3000), fc.constant('take'), fc.constant('take all'), fc.constant('clear')),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(steps, (all) => {
      const fifo = new Fifo<number>();
      let there: number[] = [];
      let next = 0;
      for (const step of all) {
        if (typeof step === 'number') {
          for (let i = 0; i < step; i++) {
            fifo.push(next);
            there.push(next++);
          }
        } else if (step === 'clear') {
          fifo.clear();
          there = [];
        } else {
          for (let left = step === 'take' ? Math.ceil(there.length / 2) : there.length; left > 0; left--)
            t.is(fifo.shift(), there.shift());
        }
        t.is(fifo.length, there.length);
        t.is(fifo.first, there[0]);
        t.deepEqual([...fifo], there);
      }
      if (there.length > 0) {
        fifo.replaceFirst(-1);
        t.is(fifo.shift(), -1);
      }
    }),
  );
  t.is(new Fifo().shift(), undefined);
});
