/** Dictionaries that stay in a folder from one connection to the next. */

import { randomUUID } from 'node:crypto';
import { open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { dictionaryIdNow } from '../encoding/read-dictionary.ts';
import { makeFolder } from '../files/folder.ts';
import { MAX_DICTIONARY_BYTES } from '../wire/payloads.ts';
import type { DictionaryStore } from './dictionaries.ts';

/** Bytes of all files in the folder that are ours; the least recently used go first. */
const MAX_BYTES = 32 << 20;
const NAME = /^[0-9a-f]{32}\.dict$/;
/** What a process that was killed has left behind. */
const UNFINISHED = /^[0-9a-f]{32}\.dict\.[0-9a-f-]{36}$/;
const UNFINISHED_MS = 3_600_000;

/** Files of a folder, each the bytes of one dictionary, named by its ID. It is made when there is something to save. */
export class DictionaryFiles implements DictionaryStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** What is not what its name says is removed. */
  async load(id: string): Promise<Uint8Array | undefined> {
    const path = this.#pathOf(id);
    const bytes = await readBounded(path);
    if (bytes === undefined) return undefined;
    if (dictionaryIdNow(bytes) !== id) {
      await rm(path, { force: true });
      return undefined;
    }
    const now = new Date();
    await utimes(path, now, now).catch(() => undefined);
    return bytes;
  }

  /** A file is there only when it is whole. */
  async save(id: string, bytes: Uint8Array): Promise<void> {
    makeFolder(this.#folder, 0o700);
    const path = this.#pathOf(id);
    const unfinished = `${path}.${randomUUID()}`;
    try {
      const file = await open(unfinished, 'wx', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
    await this.#makeRoom();
  }

  #pathOf(id: string): string {
    return join(this.#folder, `${id}.dict`);
  }

  async #makeRoom(): Promise<void> {
    const files: { path: string; size: number; usedMs: number }[] = [];
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      const isOurs = NAME.test(name);
      if (!isOurs && !UNFINISHED.test(name)) continue;
      const { size, mtimeMs } = await stat(path).catch(() => ({ size: 0, mtimeMs: 0 }));
      if (isOurs) files.push({ path, size, usedMs: mtimeMs });
      else if (Date.now() - mtimeMs > UNFINISHED_MS) await rm(path, { force: true });
    }
    let bytes = files.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of files.sort((a, b) => a.usedMs - b.usedMs)) {
      if (bytes <= MAX_BYTES) return;
      await rm(path, { force: true });
      bytes -= size;
    }
  }
}

/** The bytes of a regular file that a dictionary may have; undefined where there is none such. */
async function readBounded(path: string): Promise<Uint8Array | undefined> {
  const isRegular = await stat(path).then(
    (found) => found.isFile() && found.size <= MAX_DICTIONARY_BYTES,
    () => false,
  );
  if (!isRegular) return undefined;
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const bytes = new Uint8Array(MAX_DICTIONARY_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length <= MAX_DICTIONARY_BYTES ? bytes.slice(0, length) : undefined;
  } finally {
    await file.close();
  }
}
