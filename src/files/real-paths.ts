/** Which file a path really names: what an authorize hook has to judge, for links give one file many names. */

import { realpath } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { decodeUtf8 } from '../wire/utf8.ts';
import { decodePaths } from './bundle.ts';
import { pathProblem } from './paths.ts';

type Args = ReadonlyMap<string, Uint8Array>;

/** The argument `path`, '' and '.' being the root. */
export async function realPath(root: string, args: Args): Promise<readonly string[]> {
  const path = decodeUtf8(args.get('path') ?? NOTHING);
  return [path === '' || path === '.' ? '' : await realPathOf(await realpath(root), path)];
}

/** Those of the argument `paths`; none when it is no such list, which the handler refuses. */
export async function realPathsOfBundle(root: string, args: Args): Promise<readonly string[]> {
  const real = await realpath(root);
  const paths: string[] = [];
  // One after the other: all at once they would take the file system from others.
  for (const path of pathsOf(args)) paths.push(await realPathOf(real, path));
  return paths;
}

const NOTHING = new Uint8Array(0);

function pathsOf(args: Args): string[] {
  try {
    return decodePaths(decodeUtf8(args.get('paths') ?? NOTHING));
  } catch {
    return [];
  }
}

/**
 * `path` with its links followed, relative to `root`, which has none. What there is none of keeps its name below the folder
 * that there is. A path that leads outside, or is none, stays as it is: no handler opens it.
 */
async function realPathOf(root: string, path: string): Promise<string> {
  if (pathProblem(path) !== undefined) return path;
  const whole = await resolved(root, path);
  if (whole !== undefined) return below(root, whole) ?? path;
  const parts = path.split('/');
  let real = root;
  for (let i = 0; i < parts.length; i++) {
    const next = await resolved(real, parts[i]);
    if (next === undefined) return below(root, join(real, ...parts.slice(i))) ?? path;
    real = next;
  }
  return below(root, real) ?? path;
}

/** Undefined where nothing stands, or nothing can be seen. */
function resolved(folder: string, path: string): Promise<string | undefined> {
  return realpath(join(folder, path)).catch(() => undefined);
}

/** Undefined outside of `root`. */
function below(root: string, real: string): string | undefined {
  const path = relative(root, real);
  if (path === '..' || path.startsWith(`..${sep}`) || isAbsolute(path)) return undefined;
  return path.replaceAll(sep, '/');
}
