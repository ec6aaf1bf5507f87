/** Debian's Firefox, driven by WebDriver BiDi: as much of it as it takes to run a script in a page. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { ExecutionContext } from 'ava';
import { WebSocket } from 'ws';

const FIREFOX = '/usr/bin/firefox-esr';

export const hasFirefox = existsSync(FIREFOX);
export const NO_FIREFOX = `not tried: there is no ${FIREFOX} here (apt-get install firefox-esr)`;

interface Reply {
  readonly id?: number;
  readonly result?: Record<string, unknown>;
  readonly message?: string;
}

/** A page of Firefox at `url`; what it returns runs an expression there, and resolves with the text that it comes to. */
export async function firefoxAt(
  t: ExecutionContext<unknown>,
  url: string,
): Promise<(expression: string) => Promise<string>> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-firefox-'));
  const args = ['--headless', '--no-remote', '--profile', home, '--remote-debugging-port', '0'];
  const firefox = spawn(FIREFOX, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOME: home },
  });
  t.teardown(async () => {
    firefox.kill();
    await once(firefox, 'close');
    rmSync(home, { recursive: true, force: true });
  });
  const socket = new WebSocket(`${await addressOf(firefox.stderr)}/session`);
  await once(socket, 'open');
  const replies = new Map<number, (reply: Reply) => void>();
  socket.on('message', (message: Buffer) => {
    const reply = JSON.parse(message.toString()) as Reply;
    replies.get(reply.id ?? 0)?.(reply);
  });
  let newest = 0;
  const ask = async (method: string, params: object): Promise<Record<string, unknown>> => {
    const id = ++newest;
    const reply = new Promise<Reply>((resolve) => replies.set(id, resolve));
    socket.send(JSON.stringify({ id, method, params }));
    const { result, message } = await reply;
    if (result === undefined) throw new Error(`${method}: ${message}`);
    return result;
  };
  await ask('session.new', { capabilities: {} });
  const { context } = await ask('browsingContext.create', { type: 'tab' });
  await ask('browsingContext.navigate', { context, url, wait: 'complete' });
  return async (expression) => {
    const said = await ask('script.evaluate', { expression, target: { context }, awaitPromise: true });
    const { result, exceptionDetails } = said as {
      result?: { value: string };
      exceptionDetails?: { text: string };
    };
    if (result === undefined) throw new Error(exceptionDetails?.text);
    return result.value;
  };
}

/** Where it takes sessions, which it says once it does. */
async function addressOf(stderr: Readable): Promise<string> {
  let said = '';
  // It stays open: what Firefox has started has it, too, and with its end is gone.
  for await (const chunk of stderr.iterator({ destroyOnReturn: false })) {
    said += chunk;
    const [, address] = /WebDriver BiDi listening on (ws:\S+)/.exec(said) ?? [];
    if (address !== undefined) {
      stderr.resume();
      return address;
    }
  }
  throw new Error(`Firefox has ended: ${said}`);
}
