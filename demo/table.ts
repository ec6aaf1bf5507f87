/** The demo's result as people read it. */

import Table from 'cli-table3';
import { bytes, duration } from '../src/cli/show.ts';

interface Row {
  lane: number;
  frames: number;
  bytesIn: number;
  bytesOut: number;
  ratio: number;
  cpuSeconds: number;
}

export interface DemoResult {
  files: number;
  bytes: number;
  wireBytes: number;
  perRequestBytes: number;
  perFrameBytes: number;
  dictionaryBytes?: number;
  /** Every byte that was served has come, and nothing else. */
  identical: boolean;
  lanesUsed: number;
  seconds: number;
  streams: (Row & { stream: number })[];
  lanes: Row[];
}

const BARE = {
  chars: Object.fromEntries(
    ['top', 'bottom', 'left', 'right', 'mid', 'middle']
      .flatMap((side) => [
        side,
        `${side}-mid`,
        `${side}-left`,
        `${side}-right`,
        `mid-mid`,
        `left-mid`,
        `right-mid`,
      ])
      .map((name) => [name, '']),
  ),
  style: { head: [], border: [], 'padding-left': 0, 'padding-right': 3 },
};

/** The whole result as text, without a final line end. */
export function demoTable(result: DemoResult, { policy, level }: { policy: string; level: number }): string {
  const { files, identical, seconds, streams } = result;
  // One that has moved to another lane is begun afresh under its ID.
  const ids = new Set(streams.map(({ stream }) => stream));
  const count = ids.size === 1 ? '1 stream' : `${ids.size} streams`;
  const check = identical ? 'every byte is the same' : 'NOT THE SAME';
  return [
    `${files} files, ${bytes(result.bytes)}, over one connection in ${duration(seconds)}` +
      ` (${bytes(result.bytes / seconds)}/s); ${check}.`,
    '',
    comparison(result, `${count}, policy ${policy}, zstd level ${level}`),
    '',
    rows(result),
  ].join('\n');
}

function comparison(result: DemoResult, ours: string): string {
  const { wireBytes, perRequestBytes, perFrameBytes, dictionaryBytes } = result;
  const table = new Table({
    ...BARE,
    head: ['', 'bytes', 'ratio', ''],
    colAligns: ['left', 'right', 'right', 'left'],
  });
  const add = (name: string, size: number) => {
    const share = `${((100 * size) / perRequestBytes).toFixed(1)} %`;
    table.push([name, grouped(size), (result.bytes / size).toFixed(2), share]);
  };
  table.push(['the files themselves', grouped(result.bytes), '1.00', '']);
  add('one context per frame', perFrameBytes);
  add('one context per request', perRequestBytes);
  if (dictionaryBytes !== undefined) add('no contexts, a dictionary of 16 KiB', dictionaryBytes);
  add(ours, wireBytes);
  return trimmed(table.toString());
}

function rows({ lanes, streams }: DemoResult): string {
  const table = new Table({
    ...BARE,
    head: ['', 'frames', 'bytes in', 'bytes out', 'ratio', 'CPU'],
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right'],
  });
  for (const lane of lanes) {
    table.push([`lane ${lane.lane}`, ...figures(lane)]);
    for (const stream of streams.filter((one) => one.lane === lane.lane)) {
      table.push([`  stream ${stream.stream}`, ...figures(stream)]);
    }
  }
  return trimmed(table.toString());
}

function figures({ frames, bytesIn, bytesOut, ratio, cpuSeconds }: Row): string[] {
  const shown = bytesOut > 0 ? ratio.toFixed(2) : '–';
  return [grouped(frames), grouped(bytesIn), grouped(bytesOut), shown, duration(cpuSeconds)];
}

/** `1 234 567` */
function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ' ');
}

function trimmed(text: string): string {
  return text.replace(/ +$/gm, '');
}
