/** Debian's HAProxy in front of servers that are processes of their own, by deploy/haproxy.cfg, where there is one. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { freePort } from '../../bench/peers/listen.ts';
import { addressOf, type Running, start } from '../cli/helper.ts';
import { tempFolder } from '../files/helper.ts';
import { ROOT } from '../helpers/imports.ts';
import { killed, LONG } from '../helpers/serving.ts';

const hasHaproxy = spawnSync('haproxy', ['-v']).status === 0;
export const withHaproxy = hasHaproxy ? test.serial : test.serial.skip;
if (!hasHaproxy) console.warn('there is no haproxy here: what needs one is skipped');

interface Site {
  readonly name: string;
  readonly port: number;
  readonly adminPort: number;
}

type Serving = Running & ReturnType<typeof start>;

/** A server that can be replaced by another one in the same place. */
export class Machine {
  readonly site: Site;
  readonly #t: ExecutionContext;
  readonly #args: readonly string[];
  #running: Serving | undefined;

  constructor(t: ExecutionContext, site: Site, args: readonly string[]) {
    this.site = site;
    this.#t = t;
    this.#args = args;
  }

  /** What the one that runs has printed. */
  get running(): Serving {
    if (this.#running === undefined) throw new Error(`${this.site.name} does not run`);
    return this.#running;
  }

  async start(): Promise<void> {
    const { port, adminPort } = this.site;
    const where = ['--port', `${port}`, '--admin', `127.0.0.1:${adminPort}`, '--proxy-protocol'];
    this.#running = start(this.#t, ['serve', ...this.#args, ...where, '--limit', `laneTimeout=${LONG}`]);
    const address = await addressOf(this.#running);
    if (!address.endsWith(`:${port}`)) throw new Error(`${this.site.name} does not serve: ${address}`);
  }

  /** SIGTERM; resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.running.child.kill('SIGTERM');
    return (await this.running.ended).code;
  }
}

export class Haproxy {
  readonly address: { host: string; port: number };
  readonly machines: readonly Machine[];
  readonly #socket: string;
  #ended: string | undefined;

  private constructor(port: number, socket: string, machines: readonly Machine[]) {
    this.address = { host: '127.0.0.1', port };
    this.#socket = socket;
    this.machines = machines;
  }

  /** In front of `count` servers, at most three, that are started with `args`; resolves when all of them are up. */
  static async start(t: ExecutionContext, count: number, args: readonly string[]): Promise<Haproxy> {
    const machines: Machine[] = [];
    for (const name of ['a', 'b', 'c'].slice(0, count)) {
      const site = { name, port: await freePort(), adminPort: await freePort() };
      machines.push(new Machine(t, site, args));
    }
    await Promise.all(machines.map((machine) => machine.start()));
    const [port, folder] = [await freePort(), tempFolder(t)];
    const [socket, config] = [join(folder, 'admin.sock'), join(folder, 'haproxy.cfg')];
    const sites = machines.map(({ site }) => site);
    writeFileSync(config, configFor(sites, port, socket));
    const child = spawn('haproxy', ['-db', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    t.teardown(() => killed(child));
    const said = text(child.stderr);
    const haproxy = new Haproxy(port, socket, machines);
    void once(child, 'exit').then(async () => {
      haproxy.#ended = `haproxy has ended: ${await said}`;
    });
    await haproxy.until(sites.map(({ name }) => `${name} UP`).join());
    return haproxy;
  }

  /** Resolves when it has its servers so, such as `a UP,b DOWN`. */
  async until(wanted: string): Promise<void> {
    while ((await this.#states()) !== wanted) {
      if (this.#ended !== undefined) throw new Error(this.#ended);
      await delay(20);
    }
  }

  /** Resolves when no connection goes through it: who comes next is given out as if nobody had been there. */
  async untilIdle(): Promise<void> {
    while (!/^millrace,BACKEND,[^,]*,[^,]*,0,/m.test(await this.say('show stat'))) await delay(20);
  }

  /** Says a command to its socket. */
  async say(command: string): Promise<string> {
    const socket = connect(this.#socket);
    socket.end(`${command}\n`);
    return text(socket);
  }

  async #states(): Promise<string> {
    const rows = await this.say('show stat').catch(() => '');
    const states = rows.matchAll(/^millrace,([abc]),(?:[^,]*,){15}([A-Z]+)/gm);
    return [...states].map(([, name, state]) => `${name} ${state}`).join();
  }
}

/** deploy/haproxy.cfg, but for its places. */
function configFor(sites: readonly Site[], port: number, socket: string): string {
  const file = readFileSync(join(ROOT, 'deploy/haproxy.cfg'), 'utf8');
  const servers = sites.map(
    (site) => `    server ${site.name} 127.0.0.1:${site.port} port ${site.adminPort}\n`,
  );
  return file
    .replace('/run/haproxy/admin.sock', socket)
    .replace('bind :7711', `bind 127.0.0.1:${port}`)
    .replace(/(?: {4}server .*\n)+/, servers.join(''));
}
