/**
 * `node test/soak/hold.ts [--connections 1000] [--rounds 2] [--budget MiB]`: so many peers ask for large responses and
 * never read a byte. What the server holds for them is bounded by their windows; says how much that is.
 */

import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { encodeFrame } from '../../src/wire/frame.ts';
import { commandFrames } from '../../src/wire/frames.ts';
import { encodeSenderSettings, encodeUtf8 } from '../../src/wire/payloads.ts';
import { StreamCursor } from '../helpers/frames.ts';
import { halted } from '../helpers/serving.ts';
import { mebibytes, ServerProcess } from './process.ts';

/** What each peer lets the server send, in bytes; half of the peers decode zstd. */
export const WINDOW = 64 * 1024;
/** Bytes of each response, and how many each peer asks for. */
const SIZE = 1 << 20;
const REQUESTS = 4;

export interface HoldFigures {
  connections: number;
  /** RSS of the server before and while they hold, in bytes, and after it has let go of them. */
  before: number;
  peak: number;
  after: number;
}

/**
 * Connects them, waits until the server is at rest, goes away and waits until the server has none of them any more; so many
 * times. `budget`: MiB for contexts.
 */
export async function holdConnections(
  connections: number,
  rounds = 1,
  budget?: number,
): Promise<HoldFigures[]> {
  const server = await ServerProcess.start(budget);
  const figures: HoldFigures[] = [];
  for (let i = 0; i < rounds; i++) figures.push(await holdRound(server, connections));
  await server.stop();
  return figures;
}

async function holdRound(server: ServerProcess, connections: number): Promise<HoldFigures> {
  const { rss: before } = await server.figures();
  const sockets: Socket[] = [];
  for (let i = 0; i < connections; i++) sockets.push(await silentPeer(server.port, i));
  while ((await server.figures()).connections < connections);
  const peak = await peakUntilRest(server);
  for (const socket of sockets) socket.resetAndDestroy();
  while ((await server.figures()).connections > 0) await delay(100);
  await peakUntilRest(server);
  const { rss: after } = await server.figures();
  return { connections, before, peak, after };
}

/** Waits until nothing more goes out: every handler waits, or has gone. The most RSS meanwhile, in bytes. */
async function peakUntilRest(server: ServerProcess): Promise<number> {
  let peak = 0;
  const written = async () => {
    const { rss, bytesWritten } = await server.figures();
    peak = Math.max(peak, rss);
    return bytesWritten;
  };
  await halted(written, () => delay(10));
  return peak;
}

async function silentPeer(port: number, i: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.pause();
  await new Promise((resolve) => socket.once('connect', resolve));
  const settings = encodeSenderSettings({
    requestWindow: WINDOW,
    connectionWindow: WINDOW,
    contentEncodings: i % 2 === 0 ? ['zstd-8mb'] : [],
    // Who knows pings and never reads one is taken for gone.
    extensions: ['credit'],
  });
  const begin = { requestId: 0, streamId: 1, streamFlags: 1, type: 9, flags: 0, payload: settings };
  const bytes: Uint8Array[] = [encodeFrame(begin)];
  const stream = new StreamCursor(1);
  stream.begun = true;
  for (let k = 0; k < REQUESTS; k++) {
    const args = [
      ['seed', encodeUtf8(String(i % 7))],
      ['size', encodeUtf8(String(SIZE))],
    ] as const;
    commandFrames(k % 2 === 0 ? 'fill' : 'here', args, false, 32_768, (type, flags, payload) =>
      bytes.push(stream.frame(2 * k + 1, type, flags, payload)),
    );
  }
  socket.write(Buffer.concat(bytes));
  return socket;
}

if (import.meta.main) {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { connections: text, rounds: text, budget: text } });
  const budget = values.budget === undefined ? undefined : Number(values.budget);
  const rounds = await holdConnections(
    Number(values.connections ?? 1000),
    Number(values.rounds ?? 2),
    budget,
  );
  for (const { connections, before, peak, after } of rounds) {
    const each = Math.round((peak - before) / connections / 1024);
    console.log(
      `${connections} connections that never read: RSS ${mebibytes(before)} MiB, with them at most ` +
        `${mebibytes(peak)} MiB (${each} KiB each), after them ${mebibytes(after)} MiB`,
    );
  }
  process.exit(0);
}
