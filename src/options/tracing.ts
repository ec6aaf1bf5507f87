/** Who is told of calls and requests as they begin and end, to make spans of a trace of them (protocol C6). */

import { watchRejection } from '../wire/thrown.ts';
import { callable, nested } from './rules.ts';

/** One call of a client. */
export interface CallTrace {
  /** Goes with the command, so that the server's span becomes a part of this trace. */
  readonly traceparent?: string;
  /** The call is over: `ok`, or the code of its error. */
  end(code: string): void;
}

/** The option `tracing` of clients; `millrace/otel` makes one. What it throws is ignored. */
export interface ClientTracing {
  /** A call begins. Undefined: nothing is to be told of it. */
  call(command: string): CallTrace | undefined;
}

/** What a server knows of a request as it begins. */
export interface TracedRequest {
  /** One of the server's commands, or `(unknown)`. */
  readonly command: string;
  readonly requestId: string;
  readonly remote: string;
  /** What has come with it; not checked. */
  readonly traceparent: string | undefined;
}

/** One request at a server. */
export interface RequestTrace {
  /** Runs what belongs to the request: its handler, where that is on the main thread. Returns what `work` returns. */
  run<T>(work: () => T): T;
  /** It is over: `ok`, or the code of its error; response bytes before encoding and on the wire. */
  end(outcome: { readonly code: string; readonly bytes: number; readonly wireBytes: number }): void;
}

/** The option `tracing` of servers; `millrace/otel` makes one. What it throws is ignored, but for {@link RequestTrace.run}. */
export interface ServerTracing {
  /** A request begins. Undefined: nothing is to be told of it. */
  request(request: TracedRequest): RequestTrace | undefined;
}

export const clientTracing = nested({ call: callable }, 'call');
export const serverTracing = nested({ request: callable }, 'request');

/** What `tell` returns; undefined where it throws: who watches changes nothing, nor does a promise of theirs that rejects. */
export function quietly<T>(tell: () => T): T | undefined {
  try {
    const told = tell();
    watchRejection(told, () => undefined);
    return told;
  } catch {
    return undefined;
  }
}
