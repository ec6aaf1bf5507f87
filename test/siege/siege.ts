/** One attack on a fresh server beside innocent clients: what they notice, and what the server takes. */

import { setTimeout as delay } from 'node:timers/promises';
import { HEAP_FLAGS, serverEnvironment } from '../../src/ops/malloc.ts';
import { ATTACKS, attackNamed } from './attacks.ts';
import { Child } from './child.ts';
import type { InnocentFigures } from './innocent.ts';
import type { ServerFigures } from './server.ts';

export interface SiegeOptions {
  /** How long the attack lasts, at least: until innocents have been served under it. */
  readonly seconds: number;
  /** How long the server may take to give memory back. */
  readonly restSeconds: number;
}

export interface SiegeFigures extends InnocentFigures {
  readonly name: string;
  readonly size: string;
  readonly stallMs: number;
  readonly stallCpuMs: number;
  /** Of the server, in bytes. */
  readonly rssBefore: number;
  readonly rssPeak: number;
  readonly rssAfter: number;
  /** How long a shutdown under the attack takes beyond its grace. */
  readonly shutdownMs: number;
}

export { ATTACKS };

/** How long innocents are alone at first. */
const QUIET_MS = 1000;
/** How long the second attack lasts before the server is shut down. */
const AGAIN_MS = 1000;

export async function besiege(name: string, options: SiegeOptions): Promise<SiegeFigures> {
  const { tls, size } = attackNamed(name);
  const kind = tls ? 'tls' : 'plain';
  const server = new Child('./server.ts', [kind], serverEnvironment(process.env), HEAP_FLAGS);
  const children = [server];
  try {
    const port = String(await server.ask<number>('port'));
    const innocent = new Child('./innocent.ts', [port, kind]);
    children.push(innocent);
    await innocent.ask('ready');
    await delay(QUIET_MS);
    await innocent.ask('figures');
    const { rss: rssBefore } = await server.ask<ServerFigures>('figures');
    const attacker = await attackerOf(name, port, kind);
    children.push(attacker);
    await attacker.ask('begin');
    await delay(options.seconds * 1000);
    await innocent.ask('served');
    // The server first: what it says of itself must not count what ends the attack.
    const during = await server.ask<ServerFigures>('figures');
    const noticed = await innocent.ask<InnocentFigures>('figures');
    await attacker.ask('end');
    await attacker.kill();
    const rssAfter = await rest(server, rssBefore, options.restSeconds);
    const again = await attackerOf(name, port, kind);
    children.push(again);
    await again.ask('begin');
    await delay(AGAIN_MS);
    const shutdownMs = await server.ask<number>('close');
    const { stallMs, stallCpuMs, peak: rssPeak } = during;
    return { name, size, stallMs, stallCpuMs, ...noticed, rssBefore, rssPeak, rssAfter, shutdownMs };
  } finally {
    await Promise.all(children.map((child) => child.kill()));
  }
}

async function attackerOf(name: string, port: string, kind: string): Promise<Child> {
  const attacker = new Child('./attacker.ts', [name, port, kind]);
  await attacker.ask('ready');
  return attacker;
}

/** RSS once it is down to half more than `before`, or when the time is over. */
async function rest(server: Child, before: number, seconds: number): Promise<number> {
  for (let left = seconds; ; left--) {
    const { rss } = await server.ask<ServerFigures>('figures');
    if (rss <= 1.5 * before || left <= 0) return rss;
    await delay(1000);
  }
}
