/** Reads capture files (format.ts), and believes nothing that is in them. */

import { constants } from 'node:buffer';
import { z } from 'zod';
import { linesOf } from '../options/lines.ts';
import { CAPTURE_VERSION, type CaptureRecord } from './format.ts';

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

/**
 * The responses of a capture, in the order in which their requests came. A last line that was cut off, because the
 * server was killed while it wrote, is left out.
 * @throws Error that names the line which is wrong.
 */
export async function* readCapture(path: string): AsyncGenerator<CapturedResponse> {
  const responses: CapturedResponse[] = [];
  let number = 0;
  let broken: Error | undefined;
  for await (const line of linesOf(path, constants.MAX_STRING_LENGTH)) {
    number++;
    if (broken !== undefined) throw broken;
    try {
      const value = JSON.parse(line?.toString() ?? '');
      if (number === 1) HEADER.parse(value);
      else responses.push(responseOf(RECORD.parse(value)));
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
