/**
 * Where the traffic of an experiment comes from: a folder, a file of JSON lines, a capture of a running server, or a
 * seeded generator. A source is told from its name: `generate:KIND`, a folder, or a file by its first line.
 */

import { isUtf8 } from 'node:buffer';
import { readdirSync, statSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { isCaptureHeader } from '../../capture/format.ts';
import { readCapture } from '../../capture/read.ts';
import { problemOf } from '../../files/paths.ts';
import { linesOf } from '../../options/lines.ts';
import { readRegularFile } from '../../options/regular-file.ts';
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

const GENERATORS: readonly string[] = [...Object.keys(RECORD_KINDS), 'mixed'];

/** What is read, besides. */
export interface ReadSources {
  readonly workload: Workload;
  /** Whether there was more than `maxBytes`. */
  readonly cut: boolean;
  /** What of folders could not be taken. */
  readonly skipped: readonly Skipped[];
}

/** A file or folder that is not part of the traffic, and why. */
export interface Skipped {
  readonly path: string;
  readonly error: string;
}

/** @throws Error that names the source and what is wrong with it. */
export async function readSources(names: readonly string[], options: SourceOptions): Promise<ReadSources> {
  const share = Math.max(1, Math.floor(options.maxBytes / names.length));
  const responses: WorkloadResponse[] = [];
  const skipped: Skipped[] = [];
  let cut = false;
  let connections = 0;
  for (const name of names) {
    const taker = new Taker(share, connections);
    try {
      await readSource(name, options, taker);
    } catch (error) {
      throw new Error(`source ${name}: ${problemOf(error)}`, { cause: error });
    }
    for (const response of taker.responses) responses.push(response);
    for (const each of taker.skipped) skipped.push(each);
    cut ||= taker.full;
    // Two captures are two sets of connections; all else shares one.
    connections = taker.highestConnection;
  }
  if (responses.length === 0 && skipped.length > 0) {
    const more = skipped.length > 1 ? `, and ${skipped.length - 1} more` : '';
    throw new Error(`nothing is left to take: ${skipped[0].path}: ${skipped[0].error}${more}`);
  }
  return { workload: makeWorkload(names, responses), cut, skipped };
}

/** Collects responses until there are enough. */
class Taker {
  readonly responses: WorkloadResponse[] = [];
  readonly skipped: Skipped[] = [];
  /** Bytes to take. */
  readonly maxBytes: number;
  readonly #firstConnection: number;
  #bytes = 0;
  full = false;
  highestConnection: number;

  constructor(maxBytes: number, firstConnection: number) {
    this.maxBytes = maxBytes;
    this.#firstConnection = firstConnection;
    this.highestConnection = firstConnection;
  }

  /** False when there is no room for more; the first response is taken however large. */
  take(response: WorkloadResponse): boolean {
    if (this.#bytes > 0 && this.#bytes + response.bytes.length > this.maxBytes) {
      this.full = true;
      return false;
    }
    const connection = this.#firstConnection + response.connection;
    this.highestConnection = Math.max(this.highestConnection, connection);
    this.responses.push({ ...response, connection });
    this.#bytes += response.bytes.length;
    return true;
  }

  /** Leaves out what is larger than all that is to be taken. */
  skipTooLarge(path: string): void {
    this.skipped.push({ path, error: `larger than the ${this.maxBytes} bytes that are taken of its source` });
  }
}

async function readSource(name: string, options: SourceOptions, taker: Taker): Promise<void> {
  if (name.startsWith('generate:')) return generate(name.slice('generate:'.length), options, taker);
  if (statSync(name).isDirectory()) return readFolder(name, options, taker);
  return readLines(name, options, taker);
}

/**
 * Each file a response, its extension the command, in an order that the seed decides. One that cannot be read, or is
 * larger than all that is to be taken, is skipped; where there are only such large ones, the smallest is taken.
 */
function readFolder(root: string, { seed }: SourceOptions, taker: Taker): void {
  const large: string[] = [];
  for (const path of new Random(seed).shuffle(filesBelow(root, taker))) {
    if (sizeOf(path) > taker.maxBytes) large.push(path);
    else if (!takeFile(path, taker)) break;
  }
  large.sort((a, b) => sizeOf(a) - sizeOf(b));
  if (taker.responses.every(({ bytes }) => bytes.length === 0)) takeFile(large.shift(), taker);
  for (const path of large) taker.skipTooLarge(path);
}

/** The paths of all files below a folder, in their order; links are none. @throws what the file system says of `root`. */
function filesBelow(root: string, taker: Taker): string[] {
  const files: string[] = [];
  const folders = [root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    try {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) folders.push(path);
        else if (entry.isFile()) files.push(path);
        else if (!entry.isSymbolicLink())
          taker.skipped.push({ path, error: entry.name.includes(NO_TEXT) ? NOT_UTF8 : 'not a file' });
      }
    } catch (error) {
      if (folder === root) throw error;
      taker.skipped.push({ path: folder, error: folder.includes(NO_TEXT) ? NOT_UTF8 : problemOf(error) });
    }
  }
  return files.sort();
}

