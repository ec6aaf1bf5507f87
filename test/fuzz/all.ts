/** All fuzz targets. */

import { clientTarget, serverTarget } from './connections.ts';
import { proxiedTarget } from './proxied/target.ts';
import type { FuzzTarget } from './target.ts';
import { PURE_TARGETS } from './targets.ts';

export function allTargets(): FuzzTarget[] {
  return [...PURE_TARGETS, clientTarget(), serverTarget(), proxiedTarget()];
}
