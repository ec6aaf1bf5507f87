/** What concerns an encoding alone, whatever the streams; measured once for all cells that share it. */

import type { CodecModule } from '../../encoding/codec.ts';
import { type Encoding, encodingKey, withoutMemory } from '../grid/cell.ts';
import { packInput } from '../process/input.ts';
import { moduleBeside, runModule } from '../process/run.ts';
import type { Workload } from '../traffic/workload.ts';
import type { EncodingFacts, EncodingTask } from './encoding-child.ts';
import type { DictionariesBySize } from './train.ts';

/** Enough to fill the windows that levels up to 12 choose; what is larger shows what the traffic fills of it. */
const FED_BYTES = 5 << 20;

/** For glibc: larger blocks come from the system and go back to it at once, so that a context's show, and all of them. */
const MALLOC = { MALLOC_MMAP_THRESHOLD_: '16384', MALLOC_TRIM_THRESHOLD_: '0', MALLOC_ARENA_MAX: '1' };

const CHILD = moduleBeside(import.meta.url, 'encoding-child');

export class EncodingMeter {
  readonly #responses: readonly Uint8Array[];
  readonly #codecs: EncodingTask['codecs'];
  readonly #dictionaries: DictionariesBySize;
  /** By encoding. */
  readonly #contextBytes = new Map<string, Promise<number>>();
  readonly #http = new Map<string, Promise<EncodingFacts['http']>>();

  constructor(
    workload: Workload,
    codecs: readonly CodecModule[],
    dictionaries: DictionariesBySize = new Map(),
  ) {
    this.#responses = fed(workload);
    this.#codecs = codecs.map(({ url, export: name }) => ({ url, export: name }));
    this.#dictionaries = dictionaries;
  }

  /**
   * Measures before it is asked for, `atOnce` encodings at a time: memory needs no quiet machine, and what HTTP takes is
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
  async facts(encoding: Encoding): Promise<EncodingFacts> {
    const contextBytes = await once(this.#contextBytes, encoding, () =>
      this.#ask('contextBytes', encoding, MALLOC),
    );
    const alone = withoutMemory(encoding);
    const http = await once(this.#http, alone, () => this.#ask('http', alone, {}));
    return { contextBytes, http };
  }

  async #ask<K extends keyof EncodingFacts>(
    what: K,
    { profile, level, windowLog, tuning, contexts, dictionary: size }: Encoding,
    env: NodeJS.ProcessEnv,
  ): Promise<EncodingFacts[K]> {
    const dictionary = size === undefined ? undefined : this.#dictionaries.get(size)?.bytes;
    const task: EncodingTask = {
      what,
      ...{ profile, level, windowLog, tuning, codecs: this.#codecs },
      contextFree: contexts === 'none',
      hasDictionary: dictionary !== undefined,
    };
    const input = packInput([...(dictionary === undefined ? [] : [dictionary]), ...this.#responses]);
    const options = { flags: ['--expose-gc'], input, env };
    return JSON.parse(await runModule(CHILD, [JSON.stringify(task)], options));
  }
}

/** What was found out about an encoding, or is being. */
function once<T>(known: Map<string, Promise<T>>, encoding: Encoding, find: () => Promise<T>): Promise<T> {
  const key = encodingKey(encoding);
  const found = known.get(key) ?? find();
  known.set(key, found);
  return found;
}

/** The first responses, as much as contexts are fed with. */
function fed({ responses }: Workload): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let left = FED_BYTES;
  for (const { bytes } of responses) {
    if (left <= 0) break;
    parts.push(bytes.subarray(0, left));
    left -= bytes.length;
  }
  return parts;
}
