/** The traffic of an experiment: responses as a server sent them, or could have. */

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { firstIssue } from '../grid/issue.ts';

/** One response. */
export interface WorkloadResponse {
  /** What it answers; rows of the per-command table. */
  readonly command: string;
  /** What the policy `affinity` goes by; missing: the command. */
  readonly key?: string;
  /** Responses share contexts only within their connection (protocol D). */
  readonly connection: number;
  readonly bytes: Uint8Array;
  /** Where the handler's output was cut, when that is known; missing: it came in one piece. */
  readonly pieces?: readonly Piece[];
  /** When the request came and when the response was out, in milliseconds from the start of the capture. */
  readonly atMs?: number;
  readonly endMs?: number;
}

export interface Piece {
  /** Milliseconds after the request. */
  readonly afterMs: number;
  /** Bytes of it. */
  readonly length: number;
}

export interface Workload {
  /** Where it came from, as the user said it. */
  readonly sources: readonly string[];
  readonly responses: readonly WorkloadResponse[];
  /** Bytes of all responses. */
  readonly bytes: number;
  /** Digest of all that decides about sizes: two runs with the same one had the same traffic. */
  readonly sha256: string;
  /** All responses have the times of a capture. */
  readonly timed: boolean;
}

/** @throws Error when there is nothing to send. */
export function makeWorkload(sources: readonly string[], responses: readonly WorkloadResponse[]): Workload {
  const bytes = responses.reduce((sum, response) => sum + response.bytes.length, 0);
  if (bytes === 0) throw new Error(`${sources.join(', ')}: no response with any bytes in it`);
  const hash = createHash('sha256');
  for (const { command, key, connection, bytes, pieces, atMs, endMs } of responses) {
    hash.update(JSON.stringify([command, key, connection, bytes.length, pieces, atMs, endMs]));
    hash.update(bytes);
  }
  const timed = responses.every(({ atMs, endMs }) => atMs !== undefined && endMs !== undefined);
  return { sources, responses, bytes, sha256: hash.digest('hex').slice(0, 16), timed };
}

/** A workload as bytes: u32 length of a JSON head, the head, then the bytes of all responses. */
export function packWorkload({ sources, responses }: Workload): Buffer {
  const heads = responses.map(({ bytes, ...rest }) => ({ ...rest, length: bytes.length }));
  const head = Buffer.from(JSON.stringify({ sources, responses: heads }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, ...responses.map(({ bytes }) => bytes)]);
}

/** Most bytes of a packed workload's head: some 200 000 responses. */
const MAX_HEAD_BYTES = 16 << 20;
/** Most connections of a workload that came from elsewhere, as many as a server takes. */
const MAX_CONNECTIONS = 10_000;

const name = z.string().max(65_535);
const count = z.int().min(0);
const milliseconds = z.number().min(0).max(1e15);

const HEAD = z.strictObject({
  sources: z.array(name).max(10_000),
  responses: z.array(
    z
      .strictObject({
        command: name,
        key: name.optional(),
        connection: count,
        length: count,
        pieces: z.array(z.strictObject({ afterMs: milliseconds, length: count })).optional(),
        atMs: milliseconds.optional(),
        endMs: milliseconds.optional(),
      })
      .refine(
        ({ pieces, length }) => pieces === undefined || sumOf(pieces) === length,
        'pieces of another length',
      ),
  ),
});

function sumOf(pieces: readonly { length: number }[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** Takes apart what anybody may have put together. @throws Error when the bytes are not a workload's. */
export function unpackWorkload(packed: Buffer): Workload {
  const { sources, responses } = headOf(packed);
  let at = packed.length - sumOf(responses);
  const all = responses.map(({ length, ...rest }) => {
    at += length;
    return { ...rest, bytes: packed.subarray(at - length, at) };
  });
  return makeWorkload(sources, all);
}

function headOf(packed: Buffer): z.infer<typeof HEAD> {
  const length = packed.length < 4 ? Number.POSITIVE_INFINITY : packed.readUInt32LE(0);
  if (length > Math.min(MAX_HEAD_BYTES, packed.length - 4))
    throw new Error('not a workload: its head is too long');
  let content: unknown;
  try {
    content = JSON.parse(packed.toString('utf8', 4, 4 + length));
  } catch {
    throw new Error('not a workload: its head is not JSON');
  }
  const { success, data: head, error } = HEAD.safeParse(content);
  if (!success) throw new Error(`not a workload: ${firstIssue(error)}`);
  if (sumOf(head.responses) !== packed.length - 4 - length)
    throw new Error('not a workload: it has not the bytes that it says');
  if (new Set(head.responses.map(({ connection }) => connection)).size > MAX_CONNECTIONS)
    throw new Error(`not a workload: it has more than ${MAX_CONNECTIONS} connections`);
  return head;
}
