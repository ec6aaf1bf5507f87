/** `GET /`: the live page, and below it what it loads. Nothing of it comes from anywhere else, and nothing of it is in line. */

import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { DoorHost } from './host.ts';
import { codingOf } from './media-types.ts';
import { plain, type Reply, send } from './reply.ts';
import type { Exchange, Route } from './routes.ts';
import { statusOf } from './status.ts';

/** Where `npm run build:browser` puts it: seen from the package as it is built, and from its source. */
const FOLDERS = ['../../browser/page/', '../../dist/browser/page/'];

/** By the path below the doors. */
const FILES: Readonly<Record<string, { readonly name: string; readonly type: string }>> = {
  '': { name: 'index.html', type: 'text/html; charset=utf-8' },
  'page/page.css': { name: 'page.css', type: 'text/css; charset=utf-8' },
  'page/page.js': { name: 'page.js', type: 'text/javascript; charset=utf-8' },
  'page/icon.svg': { name: 'icon.svg', type: 'image/svg+xml' },
};

const HEADERS = {
  'Content-Security-Policy': [
    "default-src 'none'",
    ...['script-src', 'style-src', 'img-src', 'connect-src'].map((what) => `${what} 'self'`),
    ...['base-uri', 'form-action', 'frame-ancestors'].map((what) => `${what} 'none'`),
  ].join('; '),
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  Vary: 'Accept-Encoding',
};
/** Without it a browser asks nobody who they are. */
const WHO: Reply['headers'] = { 'WWW-Authenticate': 'Basic realm="millrace", charset="UTF-8"' };
const NOT_BUILT = 'the page is not built: npm run build:browser';

/** A file of the page, and the same compressed. */
interface Loaded {
  readonly plain: Uint8Array;
  readonly gzip: Uint8Array;
}

export function pageRoute(host: DoorHost): Route {
  /** By name; read when they are first asked for. */
  const loaded = new Map<string, Loaded>();
  return async (exchange) => {
    const { req, res, info, rest } = exchange;
    const file = Object.hasOwn(FILES, rest) ? FILES[rest] : undefined;
    if (file === undefined) return send(req, res, plain(404, 'there is nothing here'));
    if (req.method !== 'GET' && req.method !== 'HEAD')
      return send(req, res, plain(405, 'this is only to be read', { Allow: 'GET, HEAD' }));
    const failure = await host.ask(info);
    if (failure !== undefined) {
      const status = statusOf(failure.code, req);
      return send(req, res, plain(status, failure.message, status === 401 ? WHO : undefined));
    }
    const elsewhere = rest === '' ? folderOf(exchange) : undefined;
    if (elsewhere !== undefined)
      return send(req, res, plain(308, 'the page is at the folder', { Location: elsewhere }));
    const content = loaded.get(file.name) ?? load(file.name);
    if (content === undefined) return send(req, res, plain(503, NOT_BUILT));
    loaded.set(file.name, content);
    const coding = codingOf(req, ['gzip']);
    send(req, res, {
      status: 200,
      type: file.type,
      body: content[coding ?? 'plain'],
      headers: { ...HEADERS, ...(coding && { 'Content-Encoding': coding }) },
    });
  };
}

/** Where the page is really, for who asks for `/mill` instead of `/mill/`: what it loads is named as seen from there. */
function folderOf({ req: { url = '/' }, base }: Exchange): string | undefined {
  const [path, ...query] = url.split('?');
  return base !== '' && path === base ? [`${base}/`, ...query].join('?') : undefined;
}

function load(name: string): Loaded | undefined {
  for (const folder of FOLDERS) {
    try {
      const bytes = readFileSync(new URL(folder + name, import.meta.url));
      return { plain: bytes, gzip: gzipSync(bytes, { level: 9 }) };
    } catch {
      // It is in the other one, or not built.
    }
  }
  return undefined;
}
