/**
 * One client as the server sees it: whoever its requests come from and are answered to. That is a connection that carries
 * frames (FramesSession), or one command of somebody who speaks none (CallSession).
 */

import type { CacheStreams } from '../lanes/cache-stream.ts';
import type { StreamFigures } from '../lanes/figures.ts';
import type { Router } from '../lanes/router.ts';
import type { ConnectionFlow } from '../reactor/flow.ts';
import type { FlushQueue } from '../reactor/flush-queue.ts';
import type { TopicStreams } from '../topics/streams.ts';
import type { Failure } from '../wire/failure.ts';
import type { Bagged } from './bag.ts';
import type { ConnectionCaller } from './caller.ts';
import type { OpenRequests } from './open-requests.ts';
import type { ServedRequest } from './request.ts';
import type { SessionContext } from './session-context.ts';

/** Which stream answers a request. */
export interface RequestRouter
  extends Pick<Router, 'acquire' | 'leave' | 'stopWaiting'>,
    Partial<Pick<Router, 'sendInline'>> {
  readonly options: Pick<Router['options'], 'profile' | 'frameSize' | 'maxWindowLog' | 'holds'>;
}

/** How cached outputs get into its responses as they are. */
export interface Splicing {
  readonly profile: string;
  /** Bytes of an entry whose window the client takes. */
  readonly maxSize: number;
  readonly streams: CacheStreams;
}

/** Frames and bytes before and after encoding. */
export interface PlainFigures {
  frames: number;
  bytesIn: number;
  bytesOut: number;
}

export interface Session extends Bagged {
  readonly shared: SessionContext;
  readonly remote: string;
  readonly openedAtMs: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly requests: OpenRequests;
  /** What no stream has encoded of responses. */
  readonly plain: PlainFigures;
  /** Figures of the response streams, those of ended ones included. */
  figures(): StreamFigures[];
  /** Figures of those that are open. */
  openFigures(): StreamFigures[];

  // ------------------------------------------------------------------ what is done to all sessions of a server

  /** Accepts no new requests; closes when those in flight are done (protocol C5). */
  drain(reason: string): void;
  /** Answers what is still in flight with an error, and closes. */
  stop(reason: string): void;
  /** It is old: its client is told to make another connection, where it understands that. */
  retire(): void;
  /** To be called once in a while; drops a client that has gone without a word. */
  checkPeer(): void;
  /** Finds a client that has gone although nothing is read from it; cheap, and to be called often. */
  probe(): void;

  // ------------------------------------------------------------------------------- what requests ask, and tell

  readonly flow: ConnectionFlow;
  readonly router: RequestRouter;
  /** Responses that hold a piece until the tick ends. */
  readonly flushes: FlushQueue;
  /** Who its requests come from. */
  readonly caller: ConnectionCaller;
  readonly sendsProgress: boolean;
  /** What the client takes of an error (protocol C11). */
  readonly errorDetail: number;
  /** Undefined: they do not, and are produced like any other output. */
  readonly splicing: Splicing | undefined;
  /** Streams that carry topics; undefined: messages go out as they are. */
  readonly topicStreams: TopicStreams | undefined;
  /** Whether what many sessions share should be sent now; if not, the output's level falls when it may. */
  readonly takesMore: boolean;
  /** No other request of the session has the same. */
  nextSerial(): number;
  /** Sends what no context touches: the contents of one frame. `payload` is copied. */
  sendPlain(requestId: number, type: number, flags: number, payload?: Uint8Array): void;
  /** Response bytes go out by {@link sendPlain}, or from a lane that does not encode them: `wireBytes`, if that is not one frame of them. */
  passedPlain(bytes: number, wireBytes?: number): void;
  /** Sends an application error of at most `most` bytes by {@link sendPlain}. */
  sendError(requestId: number, failure: Failure, most?: number): void;
  /** Answers with an application error without running anything, for `command` where it is the first that is heard of it. */
  refuse(requestId: number, failure: Failure, command?: string): void;
  /**
   * The last frame has been given to the writer, or nothing more will be sent. `lingers`: bytes of the arguments of its
   * handler that is still at work; undefined: none is.
   */
  finished(request: ServedRequest, lingers: number | undefined): void;
  report(error: unknown, command: string | undefined): void;
}
