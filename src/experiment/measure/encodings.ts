/** What concerns an encoding alone, whatever the streams; measured once for all cells that share it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { CodecModule } from '../../encoding/codec.ts';
import { type Encoding, encodingKey } from '../grid/cell.ts';
import type { Workload } from '../traffic/workload.ts';
import type { EncodingFacts, EncodingTask } from './encoding-child.ts';

/** Enough to fill the windows that levels up to 12 choose; what is larger shows what the traffic fills of it. */
const FED_BYTES = 5 << 20;

/** For glibc: larger blocks come from the system and go back to it at once, so that a context's show, and all of them. */
const MALLOC = { MALLOC_MMAP_THRESHOLD_: '16384', MALLOC_TRIM_THRESHOLD_: '0', MALLOC_ARENA_MAX: '1' };

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const CHILD = fileURLToPath(new URL(`encoding-child.${EXTENSION}`, import.meta.url));

export class EncodingMeter {
  readonly #input: Buffer;
  readonly #codecs: EncodingTask['codecs'];
  readonly #known = new Map<string, Promise<EncodingFacts>>();

  constructor(workload: Workload, codecs: readonly CodecModule[]) {
    this.#input = pack(workload);
    this.#codecs = codecs.map(({ url, export: name }) => ({ url, export: name }));
  }

  /**
   * Measures before it is asked for, so many encodings at a time: memory needs no quiet machine, and what HTTP takes is
   * to be compared with servers that have other threads beside them, too. What cannot be had is left for
   * {@link facts} to say.
   */
  async prepare(encodings: readonly Encoding[], atOnce: number, signal?: AbortSignal): Promise<void> {
    const queue = [...encodings];
    const work = async () => {
      for (let each = queue.shift(); each !== undefined; each = queue.shift()) {
        if (signal?.aborted) return;
        await this.facts(each).catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
  }

  /** @throws Error when the encoding cannot be had. */
  facts(encoding: Encoding): Promise<EncodingFacts> {
    const key = encodingKey(encoding);
    const facts = this.#known.get(key) ?? this.#measure(encoding);
    this.#known.set(key, facts);
    return facts;
  }

  async #measure(encoding: Encoding): Promise<EncodingFacts> {
    const contextBytes = await this.#ask('contextBytes', encoding, MALLOC);
    const http = await this.#ask('http', encoding, {});
    return { contextBytes, http };
  }

  async #ask<K extends keyof EncodingFacts>(
    what: K,
    { profile, level, windowLog, tuning }: Encoding,
    env: NodeJS.ProcessEnv,
  ): Promise<EncodingFacts[K]> {
    const task: EncodingTask = { what, profile, level, windowLog, tuning, codecs: this.#codecs };
    const child = spawn(process.execPath, ['--expose-gc', CHILD, JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let out = '';
    let problem = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      problem = (problem + text).slice(-2000);
    });
    child.stdin.on('error', () => undefined); // It ended without reading all: its exit code says why.
    child.stdin.end(this.#input);
    const [code] = await once(child, 'close');
    if (code !== 0)
      throw new Error(/^\w*Error.*$/m.exec(problem)?.[0] ?? `measuring contexts failed (${code})`);
    return JSON.parse(out);
  }
}

function pack({ responses }: Workload): Buffer {
  const parts: Uint8Array[] = [];
  let total = 0;
  for (const { bytes } of responses) {
    if (total >= FED_BYTES) break;
    const part = bytes.subarray(0, FED_BYTES - total);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(part.length);
    parts.push(head, part);
    total += part.length;
  }
  return Buffer.concat(parts);
}
