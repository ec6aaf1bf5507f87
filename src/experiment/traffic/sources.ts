/**
 * Where the traffic of an experiment comes from: a folder, a file of JSON lines, a capture of a running server, or a
 * seeded generator. A source is told from its name: `generate:KIND`, a folder, or a file by its first line.
 */

import { isUtf8 } from 'node:buffer';
import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, join, relative } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { isCaptureHeader, readCapture } from '../../capture/format.ts';
import { problemOf } from '../../files/paths.ts';
import { Random } from './random.ts';
import { RECORD_KINDS, type RecordKind, record } from './records.ts';
import { makeWorkload, type Workload, type WorkloadResponse } from './workload.ts';

export interface SourceOptions {
  /** Bytes of responses to take in all; every source gives its share, from its start. */
  readonly maxBytes: number;
  /** Seed of the generators, and of the order in which a folder's files are sent. */
  readonly seed: number;
  /** Field of a JSON line that names its command; without it all lines are of one. */
  readonly commandField?: string;
}

export const GENERATORS: readonly string[] = [...Object.keys(RECORD_KINDS), 'mixed'];

/** What is read, besides. */
export interface ReadSources {
  readonly workload: Workload;
  /** Whether there was more than `maxBytes`. */
  readonly cut: boolean;
}

/** @throws Error that names the source and what is wrong with it. */
export async function readSources(names: readonly string[], options: SourceOptions): Promise<ReadSources> {
  const share = Math.max(1, Math.floor(options.maxBytes / names.length));
  const responses: WorkloadResponse[] = [];
  let cut = false;
  let connections = 0;
  for (const name of names) {
    const taker = new Taker(share, connections);
    try {
      await readSource(name, options, taker);
    } catch (error) {
      throw new Error(`source ${name}: ${problemOf(error)}`, { cause: error });
    }
    responses.push(...taker.responses);
    cut ||= taker.full;
    // Two captures are two sets of connections; all else shares one.
    connections = taker.highestConnection;
  }
  return { workload: makeWorkload(names, responses), cut };
}

/** Collects responses until there are enough. */
class Taker {
  readonly responses: WorkloadResponse[] = [];
  readonly #maxBytes: number;
  readonly #firstConnection: number;
  #bytes = 0;
  full = false;
  highestConnection: number;

  constructor(maxBytes: number, firstConnection: number) {
    this.#maxBytes = maxBytes;
    this.#firstConnection = firstConnection;
    this.highestConnection = firstConnection;
  }

  /** False when there is no room for more; the first response is taken however large. */
  take(response: WorkloadResponse): boolean {
    if (this.#bytes > 0 && this.#bytes + response.bytes.length > this.#maxBytes) {
      this.full = true;
      return false;
    }
    const connection = this.#firstConnection + response.connection;
    this.highestConnection = Math.max(this.highestConnection, connection);
    this.responses.push({ ...response, connection });
    this.#bytes += response.bytes.length;
    return true;
  }
}

async function readSource(name: string, options: SourceOptions, taker: Taker): Promise<void> {
  if (name.startsWith('generate:')) return generate(name.slice('generate:'.length), options, taker);
  if (statSync(name).isDirectory()) return readFolder(name, options, taker);
  return readLines(name, options, taker);
}

/** Each file a response, its extension the command, in an order that the seed decides. */
function readFolder(root: string, { seed }: SourceOptions, taker: Taker): void {
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort((a, b) => (relative(root, a) < relative(root, b) ? -1 : 1));
  for (const path of new Random(seed).shuffle(paths)) {
    const command = extname(path).toLowerCase() || basename(path);
    if (!taker.take({ command, connection: 0, bytes: readFileSync(path) })) return;
  }
}

/** JSON lines, or a capture, which is JSON lines with a header. */
async function readLines(path: string, { commandField }: SourceOptions, taker: Taker): Promise<void> {
  // As Latin-1 every byte is one character: none is lost, and none of them a separator of Unicode's lines.
  const input = createReadStream(path, 'latin1');
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let number = 0;
  try {
    for await (const line of lines) {
      number++;
      if (number === 1 && isCaptureHeader(line)) return await readCaptureFile(path, taker);
      if (line.trim() === '') continue;
      const bytes = Buffer.from(line, 'latin1');
      if (!isUtf8(bytes)) throw new Error(`line ${number} is not text in UTF-8`);
      const command = commandField === undefined ? 'line' : commandOf(bytes.toString(), commandField, number);
      if (!taker.take({ command, connection: 0, bytes })) return;
    }
  } finally {
    lines.close();
  }
}

function commandOf(line: string, field: string, number: number): string {
  let value: unknown;
  try {
    value = JSON.parse(line)?.[field];
  } catch {
    throw new Error(`line ${number} is not JSON`);
  }
  if (typeof value === 'string' && value !== '') return value;
  throw new Error(`line ${number} has no text in its field '${field}'`);
}

async function readCaptureFile(path: string, taker: Taker): Promise<void> {
  for await (const response of readCapture(path)) if (!taker.take(response)) return;
}

/** Requests of `mixed`: many contacts, some orders, few pages, as front ends ask. */
const MIX: readonly (readonly [RecordKind, number])[] = [
  ['json200', 12],
  ['json900', 6],
  ['json4k', 2],
];

function generate(kind: string, { seed, maxBytes }: SourceOptions, taker: Taker): void {
  if (!GENERATORS.includes(kind)) {
    throw new Error(
      `no such generator; there are ${GENERATORS.map((each) => `generate:${each}`).join(', ')}`,
    );
  }
  const random = new Random(seed);
  const kinds = MIX.flatMap(([each, weight]) => Array<RecordKind>(weight).fill(each));
  for (let id = 1, bytes = 0; bytes <= maxBytes; id++) {
    const command = kind === 'mixed' ? random.pick(kinds) : (kind as RecordKind);
    const response = { command, connection: 0, bytes: Buffer.from(record(command, random, id)) };
    bytes += response.bytes.length;
    if (!taker.take(response)) return;
  }
}
