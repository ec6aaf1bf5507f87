/** What a client and its calls can be asked for, with the defaults. */

import type { CodecRegistry } from '../encoding/registry.ts';
import {
  anything,
  arrayOf,
  boolean,
  callable,
  checkOptions,
  count,
  finite,
  integer,
  millisecondsOr0,
  nested,
  object,
  oneOf,
  type Rules,
  same,
  shown,
  signal,
  string,
} from '../options/rules.ts';
import { type ClientTracing, clientTracing } from '../options/tracing.ts';
import type { Bytes } from '../wire/bytes.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import type { Progress } from '../wire/payloads.ts';
import type { CommandData } from './data-pieces.ts';
import { MIN_WINDOW_LOG } from './negotiation.ts';

/** What every client is made with, over whatever transport. */
export interface ClientOptions {
  /** Profiles to decode, best first; default: all that the codecs decode. An empty list: identity only. */
  profiles?: readonly string[];
  /** Send part-A frames only, to a server that does not know sender-settings; default false. */
  plain?: boolean;
  /**
   * Profile for command data, once the server has said that it decodes it; default: data goes unencoded. Portable codecs, such
   * as a browser's, encode `zlib` alone.
   */
  encodeData?: string;
  /** Compression level for command data. */
  level?: number;
  /** Bytes of one response that may wait here to be read; default 1 MiB. */
  requestWindow?: number;
  /** Bytes of all responses that may be on their way at once; default: only the request windows bound them. */
  connectionWindow?: number;
  /**
   * Bytes of all responses that may wait here to be read where the server does not speak `credit`, so that no window
   * holds it; default 64 MiB. Past it the response with the most of them fails, and is cancelled. What bytes() and
   * text() wait for does not count: it has been asked for.
   */
  maxUnread?: number;
  /** Sent with every command (protocol C6), unless the call says otherwise. */
  authorization?: string;
  /**
   * Milliseconds of silence after which a server that speaks ping is asked for a sign of life; after as many again without
   * one the connection is given up, and its calls fail. Not while a call with command data is open at a server without
   * `data-credit`, which may read what comes after data only when its handler has read that. For TCP it is the keepalive
   * time, too. 0: never; default 30 000.
   */
  keepAliveInterval?: number;
  /** What the server may make us hold or do (protocol B-limits). */
  limits?: Partial<Limits>;
  /** Told of every call, to make a span of it; `millrace/otel` has one for OpenTelemetry. Default: none. */
  tracing?: ClientTracing;
}

/** What one call sends, and how long it waits. */
export interface CallOptions {
  /** Argument values by name; strings go out as UTF-8, and one that is undefined is not given. */
  args?: Readonly<Record<string, string | Bytes | undefined>>;
  /**
   * Command data: bytes in any buffer or view, a string, a Blob, a stream, or an iterable of such pieces. It has no
   * boundaries: the handler may get it cut in other places. Who needs messages sends {@link records}.
   */
  data?: CommandData;
  /** Cancels the request when it fires. */
  signal?: AbortSignal;
  /** What the server's authorize hook is shown (protocol C6); never logged there. Default: the client's. */
  authorization?: string;
  /** Keeps the response out of every shared context (protocol C6), and the command's data with it. */
  sensitive?: boolean;
  /**
   * Milliseconds from the call on, those that it waits for its turn among them, after which it fails with the code
   * `deadline-exceeded`; the server stops it by then, whether it hears from us or not (protocol C6).
   */
  deadlineMs?: number;
  /** Lines for people that come with the response. A callback that throws, or whose promise rejects, fails its call. */
  onText?: (text: string) => void;
  /** How far the handler is, as it says. A callback that throws, or whose promise rejects, fails its call. */
  onProgress?: (progress: Progress) => void;
}

export const DEFAULT_REQUEST_WINDOW = 1 << 20;

/** Limits of ours that servers are not told of: they take them to be as by default, so they may be more (protocol B-limits). */
const UNTOLD = [
  'maxIncomingStreams',
  'maxDecodedSize',
  'maxDecodedRatio',
  'maxMessage',
  'maxEmptyDataFrames',
] as const;

/** Per second: a server may begin a stream for every response (protocol B1), so this bounds only nonsense. */
export const MAX_STREAM_BEGINS = 1_000_000;

export const CLIENT_RULES: Rules<ClientOptions> = {
  profiles: arrayOf(string, 'names of profiles'),
  plain: boolean,
  encodeData: string,
  level: integer(Number.MIN_SAFE_INTEGER),
  requestWindow: count,
  connectionWindow: count,
  maxUnread: count,
  authorization: string,
  keepAliveInterval: millisecondsOr0,
  tracing: clientTracing,
  limits: nested({
    ...same(DEFAULT_LIMITS, count),
    ...Object.fromEntries(UNTOLD.map((limit) => [limit, integer(DEFAULT_LIMITS[limit])])),
    maxStreamBegins: integer(MAX_STREAM_BEGINS),
    maxPayload: integer(256),
    maxWindowSize: integer(2 ** MIN_WINDOW_LOG),
  }),
};

/**
 * Checked at every call: what `args` and `data` hold is looked at where they are sent. A client knows what only a pool
 * needs: whoever is given one or the other asks both alike.
 */
export const CALL_RULES: Rules<CallOptions & { idempotent: boolean }> = {
  args: object,
  data: anything,
  signal,
  authorization: string,
  sensitive: boolean,
  deadlineMs: finite,
  onText: callable,
  onProgress: callable,
  idempotent: boolean,
};

/** @throws TypeError that says what is wrong with a call; whatever a getter of its options throws. */
export function checkCall(command: unknown, options: unknown): void {
  checkOptions(options, CALL_RULES, 'call');
  if (typeof command !== 'string') throw new TypeError(`a command's name is a string, not ${shown(command)}`);
}

/**
 * Held against `codecs`, which are returned, before anything is opened. @throws TypeError when `profiles` names one that they do
 * not decode, or `encodeData` one that they do not encode.
 */
export function withProfiles({ profiles, encodeData }: ClientOptions, codecs: CodecRegistry): CodecRegistry {
  const all = codecs.withDictionaries(new Map());
  if (profiles !== undefined) arrayOf(oneOf(all.profiles()), 'names of profiles')(profiles, 'profiles');
  if (encodeData !== undefined) oneOf(all.encodable())(encodeData, 'encodeData');
  return codecs;
}
