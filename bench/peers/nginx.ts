/** nginx with its gzip filter, on static files, over HTTP/2 without TLS so that one connection carries many requests. */
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Payloads } from '../payloads.ts';
import { Scratch } from '../scratch.ts';
import { cpuOf, peakRssOf } from '../usage.ts';
import { connectHttp2 } from './http2.ts';
import { freePort, untilListens } from './listen.ts';
import type { Peer, Served } from './peer.ts';

const version = /nginx\/(\S+)/.exec(`${spawnSync('nginx', ['-v']).stderr ?? ''}`)?.[1];

const missing = () => (version === undefined ? 'nginx is not installed' : undefined);

export const nginxPeers: readonly Peer[] = [
  {
    name: 'nginx + gzip',
    describe: `nginx ${version ?? ''}, static files, gzip level 1 (its default), one worker, HTTP/2 without TLS`,
    missing,
    serve: (payloads) => serve(payloads, 'gzip on; gzip_min_length 0; gzip_types *; gzip_proxied any;'),
    connect: (port) => connectHttp2(port, 'gzip'),
  },
  {
    name: 'nginx + gzip_static',
    describe: `nginx ${version ?? ''}, files that are gzipped already (level 6), one worker, HTTP/2 without TLS`,
    missing,
    serve: (payloads) => serve(payloads, 'gzip_static on;', (payload) => ['.gz', gzipSync(payload)]),
    connect: (port) => connectHttp2(port, 'gzip'),
  },
];

/** Serves the payloads as files; `prepared`: how each lies there, its name's ending first. */
async function serve(
  payloads: Payloads,
  compression: string,
  prepared: (payload: Buffer) => [string, Buffer] = (payload) => ['', payload],
): Promise<Served> {
  const scratch = new Scratch();
  const directory = scratch.path;
  for (let i = 0; i < payloads.count; i++) {
    const [ending, bytes] = prepared(payloads.get(i));
    writeFileSync(join(directory, `${i}${ending}`), bytes);
  }
  const port = await freePort();
  writeFileSync(join(directory, 'nginx.conf'), configuration(port, directory, compression));
  const server = spawn('nginx', ['-p', directory, '-c', join(directory, 'nginx.conf')], {
    stdio: 'ignore',
  });
  const end = () => server.kill('SIGKILL');
  process.once('exit', end);
  await untilListens(server, port);
  return {
    port,
    outsideCpu: () => ({ nginx: cpuOf(server.pid!) }),
    outsidePeakRss: () => peakRssOf(server.pid!) ?? 0,
    close() {
      end();
      scratch[Symbol.dispose]();
    },
  };
}

/** One process, so that its CPU is one number; access to static files only. */
function configuration(port: number, directory: string, compression: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
daemon off; master_process off; pid ${directory}/nginx.pid; error_log /dev/null;
events {}
http {
  access_log off;
  ${temporary.map((kind) => `${kind}_temp_path ${directory}/${kind};`).join(' ')}
  default_type application/octet-stream;
  ${compression}
  keepalive_requests 1000000000; keepalive_timeout 1h;
  sendfile on;
  server { listen 127.0.0.1:${port} http2; root ${directory}; }
}
`;
}
