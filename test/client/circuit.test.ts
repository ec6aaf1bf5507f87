import test from 'ava';
import fc from 'fast-check';
import { Circuit, type CircuitOptions } from '../../src/client/circuit.ts';

const OPTIONS: CircuitOptions = {
  minBackoffMs: 100,
  maxBackoffMs: 1000,
  circuitFailures: 7,
  circuitOpenMs: 5000,
};
/** Close to 1, so that a delay is all that it may be. */
const most = () => 1 - 2 ** -53;

test('delays double from the first one up to their cap, and then the circuit opens', (t) => {
  const circuit = new Circuit(OPTIONS, most);
  const delays = Array.from({ length: 7 }, () => circuit.failed());
  t.deepEqual(delays, [100, 200, 400, 800, 1000, 1000, 5000]);
  t.is(circuit.state, 'open');
});

test('half-open: a failure opens it again at once, a success closes it and begins afresh', (t) => {
  const circuit = new Circuit({ ...OPTIONS, circuitFailures: 1 }, most);
  circuit.tryAgain();
  t.is(circuit.state, 'closed', 'what has not failed is not tried again');
  t.is(circuit.failed(), 5000);
  circuit.tryAgain();
  t.is(circuit.state, 'half-open');
  t.is(circuit.failed(), 5000);
  t.is(circuit.state, 'open');
  circuit.tryAgain();
  circuit.succeeded();
  t.deepEqual([circuit.state, circuit.failures], ['closed', 0]);
});

test('every delay is from half of what it is meant to be to all of it, whatever chance says', (t) => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.nat(2000),
      (random, failures) => {
        const circuit = new Circuit({ ...OPTIONS, circuitFailures: 5000 }, () => random);
        for (let i = 0; i < failures; i++) circuit.failed();
        const meant = Math.min(1000, 100 * 2 ** failures);
        const delay = circuit.failed();
        t.true(delay >= meant / 2 && delay <= meant, `${delay} for ${meant}`);
      },
    ),
  );
});
