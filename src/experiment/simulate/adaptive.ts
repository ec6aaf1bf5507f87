/** Whether the policy `adaptive` keeps its promise on some traffic: against every rung of its ladder, fixed. */

import { IDENTITY, ZSTD } from '../../encoding/profiles.ts';
import { ladderOf, RUNG_STREAMS, type Rung } from '../../lanes/adaptive.ts';
import { DEFAULT_FRAME_SIZE } from '../../wire/frame.ts';
import type { Cell } from '../grid/cell.ts';
import type { AdaptiveRow, AdaptiveTable } from '../results/results.ts';
import { inBits } from '../results/text.ts';
import { type LinkModel, type LinkSpeed, simulateAdaptive, simulateLink } from './links.ts';

/** A link that changes every so many seconds. */
const CHANGING: readonly number[] = [1e9, 1e8];
const TURN = 0.5;
/** Requests over a link: fewer would show the start alone, and of a changing one no change. */
const REQUESTS = 20_000;
const CHANGING_REQUESTS = 400_000;

/**
 * Simulates all links, in bits per second, with every rung of the ladder and with the policy.
 * `measure` tells what the simulation needs of a setting; it is asked once for each rung.
 */
export async function adaptiveTable(
  measure: (cell: Cell) => Promise<LinkModel>,
  links: readonly number[],
): Promise<AdaptiveTable> {
  const rungs = ladderOf(ZSTD);
  const models: LinkModel[] = [];
  for (const rung of rungs) models.push(await measure(cellOf(rung)));
  const row = (link: string, speed: LinkSpeed, requests: number): AdaptiveRow => {
    const asked = models.map((model) => ({ ...model, requests }));
    const fixed = asked.map((model) => simulateLink(model, speed).responsesPerSecond);
    const adaptive = simulateAdaptive(asked, speed).responsesPerSecond;
    return { link, fixed, adaptive, share: adaptive / Math.max(...fixed) };
  };
  const rows = links.map((speed) => row(inBits(speed), speed, REQUESTS));
  const changing = (seconds: number) => CHANGING[Math.floor(seconds / TURN) % CHANGING.length];
  rows.push(row(`${CHANGING.map(inBits).join(' and ')} by turns`, changing, CHANGING_REQUESTS));
  return { rungs: [...rungs], rows };
}

function cellOf(rung: Rung): Cell {
  const encoding = rung === 'plain' ? { profile: IDENTITY } : { profile: ZSTD, level: rung };
  return {
    ...encoding,
    streams: RUNG_STREAMS,
    policy: 'shared',
    frameSize: DEFAULT_FRAME_SIZE,
    coalesceMs: 0,
  };
}
