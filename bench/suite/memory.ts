/** What a connection and a context hold in resident memory, after a full garbage collection on the server. */
import type { Bench } from '../bench.ts';
import { figure } from '../figures.ts';
import { makePayloads, noteOf, type PayloadSpec } from '../payloads.ts';
import { Rig } from '../proc.ts';

/** Enough that what the heap still had free does not matter, counted after as many that are not counted. */
const IDLE_CONNECTIONS = 1500;
const BUSY_CONNECTIONS = 32;
const LEVELS = [1, 3, 9];

export const memory: Bench = {
  name: 'memory',
  describe: 'resident memory per idle connection, busy connection and context',
  async run({ quick, seed, progress }) {
    const payloads: PayloadSpec = { name: 'text32k', seed };
    const levels = quick ? [3] : LEVELS;
    progress(0, levels.length + 1, `${IDLE_CONNECTIONS} idle connections`);
    const idle = await perConnection(payloads, 3, IDLE_CONNECTIONS, false);
    const busy: { level: number; bytes: number }[] = [];
    for (const level of levels) {
      progress(
        1 + busy.length,
        levels.length + 1,
        `${BUSY_CONNECTIONS} connections that have answered, level ${level}`,
      );
      busy.push({ level, bytes: await perConnection(payloads, level, BUSY_CONNECTIONS, true) });
    }
    const kibibytes = (bytes: number) => Math.round(bytes / 1024);
    return {
      bench: 'memory',
      summary: `RSS of the server's process, garbage collected, divided by the connections that were added: ${IDLE_CONNECTIONS} idle, ${BUSY_CONNECTIONS} busy.`,
      payloads: [noteOf(makePayloads(payloads))],
      tables: [
        {
          title: 'Resident memory',
          columns: ['what', 'KiB'],
          rows: [
            ['idle connection, no open stream', kibibytes(idle)],
            ...busy.map(({ level, bytes }) => [
              `connection with one open stream, zstd level ${level}`,
              kibibytes(bytes),
            ]),
          ],
          note: 'A stream that is open holds its compression context; one response of 32 KiB went over each.',
        },
      ],
      charts: [],
      figures: [figure('memory.idle_connection', idle / 1024)],
      skipped: [],
      raw: { idle, busy },
    };
  },
};

async function perConnection(
  payloads: PayloadSpec,
  level: number,
  count: number,
  busy: boolean,
): Promise<number> {
  await using rig = await Rig.start({
    peer: 'millrace',
    payloads,
    options: { level, streams: 1 },
    connections: 8,
  });
  // The first connections also pay for code, pools and the heap's growth.
  if (busy) await rig.touch();
  const before = await rig.settledUsage();
  await rig.addConnections(count);
  if (busy) await rig.touch();
  const after = await rig.settledUsage();
  return (after.rss - before.rss) / count;
}
