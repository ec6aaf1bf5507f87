/** A server watched as in production: its metrics asked for once a second, and perhaps a log of its requests. */
import { openSync } from 'node:fs';
import type { Server } from '../src/index.ts';
import { ServerLog } from '../src/ops/log.ts';
import { Metrics } from '../src/ops/metrics.ts';

/** Returns how to stop. */
export async function watch(server: Server, what: 'metrics' | 'requests'): Promise<() => void> {
  const metrics = await Metrics.of(server);
  const asking = setInterval(() => metrics.text(), 1000);
  const settings = { accessLog: true };
  const log = what === 'requests' ? await ServerLog.to(openSync('/dev/null', 'w'), settings) : undefined;
  log?.update(settings, server);
  return () => {
    clearInterval(asking);
    metrics.close();
    log?.close();
  };
}
