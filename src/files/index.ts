/** The built-in file commands, as what createServer takes. */

import { resolve } from 'node:path';
import { decodeUtf8 } from '../wire/utf8.ts';
import { stemOf } from './paths.ts';
import { realPath, realPathsOfBundle } from './real-paths.ts';

/** Where the handlers are: beside this file, whether as source or compiled. */
const MODULE = new URL(import.meta.url.endsWith('.ts') ? './commands.ts' : './commands.js', import.meta.url);

/** A command whose handlers are made in the lanes, by `export` of `module` called with `options`. */
export interface FileCommand {
  readonly module: URL;
  readonly export: string;
  readonly options: { readonly root: string };
  readonly mode: 'ro';
  readonly realPaths: (args: ReadonlyMap<string, Uint8Array>) => Promise<readonly string[]>;
  readonly affinityKey?: (args: ReadonlyMap<string, Uint8Array>) => string | undefined;
}

/** The commands files.list, files.get, files.bundle and files.stat for the tree below `root`. */
export function fileCommands(root: string): Record<string, FileCommand> {
  const options = { root: resolve(root) };
  const realPaths: FileCommand['realPaths'] = (args) => realPath(options.root, args);
  const command: FileCommand = { module: MODULE, export: 'create', options, mode: 'ro', realPaths };
  const bundlePaths: FileCommand['realPaths'] = (args) => realPathsOfBundle(options.root, args);
  return {
    'files.list': command,
    'files.get': { ...command, affinityKey },
    'files.bundle': { ...command, affinityKey: bundleKey, realPaths: bundlePaths },
    'files.stat': command,
  };
}

/**
 * Files of one name go by one stream, whatever their folder and extension: an index.js is like other index.js, and
 * has much in common with its index.d.ts. With 2, 4 and 8 streams that came to 0.64, 0.64, 0.65 of what a context
 * per request needs on node_modules (by extension 0.68, 0.68, 0.67; dealt round robin 0.71, 0.76, 0.80), and it
 * spreads over the streams more evenly than extensions do: many trees have but one.
 */
export function affinityKey(args: ReadonlyMap<string, Uint8Array>): string | undefined {
  const path = args.get('path');
  return path && stemOf(decodeUtf8(path));
}

/** A bundle goes where its first file would go by itself: pull puts files of one name together. */
export function bundleKey(args: ReadonlyMap<string, Uint8Array>): string | undefined {
  const paths = args.get('paths');
  // The beginning of a JSON array; what is none has no key, and is refused later.
  const first = paths && /^\["((?:[^"\\]|\\.){1,4096})"/.exec(decodeUtf8(paths.subarray(0, 16_384)))?.[1];
  return first && stemOf(first);
}
