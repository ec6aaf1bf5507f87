import type { ConformanceCase } from './conformance-cases.ts';

/** Stands in until the reactor's adapter is written. */
export function runReactorCase(_testCase: ConformanceCase): void {
  throw new Error('not written yet');
}
