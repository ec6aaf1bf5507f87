/** Dictionaries that an experiment has trained, as `results.json` has them. */

import { z } from 'zod';
import { MAX_DICTIONARY_BYTES } from '../../wire/extensions.ts';
import { DICTIONARY_SIZE } from '../grid/cell.ts';

const figure = z.number().min(0).max(1e15);
const count = z.int().min(0);

/** What responses come to. */
const COST = z.object({
  /** Per response. */
  bytes: figure,
  /** Bytes of responses for one byte. */
  ratio: figure,
  /** CPU of the encoder, per response. */
  micros: figure,
});

export type Cost = z.infer<typeof COST>;

/** `none`: no context. `cold`: a connection's first ten responses. `kept`: one context for all. */
const COSTS = z.object({ none: COST, cold: COST, kept: COST });

export type Costs = z.infer<typeof COSTS>;

/** What a dictionary brings on responses that it was not trained on. */
const BENEFIT = z.object({
  without: COSTS,
  with: COSTS,
  /** Responses of one connection after which the dictionary has saved what it takes to send; missing: more than there are. */
  paidAfter: z.object({ none: count.optional(), kept: count.optional() }),
});

export type Benefit = z.infer<typeof BENEFIT>;

/** ID of a dictionary (protocol C9). */
export const DICTIONARY_ID = z.string().regex(/^[0-9a-f]{32}$/);

export const DICTIONARY = z.object({
  /** By which settings name it: the bytes that it was to have at most. */
  size: DICTIONARY_SIZE,
  /** Its bytes. */
  bytes: z.int().min(1).max(MAX_DICTIONARY_BYTES),
  id: DICTIONARY_ID,
  benefit: BENEFIT,
});

export type TrainedDictionary = z.infer<typeof DICTIONARY>;
