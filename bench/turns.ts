/**
 * Measuring several servers fairly on a noisy machine: all are up, one at a time has load, and they take turns round by
 * round, so that the n-th values of any two were measured close to each other and can be paired.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { BenchContext } from './bench.ts';
import type { LoadShape } from './load.ts';
import { type Measurement, Rig, type RigSpec } from './proc.ts';

export interface Contender {
  readonly label: string;
  readonly rig: RigSpec;
  readonly shape: LoadShape;
  /** Uncounted load before the first round, beyond the second or two that everything has. */
  readonly warmSeconds?: number;
  /** Uncounted responses before the first round, at least; missing: as many as come in that time. */
  readonly warmResponses?: number;
  /** What is done to it between that and the first round; disposed of at the end. */
  readonly prepare?: (rig: Rig) => Promise<Disposable>;
}

/**
 * Until it has served so many, a main thread runs code that is not compiled in full, and a response costs it twice as much:
 * where each one takes long, that is not over after a few seconds.
 */
export const COMPILED_AFTER = 20_000;

/** So long it takes at most, in seconds, however slow the machine. */
const LONGEST_WARM_UP = 60;

export interface Turns {
  readonly contenders: readonly Contender[];
  /** Rounds and seconds per window; with --quick the second of each pair. */
  readonly rounds: readonly [number, number];
  readonly seconds: readonly [number, number];
  /** Something else that takes a turn in each round. */
  readonly eachRound?: () => Promise<void>;
  /** A last turn for each contender, once its rounds are known. */
  readonly afterwards?: (contender: Contender, rig: Rig, rounds: readonly Measurement[]) => Promise<void>;
}

/** The measurements by label, in the order of the rounds. */
export async function takeTurns(
  { contenders, rounds, seconds, eachRound, afterwards }: Turns,
  { quick, progress }: BenchContext,
): Promise<ReadonlyMap<string, Measurement[]>> {
  const roundCount = rounds[quick ? 1 : 0];
  const windowSeconds = seconds[quick ? 1 : 0];
  const steps = contenders.length * (1 + roundCount + (afterwards ? 1 : 0));
  let done = 0;
  const say = (what: string) => progress(done++, steps, what);

  await using stack = new AsyncDisposableStack();
  const rigs: Rig[] = [];
  const results = new Map<string, Measurement[]>();
  for (const contender of contenders) {
    const { label, rig: spec, prepare } = contender;
    say(`starting ${label}`);
    const rig = stack.use(await Rig.start(spec));
    await warm(rig, contender, quick ? 0.8 : 2);
    if (prepare) stack.use(await prepare(rig));
    rigs.push(rig);
    results.set(label, []);
  }
  for (let round = 1; round <= roundCount; round++) {
    for (const [i, { label, shape }] of contenders.entries()) {
      say(`${label}, round ${round} of ${roundCount}`);
      results.get(label)!.push(await rigs[i]!.measure(shape, windowSeconds, 0.3));
      await delay(100);
    }
    await eachRound?.();
  }
  if (afterwards) {
    for (const [i, contender] of contenders.entries()) {
      say(`${contender.label}, the last turn`);
      await afterwards(contender, rigs[i]!, results.get(contender.label)!);
    }
  }
  return results;
}

async function warm(rig: Rig, contender: Contender, leastSeconds: number): Promise<void> {
  const { shape, warmSeconds = 0, warmResponses = 0 } = contender;
  const endsAtMs = performance.now() + LONGEST_WARM_UP * 1000;
  await rig.measure(shape, 0.2, warmSeconds + leastSeconds);
  let responses = 0;
  while (responses < warmResponses && performance.now() < endsAtMs)
    responses += (await rig.measure(shape, 1, 0)).requests;
}
