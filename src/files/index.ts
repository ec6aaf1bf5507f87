/** The built-in file commands, as what createServer takes. */

import { resolve } from 'node:path';
import { extensionOf } from './paths.ts';

/** Where the handlers are: beside this file, whether as source or compiled. */
const MODULE = new URL(import.meta.url.endsWith('.ts') ? './commands.ts' : './commands.js', import.meta.url);

/** A command whose handlers are made in the lanes, by `export` of `module` called with `options`. */
export interface FileCommand {
  readonly module: URL;
  readonly export: string;
  readonly options: { readonly root: string };
  readonly mode: 'ro';
  readonly affinityKey?: (args: ReadonlyMap<string, Uint8Array>) => string | undefined;
}

/** The commands files.list, files.get and files.stat for the tree below `root`. */
export function fileCommands(root: string): Record<string, FileCommand> {
  const options = { root: resolve(root) };
  const command: FileCommand = { module: MODULE, export: 'create', options, mode: 'ro' };
  return {
    'files.list': command,
    'files.get': { ...command, affinityKey },
    'files.stat': command,
  };
}

const decoder = new TextDecoder();

/** Files of one type go by one stream, whose context then knows what such files look like. */
export function affinityKey(args: ReadonlyMap<string, Uint8Array>): string | undefined {
  const path = args.get('path');
  return path && extensionOf(decoder.decode(path));
}
