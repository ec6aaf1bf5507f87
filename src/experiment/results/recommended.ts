/** From the results of an experiment to a server's options. */

import { dirname, join } from 'node:path';
import { extraCodecs } from '../../encoding/extra.ts';
import { dictionaryIdNow } from '../../encoding/read-dictionary.ts';
import { readRegularFile } from '../../options/regular-file.ts';
import type { DictionaryOption } from '../../server/dictionaries.ts';
import type { ServerOptions } from '../../server/options.ts';
import { type Cell, dictionaryFile } from '../grid/cell.ts';
import { type Aim, readResults } from './results.ts';

/** The options that make a server run as a cell did; `placeOf`: where the dictionary of a size is. */
export function optionsOf(cell: Cell, placeOf: (size: number) => DictionaryOption): ServerOptions {
  const { profile, level, windowLog, tuning, contexts, dictionary } = cell;
  const { streams, policy, frameSize, coalesceMs } = cell;
  const isExtra = extraCodecs.codecs.some((codec) => codec.profile === profile);
  return {
    profile,
    ...(level !== undefined && { level }),
    ...(windowLog !== undefined && { windowLog }),
    ...(tuning !== undefined && { tuning }),
    contexts: contexts ?? 'kept',
    ...(dictionary !== undefined && { dictionaries: [placeOf(dictionary)] }),
    ...(isExtra && { codecs: [extraCodecs] }),
    streams,
    policy,
    frameSize,
    coalesceMs,
  };
}

/**
 * What `results.json` recommends for an aim. Its dictionary is beside it.
 * @throws Error when the file is not the results of an experiment, or recommends nothing, or another dictionary is there.
 */
export function recommendedOptions(path: string, aim: Aim): ServerOptions {
  const { recommendations, dictionaries = [] } = readResults(path);
  const recommendation = recommendations.find((each) => each.aim === aim);
  if (recommendation === undefined) throw new Error(`${path} recommends nothing for the aim '${aim}'`);
  return optionsOf(recommendation.cell, (size) => {
    const file = join(dirname(path), dictionaryFile(size));
    const bytes = readRegularFile(file);
    const { id } = dictionaries.find((each) => each.size === size) ?? {};
    if (dictionaryIdNow(bytes) !== id) throw new Error(`${file} is not the dictionary that ${path} is about`);
    return { bytes };
  });
}
