/** The server's figures as they come: asked for while somebody wants them, and again when that has failed. */

import type { Pool } from '../client/pool.ts';
import type { LiveFigures } from '../server/live-figures.ts';
import { after, type Timer } from '../wire/timers.ts';
import { LIVE_COMMAND } from './moments.ts';

const RETRY_MS = 2000;
/** Characters of a line; more is none of ours. */
const MAX_LINE = 8 << 20;

export interface FeedEvents {
  figures(figures: LiveFigures): void;
  /** They have stopped coming; the feed goes on by itself, but where it `isForbidden`. */
  failed(error: Error, isForbidden: boolean): void;
}

export class Feed {
  readonly #pool: Pool<string>;
  readonly #events: FeedEvents;
  /** Ends what is asked now; undefined: nothing is. */
  #asked: AbortController | undefined;
  #retry: Timer | undefined;
  /** Sent with every command of the page's. */
  authorization: string | undefined;

  constructor(pool: Pool<string>, events: FeedEvents) {
    this.#pool = pool;
    this.#events = events;
  }

  start(): void {
    if (this.#asked !== undefined) return;
    clearTimeout(this.#retry);
    this.#asked = new AbortController();
    this.#follow(this.#asked.signal);
  }

  stop(): void {
    clearTimeout(this.#retry);
    this.#asked?.abort();
    this.#asked = undefined;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { authorization } = this;
    try {
      const response = this.#pool.call(LIVE_COMMAND, { signal, ...(authorization && { authorization }) });
      for await (const line of linesOf(response)) this.#events.figures(JSON.parse(line));
      throw new Error('the server has ended it');
    } catch (error) {
      if (signal.aborted) return;
      this.#asked = undefined;
      const isForbidden = (error as { code?: string }).code === 'not-authorized';
      this.#events.failed(error as Error, isForbidden);
      if (!isForbidden) this.#retry = after(RETRY_MS, () => this.start());
    }
  }
}

async function* linesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const utf8 = new TextDecoder();
  let text = '';
  for await (const piece of pieces) {
    const lines = (text + utf8.decode(piece, { stream: true })).split('\n');
    text = lines.pop() ?? '';
    if (text.length > MAX_LINE) throw new Error('the figures have no end');
    yield* lines;
  }
}