/** False when there is no room for more; a file that cannot be read leaves as much as there was. */
function takeFile(path: string | undefined, taker: Taker): boolean {
  if (path === undefined) return true;
  let bytes: Uint8Array;
  try {
    bytes = readRegularFile(path);
  } catch (error) {
    taker.skipped.push({ path, error: path.includes(NO_TEXT) ? NOT_UTF8 : problemOf(error) });
    return true;
  }
  return taker.take({ command: extname(path).toLowerCase() || basename(path), connection: 0, bytes });
}

/** What stands in a name that is no text for what is none in it; such a file cannot be found by what came out. */
const NO_TEXT = '\ufffd';
const NOT_UTF8 = 'the name is not UTF-8';

/** 0 for what cannot be looked at: reading it says why. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** JSON lines, or a capture, which is JSON lines with a header. A line that is larger than all that is to be taken is skipped. */
async function readLines(path: string, { commandField }: SourceOptions, taker: Taker): Promise<void> {
  let number = 0;
  let first: string | undefined;
  let texts = 0;
  for await (const bytes of linesOf(path, taker.maxBytes)) {
    number++;
    if (bytes === undefined) {
      taker.skipTooLarge(`${path}: line ${number}`);
      continue;
    }
    if (!isUtf8(bytes)) throw new Error(`line ${number} is not text in UTF-8`);
    const line = bytes.toString();
    if (number === 1 && isCaptureHeader(line)) return await readCaptureFile(path, taker);
    const text = line.trim();
    if (text === '') continue;
    if (taker.responses.length === 0 && OPENINGS.includes(text))
      throw new Error(`line ${number} is '${text}': ${NO_LINES}`);
    first ??= text;
    texts++;
    const command = commandField === undefined ? 'line' : commandOf(line, commandField, number);
    if (!taker.take({ command, connection: 0, bytes })) return;
  }
  if (texts === 1 && isDocument(first ?? '')) throw new Error(`all of it is one line: ${NO_LINES}`);
}

/** With which a JSON document of many lines begins: an export, or an array of responses. */
const OPENINGS = ['{', '['];
const NO_LINES =
  "each response has to be a line of its own; jq -c '.[]' makes lines of an array, " +
  "jq -c '.log.entries[].response.content.text | fromjson?' of a HAR file";

/** Whether the only line that there is has many responses in it. */
function isDocument(line: string): boolean {
  return line.startsWith('[') || /^\{\s*"log"\s*:/.test(line);
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
  for await (const response of readCapture(path)) {
    if (response.bytes.length > taker.maxBytes)
      taker.skipTooLarge(`${path}: a response of '${response.command}'`);
    else if (!taker.take(response)) return;
  }
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
