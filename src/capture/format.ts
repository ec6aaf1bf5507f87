/**
 * The capture file: what `millrace serve --record FILE` writes and `millrace experiment FILE` reads.
 *
 * UTF-8 text, one JSON object per line. The first line is the header: `{"millraceCapture":1, "startedAt":
 * "2026-01-31T12:00:00.000Z", "note": …}`. Every other line is one response that went out whole:
 *
 * | key | what it is |
 * |---|---|
 * | `at` | milliseconds from the start of the recording to the end of the request's arguments |
 * | `connection` | number of the connection, 0 the first |
 * | `command` | the command's name |
 * | `key` | its affinity key, where its definition has one |
 * | `args` | bytes of each argument by name; never a value |
 * | `pieces` | `[after, length]` of each frame: milliseconds after `at`, bytes before encoding |
 * | `wire` | bytes that its frames took, headers included |
 * | `body` | the response in base64 |
 *
 * Private by nature: bodies are in clear. So the file is for its owner only (mode 0600), `:sensitive` requests and
 * sensitive commands are left out, argument values are left out, and recording stops at a size.
 */

import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { z } from 'zod';

export const CAPTURE_VERSION = 1;

const count = z.number().min(0);

const HEADER = z.object({ millraceCapture: z.literal(CAPTURE_VERSION), startedAt: z.string() });

const RECORD = z.object({
  at: count,
  connection: z.int().min(0),
  command: z.string(),
  key: z.string().optional(),
  args: z.record(z.string(), z.int().min(0)),
  pieces: z.array(z.tuple([count, z.int().min(0)])),
  wire: z.int().min(0),
  body: z.string(),
});

export type CaptureRecord = z.infer<typeof RECORD>;

/** A line of a capture, as a reader wants it. */
export interface CapturedResponse {
  readonly command: string;
  readonly key?: string;
  readonly connection: number;
  readonly bytes: Uint8Array;
  readonly pieces: readonly { readonly afterMs: number; readonly length: number }[];
  /** When the request came and when the last of the response left, in milliseconds from the start. */
  readonly atMs: number;
  readonly endMs: number;
}

/** The header line, without its end. */
export function captureHeader(startedAt: Date): string {
  return JSON.stringify({
    millraceCapture: CAPTURE_VERSION,
    startedAt: startedAt.toISOString(),
    note: 'Responses in clear: treat this file like the data that the server serves.',
  });
}

/** Whether a file that begins with this line is a capture of any version. */
export function isCaptureHeader(line: string): boolean {
  return line.startsWith('{"millraceCapture":');
}

/**
 * The responses of a capture, in the order in which their requests came. A last line that was cut off, because the
 * server was killed while it wrote, is left out.
 * @throws Error that names the line which is wrong.
 */
export async function* readCapture(path: string): AsyncGenerator<CapturedResponse> {
  const responses: CapturedResponse[] = [];
  let number = 0;
  let broken: Error | undefined;
  const lines = createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY });
  for await (const line of lines) {
    number++;
    if (broken !== undefined) throw broken;
    try {
      if (number === 1) HEADER.parse(JSON.parse(line));
      else responses.push(responseOf(RECORD.parse(JSON.parse(line))));
    } catch (error) {
      broken = new Error(`line ${number} is not of a capture of version ${CAPTURE_VERSION}`, {
        cause: error,
      });
      if (number === 1) throw broken;
    }
  }
  // Lines are in the order in which responses ended.
  yield* responses.sort((a, b) => a.atMs - b.atMs);
}

function responseOf({ at, connection, command, key, pieces, body }: CaptureRecord): CapturedResponse {
  const bytes = Buffer.from(body, 'base64');
  const last = pieces.at(-1)?.[0] ?? 0;
  if (pieces.reduce((sum, [, length]) => sum + length, 0) !== bytes.length) {
    throw new Error('the pieces are not those of the body');
  }
  return {
    command,
    ...(key !== undefined && { key }),
    connection,
    bytes,
    pieces: pieces.map(([afterMs, length]) => ({ afterMs, length })),
    atMs: at,
    endMs: at + last,
  };
}
