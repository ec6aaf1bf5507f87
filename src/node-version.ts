/**
 * What we need of Node.js. Command line and library ask here before they load anything else, so this has to run on
 * any Node that knows modules: it imports nothing by name, for a name that is missing there would end the import.
 */

import zlib from 'node:zlib';

/**
 * The first release that has all, by release line: process.threadCpuUsage, and zstd with dictionaries in node:zlib.
 * `engines` in package.json says the same.
 */
const FIRST: Readonly<Record<number, number>> = { 22: 19, 24: 6 };
const NEWEST_LINE = 24;

/** Why we cannot run on this Node.js, in one line; undefined where we can. `version`: without the `v`. */
export function nodeProblem(version: string = process.versions.node): string | undefined {
  const [line, minor] = version.split('.').map(Number);
  const isOld = line <= NEWEST_LINE && !(minor >= FIRST[line]);
  if (isOld) return `this needs Node.js 22.19 or later 22.x, or 24.6 or later (this is v${version})`;
  const missing = missingHere();
  return missing && `this needs a Node.js with ${missing}, which this runtime lacks (v${version})`;
}

/** Other runtimes call themselves a Node of some version, and are without this or that. */
function missingHere(): string | undefined {
  if (typeof zlib.createZstdCompress !== 'function') return 'zstd in node:zlib';
  if (typeof process.threadCpuUsage !== 'function') return 'process.threadCpuUsage';
  return undefined;
}
