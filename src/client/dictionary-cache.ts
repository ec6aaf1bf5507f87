/** Dictionaries that stay in a browser from one page to the next, by its Cache API. */

import type { DictionaryStore } from './dictionaries.ts';

const NAME = 'millrace-dictionaries';
/** Of all servers of the page's origin; the oldest go first. */
const MAX_ENTRIES = 32;

/** What we need of the browser's own: types of its scripts are not those of Node.js. */
interface Entries {
  match(key: string): Promise<Response | undefined>;
  put(key: string, value: Response): Promise<void>;
  keys(): Promise<readonly Request[]>;
  delete(key: Request): Promise<boolean>;
}

export interface Caches {
  open(name: string): Promise<Entries>;
}

/** Entries of one cache of the page's origin, each the bytes of one dictionary, by its ID. Nothing of it is ever fetched. */
export class DictionaryCache implements DictionaryStore {
  readonly #storage: Caches;

  /** Undefined where there is no Cache API: on pages that came by http: from another machine. */
  static here(): DictionaryCache | undefined {
    const { caches } = globalThis as { caches?: Caches };
    return caches && new DictionaryCache(caches);
  }

  constructor(storage: Caches) {
    this.#storage = storage;
  }

  async load(id: string): Promise<Uint8Array | undefined> {
    const cache = await this.#storage.open(NAME);
    const found = await cache.match(keyOf(id));
    return found && new Uint8Array(await found.arrayBuffer());
  }

  async save(id: string, bytes: Uint8Array): Promise<void> {
    const cache = await this.#storage.open(NAME);
    await cache.put(keyOf(id), new Response(bytes as Uint8Array<ArrayBuffer>));
    const keys = await cache.keys();
    // They are in the order in which they were put.
    for (const key of keys.slice(0, Math.max(0, keys.length - MAX_ENTRIES))) await cache.delete(key);
  }
}

/** A cache knows addresses only; this one is nobody's (RFC 2606). */
function keyOf(id: string): string {
  return `https://millrace.invalid/dictionary/${id}`;
}
