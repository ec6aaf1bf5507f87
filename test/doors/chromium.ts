/** A page in Debian's Chromium, from a server of node:http that has millrace's doors at /mill and the bundle at /. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { createServer, type Server, type ServerOptions } from '../../src/index.ts';
import { ROOT } from '../helpers/imports.ts';
import { LONG, listening } from '../helpers/serving.ts';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // When garbage is collected is up to the machine, but where a page says so.
  '--js-flags=--expose-gc',
];

export const hasChromium = existsSync(CHROMIUM);
export const NO_CHROMIUM = 'not tried: there is no /usr/bin/chromium here (apt-get install chromium)';

let running: Promise<Browser> | undefined;

/** `/patient.js` in a page: the bundle, whose connections have no time limit of their own, only ava's. */
const PATIENT = `
import { connect as connectIn, connectPool as poolIn } from './millrace.js';
export * from './millrace.js';
const timeoutMs = ${2 ** 31 - 1};
export const connect = (where, options) => connectIn(where, { timeoutMs, ...options });
export const connectPool = (where, options) =>
  poolIn(where, { maxWaitMs: timeoutMs, ...options, connect: { timeoutMs, ...options?.connect } });
`;

/** One browser for all tests of a file, until {@link closeBrowser}. */
export function browser(): Promise<Browser> {
  running ??= chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS, timeout: 0 });
  return running;
}

export async function closeBrowser(): Promise<void> {
  await (await running)?.close();
}

export interface Doors {
  readonly port: number;
  readonly http: HttpServer;
  /** Puts the doors of another server in the place of those that are there. */
  attach(options: ServerOptions): Promise<Server>;
}

export interface Site extends Doors {
  readonly page: Page;
}

/** A page in Chromium whose scripts can `import('/millrace.js')` or {@link PATIENT}, and connect to `/mill`. */
export async function openSite(t: ExecutionContext<unknown>, options: ServerOptions = {}): Promise<Site> {
  const doors = await openDoors(t, options);
  const page = await (await browser()).newPage();
  page.setDefaultTimeout(0);
  t.teardown(() => page.close());
  await page.goto(`http://127.0.0.1:${doors.port}/`);
  return { page, ...doors };
}

/** What such a page comes from, for any browser. */
export async function openDoors(t: ExecutionContext<unknown>, options: ServerOptions = {}): Promise<Doors> {
  const folder = mkdtempSync(join(ROOT, 'node_modules/.millrace-page-'));
  await build({
    entryPoints: {
      millrace: join(ROOT, 'src/browser.ts'),
      'browser-worker': join(ROOT, 'src/client/browser-worker.ts'),
    },
    bundle: true,
    splitting: true,
    format: 'esm',
    minify: true,
    target: 'es2024',
    logLevel: 'silent',
    outdir: folder,
  });
  writeFileSync(join(folder, 'patient.js'), PATIENT);
  const http = createHttpServer((req, res) => {
    const path = join(folder, req.url ?? '/');
    if (req.url?.endsWith('.js') && existsSync(path))
      res.writeHead(200, { 'Content-Type': 'text/javascript' }).end(readFileSync(path));
    else res.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>page</title>');
  });
  const port = await listening(http);
  const servers: Server[] = [];
  const attach = async (more: ServerOptions) => {
    const server = createServer({ workers: 1, laneTimeout: LONG, onError: () => undefined, ...more });
    servers.push(server);
    await server.attach(http, { path: '/mill' });
    return server;
  };
  await attach(options);
  t.teardown(async () => {
    for (const server of servers) await server.close(0);
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  });
  return { port, http, attach };
}

/** The processes in which the browser shows its pages: how many bytes of memory each has had at most. */
export async function renderersPeak(): Promise<Map<number, number>> {
  const session = await (await browser()).newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const renderers = processInfo.filter(({ type }) => type === 'renderer');
  return new Map(renderers.map(({ id }) => [id, peakOf(id)]));
}

function peakOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
  } catch {
    // It has ended meanwhile.
    return 0;
  }
}
