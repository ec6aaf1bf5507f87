/**
 * What a bench compares: a server that answers request i with payload i, and a client that asks for it on one
 * connection. Load, counting and checking are the same for all and live in load.ts and child.ts.
 */
import type { Payloads } from '../payloads.ts';

/** What millrace can vary; peers that have no such thing ignore it. Plain data: it crosses a process boundary. */
export interface PeerOptions {
  readonly workers?: number;
  readonly level?: number;
  readonly tuning?: 'records';
  readonly profile?: string;
  readonly policy?: string;
  readonly streams?: number;
  /** File of a dictionary, and where clients keep it. */
  readonly dictionary?: string;
  readonly dictionaryCache?: string;
  readonly contexts?: 'kept' | 'none' | 'auto';
  /** Where the command handler runs. */
  readonly handler?: 'main' | 'worker';
  /** Send the response from the cache of compressed payloads. */
  readonly cached?: boolean;
  /** Have its metrics asked for, and perhaps its requests logged. */
  readonly watched?: 'metrics' | 'requests';
}

export interface Served {
  readonly port: number;
  /** Microseconds of CPU that processes or threads outside this process spent for the server, by name. */
  outsideCpu?(): Record<string, number>;
  /** Frames that encoders have made so far. */
  encodedFrames?(): Promise<number>;
  /** Peak resident bytes of a server that is not this process. */
  outsidePeakRss?(): number;
  close(): void | Promise<void>;
}

export interface Connection {
  /** Asks for payload `i` and resolves with the decoded response. */
  fetch(i: number): Promise<Uint8Array>;
  close(): void | Promise<void>;
}

/** How long a client waits for its connection, in milliseconds: no figure has it in it, and a machine may have much to do. */
export const CONNECT_MS = 60_000;

export interface Peer {
  readonly name: string;
  /** One line for the report: library, version, and what is set otherwise than it comes. */
  readonly describe: string;
  /** Why it cannot run here; missing or undefined: it can. */
  missing?(): string | undefined;
  serve(payloads: Payloads, options: PeerOptions): Promise<Served>;
  connect(port: number, options: PeerOptions): Promise<Connection>;
}
