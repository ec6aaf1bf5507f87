/**
 * The log's line for a request. There is one for every request, so it is put together here: pino takes 3 to 5 µs for an object
 * of this size, this half of one, where a small response takes some 17 µs of CPU in all.
 */

import type { RequestEnded } from '../index.ts';
import { visibleJson } from '../wire/visible.ts';

/** Never written, wherever a principal or an error has it. */
export const SECRETS: readonly string[] = [
  'authorization',
  'cookie',
  'key',
  'passphrase',
  'password',
  'secret',
  'token',
];
export const HIDDEN = '(not shown)';

/** Level `info`, in pino's numbers. */
const LEVEL = 30;
const MOST_OF_PRINCIPAL = 1000;

/** Texts that are kept as JSON: names of commands, of profiles, codes. Should there be more, they are made again. */
const MAX_KEPT = 1000;

export class RequestLines {
  #atMs = 0;
  /** What a line of {@link #atMs} begins with. */
  #head = '';
  /** What was last seen of a connection, and as it is in the line. */
  #remote: string | undefined;
  #principal: unknown;
  #who = '';
  readonly #kept = new Map<string, string>();

  /** As pino writes it, with its end. */
  of(request: RequestEnded): string {
    const { requestId, command, code, profile, bytes, wireBytes, queuedMs, workMs } = request;
    const ratio = wireBytes === 0 ? '0' : hundredths(bytes / wireBytes);
    return (
      `${this.#begin()}${requestId}${this.#whoOf(request)}${this.#quoted(command)},"code":${this.#quoted(code)},` +
      `"profile":${this.#quoted(profile)},"bytes":${bytes},"wireBytes":${wireBytes},"ratio":${ratio},` +
      `"queuedMs":${hundredths(queuedMs)},"workMs":${hundredths(workMs)}}\n`
    );
  }

  #begin(): string {
    const nowMs = Date.now();
    if (nowMs !== this.#atMs) {
      this.#atMs = nowMs;
      const time = new Date(nowMs).toISOString();
      this.#head = `{"level":${LEVEL},"time":"${time}","pid":${process.pid},"kind":"request","requestId":"`;
    }
    return this.#head;
  }

  /** A connection's requests have all the same. */
  #whoOf({ remote, principal }: RequestEnded): string {
    if (remote !== this.#remote || principal !== this.#principal) {
      this.#remote = remote;
      this.#principal = principal;
      const shownPrincipal = principal === undefined ? '' : `,"principal":${shown(principal)}`;
      this.#who = `","remote":${JSON.stringify(remote)}${shownPrincipal},"command":`;
    }
    return this.#who;
  }

  #quoted(text: string): string {
    const known = this.#kept.get(text);
    if (known !== undefined) return known;
    const quoted = JSON.stringify(text);
    if (this.#kept.size < MAX_KEPT) this.#kept.set(text, quoted);
    return quoted;
  }
}

/** Two digits after the point at most: whole numbers are written much faster than others. */
function hundredths(value: number): string {
  const all = Math.round(value * 100);
  const whole = Math.floor(all / 100);
  const rest = all - whole * 100;
  if (rest === 0) return `${whole}`;
  return rest < 10 ? `${whole}.0${rest}` : `${whole}.${rest}`;
}

/** As JSON without secrets; the principal is the user's, and may be anything. */
function shown(principal: unknown): string {
  try {
    const hide = (key: string, value: unknown) => (SECRETS.includes(key.toLowerCase()) ? HIDDEN : value);
    const text = visibleJson(principal, hide) ?? JSON.stringify(typeof principal);
    return text.length <= MOST_OF_PRINCIPAL ? text : JSON.stringify(`${text.slice(0, MOST_OF_PRINCIPAL)}…`);
  } catch {
    return JSON.stringify(HIDDEN);
  }
}
