/** From the results of an experiment to a server's options. */

import { extraCodecs } from '../../encoding/extra.ts';
import type { ServerOptions } from '../../server/options.ts';
import type { Cell } from '../grid/cell.ts';
import { type Aim, readResults } from './results.ts';

/** The options that make a server run as a cell did. */
export function optionsOf(cell: Cell): ServerOptions {
  const { profile, level, windowLog, tuning, streams, policy, frameSize, coalesceMs } = cell;
  const isExtra = extraCodecs.codecs.some((codec) => codec.profile === profile);
  return {
    profile,
    ...(level !== undefined && { level }),
    ...(windowLog !== undefined && { windowLog }),
    ...(tuning !== undefined && { tuning }),
    ...(isExtra && { codecs: [extraCodecs] }),
    streams,
    policy,
    frameSize,
    coalesceMs,
  };
}

/**
 * What `results.json` recommends for an aim.
 * @throws Error when the file is not the results of an experiment, or recommends nothing.
 */
export function recommendedOptions(path: string, aim: Aim): ServerOptions {
  const { recommendations } = readResults(path);
  const recommendation = recommendations.find((each) => each.aim === aim);
  if (recommendation === undefined) throw new Error(`${path} recommends nothing for the aim '${aim}'`);
  return optionsOf(recommendation.cell);
}
