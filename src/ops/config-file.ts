/** The file of settings, YAML or JSON: read within bounds, and every value with its line and column. */

import { closeSync, readSync } from 'node:fs';
import { isMap, isPair, type Node } from 'yaml';
import { problemOf } from '../files/paths.ts';
import { openRegularFile } from '../options/regular-file.ts';
import { readYaml } from '../options/yaml.ts';
import { SettingError } from './config.ts';

/** Bytes that a file of settings may have. */
const MAX_BYTES = 256 * 1024;
/** Aliases are a way to make much of little. */
const MAX_ALIASES = 20;

export interface ConfigFile {
  readonly values: unknown;
  /** `file:line:column` of the key at `path`; without one, of the file itself. */
  placeOf(path: readonly PropertyKey[]): string;
}

/** @throws SettingError in one line, when it cannot be read or is neither YAML nor JSON. */
export function readConfigFile(path: string): ConfigFile {
  const source = textOf(path);
  const { document, problem, at } = valuesOf(() => readYaml(source), path);
  if (problem !== undefined) throw new SettingError(`${path}:${at(problem.offset)}: ${problem.message}`);
  return {
    values: valuesOf(() => document.toJS({ maxAliasCount: MAX_ALIASES }), path) ?? {},
    placeOf: (keys) => {
      const offset = offsetOf(document.contents, keys);
      return offset === undefined ? path : `${path}:${at(offset)}`;
    },
  };
}

function valuesOf<Value>(read: () => Value, path: string): Value {
  try {
    return read();
  } catch (error) {
    throw new SettingError(`${path}: ${problemOf(error)}`);
  }
}

/** Where the key of the innermost part of `keys` that is there begins. */
function offsetOf(root: Node | null, keys: readonly PropertyKey[]): number | undefined {
  let node: unknown = root;
  let offset: number | undefined = root?.range?.[0];
  for (const key of keys) {
    if (!isMap(node)) return offset;
    const pair = node.items.find((item) => isPair(item) && String(item.key) === String(key));
    if (pair === undefined) return offset;
    offset = (pair.key as Node | null)?.range?.[0] ?? offset;
    node = pair.value;
  }
  return offset;
}

function textOf(path: string): string {
  try {
    const bytes = readAtMost(path, MAX_BYTES + 1);
    if (bytes.length > MAX_BYTES) throw new SettingError(`${path}: more than ${MAX_BYTES} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof SettingError) throw error;
    if (error instanceof TypeError) throw new SettingError(`${path}: not UTF-8`);
    throw new SettingError(`${path}: ${problemOf(error)}`);
  }
}

function readAtMost(path: string, most: number): Uint8Array {
  const file = openRegularFile(path);
  try {
    const bytes = new Uint8Array(most);
    let length = 0;
    for (let read = -1; read !== 0 && length < most; length += read)
      read = readSync(file, bytes, length, most - length, null);
    return bytes.subarray(0, length);
  } finally {
    closeSync(file);
  }
}
