/** What the tests of the file commands, of pull and of the command line share. */

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Destination } from '../../src/files/destination.ts';
import type { FileEntry } from '../../src/files/listing.ts';
import {
  CachedOutput,
  type CommandRequest,
  type Handler,
  type Output,
  TextOutput,
} from '../../src/reactor/command.ts';
import { renderTextOutput } from '../../src/wire/text-output.ts';

/** A new folder that is gone after the test. */
export function tempFolder(t: ExecutionContext<unknown>): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'millrace-test-')));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes files, and the folders that they need. */
export function fill(folder: string, files: Readonly<Record<string, string | Uint8Array>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}

/** Everything below a folder, with the contents of the files; folders that are empty have null. */
export function contents(folder: string): Record<string, string | null> {
  const found: Record<string, string | null> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(folder.length + 1);
    if (!entry.isDirectory()) found[name] = readFileSync(path, 'latin1');
    else if (readdirSync(path).length === 0) found[name] = null;
  }
  return found;
}

/** A request as a handler sees it. */
export function request(command: string, args: Readonly<Record<string, string>> = {}): CommandRequest {
  const encoded = new Map(Object.entries(args).map(([name, value]) => [name, Buffer.from(value)]));
  return {
    command,
    args: encoded,
    input: undefined,
    text: (name) => encoded.get(name)?.toString(),
    data: (async function* () {})(),
    signal: new AbortController().signal,
    principal: undefined,
    remote: 'unix',
    requestId: '1-1',
    draining: new AbortController().signal,
  };
}

export interface Answer {
  bytes: Buffer;
  lines: string[];
  cacheKeys: string[];
}

/** Runs a handler to its end. */
export async function run(handler: Handler, asked: CommandRequest): Promise<Answer> {
  const answer: Answer = { bytes: Buffer.alloc(0), lines: [], cacheKeys: [] };
  const result = await handler(asked);
  if (result !== undefined)
    for await (const output of isMany(result) ? result : [result]) await take(answer, output);
  return answer;
}

type Many = AsyncIterable<Output> | Iterable<Output>;

function isMany(result: Output | Many): result is Many {
  if (typeof result === 'string' || result instanceof Uint8Array) return false;
  return Symbol.iterator in result || Symbol.asyncIterator in result;
}

async function take(answer: Answer, output: Output): Promise<void> {
  if (output instanceof TextOutput) answer.lines.push(renderTextOutput(output.atoms));
  else if (output instanceof CachedOutput) {
    answer.cacheKeys.push(output.key);
    answer.bytes = Buffer.concat([answer.bytes, (await output.produce()) as Uint8Array]);
  } else if (typeof output === 'string' || output instanceof Uint8Array) {
    answer.bytes = Buffer.concat([answer.bytes, Buffer.from(output as Uint8Array)]);
  }
}

/** What a look finds at the place of an entry: its state, or why it cannot be there. */
export function lookedAt(destination: Destination, entry: FileEntry): unknown {
  let found: unknown;
  destination.look([entry], {
    onCurrent: () => {
      found = 'current';
    },
    onMissing: () => {
      found = 'missing';
    },
    onError: (_entry, error) => {
      found = error;
    },
  });
  return found;
}
