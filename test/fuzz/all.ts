/** All fuzz targets. */

import { clientTarget, serverTarget } from './connections.ts';
import { proxiedTarget } from './proxied/target.ts';
import type { FuzzTarget } from './target.ts';
import { PURE_TARGETS } from './targets.ts';

/** Those that need no process of their own. */
export function lightTargets(): FuzzTarget[] {
  return [...PURE_TARGETS, clientTarget(), serverTarget()];
}

export function allTargets(): FuzzTarget[] {
  return [...lightTargets(), proxiedTarget()];
}
