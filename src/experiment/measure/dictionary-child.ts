/**
 * A process that trains one dictionary and finds out what it brings: seconds of CPU in which the experiment's own thread
 * is there for a Ctrl-C.
 *
 * Arguments: a {@link TrainingTask} as JSON; standard input: responses as {@link unpackInput} takes them apart, first those to
 * train on; standard output: a {@link Training} as JSON.
 */

import { buffer } from 'node:stream/consumers';
import { DEFAULT_LEVEL, trainDictionary } from '../../encoding/dictionary/train.ts';
import { unpackInput } from '../process/input.ts';
import type { Benefit } from '../results/dictionaries.ts';
import { measureBenefit } from './dictionary.ts';

export interface TrainingTask {
  readonly size: number;
  /** How many of the responses are to train on; the others are to try it on. */
  readonly training: number;
}

export interface Training {
  /** The dictionary, in base64. */
  readonly dictionary: string;
  readonly benefit: Benefit;
}

// A terminal's Ctrl-C goes to all its processes: the experiment decides.
process.on('SIGINT', () => undefined);
const { size, training }: TrainingTask = JSON.parse(process.argv[2]);
const responses = unpackInput(await buffer(process.stdin));
const dictionary = trainDictionary(responses.slice(0, training), { size });
const benefit = measureBenefit(dictionary, responses.slice(training), DEFAULT_LEVEL);
const trained: Training = { dictionary: Buffer.from(dictionary).toString('base64'), benefit };
process.stdout.write(JSON.stringify(trained));
