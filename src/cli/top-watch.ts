/** Pages of metrics over HTTP, one after the other, and what came to pass between them. */

import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { reasonOf } from '../client/opening.ts';
import { request as requestHttp } from '../doors/node-http.ts';
import { MetricPage } from '../ops/metric-page.ts';
import { type Reading, type TopFigures, topFigures } from '../ops/top-figures.ts';
import { after } from '../wire/timers.ts';
import { showTarget, type Target } from './arguments.ts';
import type { Reach } from './reach.ts';

/** Bytes of a page, and milliseconds that it may take. */
const MAX_PAGE = 4 << 20;
const ANSWER_MS = 10_000;

export class Watch {
  readonly #target: Target;
  readonly #reach: Reach;
  readonly #intervalMs: number;
  readonly #signal: AbortSignal;
  #last: Reading | undefined;

  constructor(target: Target, reach: Reach, intervalMs: number, signal: AbortSignal) {
    this.#target = target;
    this.#reach = reach;
    this.#intervalMs = intervalMs;
    this.#signal = signal;
  }

  /** Reads the first page. @throws Error in one line when there is none; the reason of the signal when that fires. */
  async begin(): Promise<void> {
    this.#last = await this.#read();
  }

  /** What has come to pass since the last one, an interval later. @throws what {@link begin} does. */
  async next(): Promise<TopFigures> {
    await pause(this.#intervalMs, this.#signal);
    const before = this.#last;
    const now = await this.#read();
    this.#last = now;
    return topFigures(before ?? now, now);
  }

  async #read(): Promise<Reading> {
    const text = await pageOf(this.#target, this.#reach, this.#signal);
    const page = pageIn(text);
    if (page === undefined)
      throw new Error(`${showTarget(this.#target)} answers, but with no metrics of millrace`);
    return { page, atMs: performance.now() };
  }
}

function pageIn(text: string): MetricPage | undefined {
  try {
    const page = new MetricPage(text);
    return page.all('millrace_connections').length > 0 ? page : undefined;
  } catch {
    return undefined;
  }
}

/** Rejects with the reason of `signal` when that fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = after(ms, () => {
      signal.removeEventListener('abort', stop);
      resolve();
    });
    signal.addEventListener('abort', stop, { once: true });
  });
}

/** @throws Error in one line; the reason of `signal` when that fires. */
async function pageOf(target: Target, reach: Reach, signal: AbortSignal): Promise<string> {
  const late = new AbortController();
  const timer = after(ANSWER_MS, () => late.abort());
  const over = AbortSignal.any([signal, late.signal]);
  const request = requestOf(target, reach, over);
  try {
    const text = await textOf(await answerTo(request, target), target);
    // A page that ends with its connection ends when we break that off, too.
    over.throwIfAborted();
    return text;
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw late.signal.aborted ? cannotRead(target, `no whole page after ${ANSWER_MS} ms`) : error;
  } finally {
    clearTimeout(timer);
    request.destroy();
  }
}

function requestOf(target: Target, { tls, authorization }: Reach, signal: AbortSignal): ClientRequest {
  const where = 'path' in target ? { socketPath: target.path } : target;
  const headers = { accept: 'text/plain', ...(authorization !== undefined && { authorization }) };
  const options = { ...where, path: '/metrics', headers, agent: false, signal };
  return tls === undefined ? requestHttp(options) : requestHttps({ ...options, ...tls });
}

async function answerTo(request: ClientRequest, target: Target): Promise<IncomingMessage> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    // Also of one that is given up later.
    request.on('error', (error) => reject(cannotRead(target, reasonOf(error))));
    request.end();
  });
  if (response.statusCode !== 200) throw new Error(refusalOf(response, target));
  return response;
}

function cannotRead(target: Target, why: string): Error {
  return new Error(`cannot read the metrics of ${showTarget(target)}: ${why}`);
}

function refusalOf({ statusCode }: IncomingMessage, target: Target): string {
  const where = showTarget(target);
  if (statusCode === 401 || statusCode === 403)
    return `${where} wants a token for its metrics, or another one`;
  return `${where} has no metrics (status ${statusCode}): 'millrace serve' has them at --admin, or with --metrics`;
}

async function textOf(response: IncomingMessage, target: Target): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const piece of response) {
    text += piece;
    if (text.length > MAX_PAGE)
      throw new Error(`the metrics of ${showTarget(target)} have more than ${MAX_PAGE} bytes`);
  }
  return text;
}
