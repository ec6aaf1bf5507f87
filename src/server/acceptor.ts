/**
 * Makes sessions of a server's connections, whichever way they come. Owns what holds for those that come from now on:
 * the options and limits in force, and what sessions are made with.
 */

import type { Recorder } from '../capture/recorder.ts';
import { Connection, type Shared } from '../connection/connection.ts';
import type { Transport } from '../connection/transport.ts';
import type { EncoderOptions } from '../encoding/codec.ts';
import { defaultStreams, makePolicy } from '../lanes/policy.ts';
import type { Limits } from '../wire/limits.ts';
import type { Answer } from './answer-feed.ts';
import { Admission, type ConnectionInfo } from './authorize.ts';
import { type AskedCommand, CallSession, GIVEN_UP } from './call-session.ts';
import type { Report } from './error-log.ts';
import { FramesSession } from './frames-session.ts';
import { type CheckedOptions, limitsOf } from './options.ts';
import type { SessionContext, SessionRules } from './session-context.ts';
import type { Sessions } from './sessions.ts';
import type { Totals } from './totals.ts';

/** What no change of options changes. */
export interface AcceptorParts {
  readonly context: Omit<
    SessionContext,
    'tracing' | 'answers' | 'router' | 'halfDuplex' | 'coalesceMs' | 'report' | 'closed'
  >;
  readonly sessions: Sessions;
  readonly totals: Totals;
  readonly recorder: Recorder | undefined;
  readonly shared: Shared;
  readonly report: Report;
}

/** The server's stream for what no context touches. */
const PLAIN_STREAM = 2;

export class Acceptor {
  readonly #parts: AcceptorParts;
  #options: CheckedOptions;
  #limits: Limits;
  #context: SessionContext;
  #stopped = false;

  /** `encoders`: what the encoders of responses are made with, by profile. */
  constructor(parts: AcceptorParts, options: CheckedOptions, encoders: Map<string, EncoderOptions>) {
    this.#parts = parts;
    this.#options = options;
    this.#limits = limitsOf(options);
    this.#context = contextOf(parts, options, encoders);
  }

  get options(): CheckedOptions {
    return this.#options;
  }

  get limits(): Limits {
    return this.#limits;
  }

  /** False while there are as many connections as there may be, and once it is stopped. */
  get takes(): boolean {
    return !this.#stopped && !this.#isFull;
  }

  /** What holds for connections that come from now on. */
  update(options: CheckedOptions, encoders: Map<string, EncoderOptions>): void {
    this.#options = options;
    this.#limits = limitsOf(options);
    this.#context = contextOf(this.#parts, options, encoders);
  }

  /** Takes no more of what {@link serveIfTaken} is given. */
  stop(): void {
    this.#stopped = true;
  }

  /** As {@link serve}; a connection that comes while none is taken is destroyed. */
  serveIfTaken(transport: Transport, info: ConnectionInfo, rules?: SessionRules): void {
    if (this.#hasRoom(info)) this.serve(transport, info, rules);
    else transport.destroy();
  }

  /** Runs one command of somebody who speaks no frames; undefined: none is taken, and the answer says so. */
  call(
    command: AskedCommand,
    answer: Answer,
    info: ConnectionInfo,
    admission = this.admission(info),
  ): CallSession | undefined {
    if (!this.#hasRoom(info)) {
      answer.fail(GIVEN_UP);
      return undefined;
    }
    const { shared, sessions } = this.#parts;
    const session = new CallSession(command, answer, info.remote, {
      context: this.#context,
      limits: this.#limits,
      shared,
      admission,
    });
    sessions.add(session);
    session.start();
    return session;
  }

  /** Makes a session of a connection: of a socket's, or of any other transport. */
  serve(transport: Transport, info: ConnectionInfo, rules?: SessionRules): void {
    const { recorder, shared, sessions } = this.#parts;
    const watched = recorder?.watch(transport) ?? transport;
    const connection = new Connection(watched, this.#limits, PLAIN_STREAM, shared);
    const session = new FramesSession(connection, this.#context, this.admission(info), rules);
    sessions.add(session, this.#options.maxConnectionAge);
    session.start();
  }

  /** Who says whether somebody gets in; undefined: everybody does. */
  admission(info: ConnectionInfo): Admission | undefined {
    const { authorize, authorizeTimeout: timeoutMs } = this.#options;
    if (authorize === undefined) return undefined;
    const { remote } = info;
    const report = (error: unknown, command: string | undefined) =>
      this.#parts.report(error, command === undefined ? { remote } : { command, remote });
    return new Admission(info, { authorize, timeoutMs, report });
  }

  /** Whether one more is taken; who is one too many is counted. */
  #hasRoom({ remote }: ConnectionInfo): boolean {
    const isFull = this.#isFull;
    if (isFull) this.#parts.totals.limitHit('maxConnections', remote);
    return !isFull && !this.#stopped;
  }

  get #isFull(): boolean {
    return this.#parts.sessions.count >= this.#options.maxConnections;
  }
}

function contextOf(
  { context, sessions, report }: AcceptorParts,
  { tracing, policy, streams, workers, profile, frameSize, halfDuplex, coalesceMs }: CheckedOptions,
  encoderOptions: Map<string, EncoderOptions>,
): SessionContext {
  return {
    ...context,
    answers: [],
    tracing,
    router: {
      kinds: context.kinds.all,
      makePolicy: () => makePolicy(policy),
      perRequest: policy === 'per-request',
      adaptive: policy === 'adaptive',
      spread: typeof policy === 'function',
      streams: streams ?? defaultStreams(policy, workers, context.kinds.all.length),
      profile,
      encoderOptions,
      frameSize,
    },
    halfDuplex,
    coalesceMs,
    report,
    closed: (session, reason) => sessions.remove(session, reason),
  };
}
