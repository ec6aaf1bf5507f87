/** The options of a server: what they mean, their defaults and bounds. */

import { availableParallelism } from 'node:os';
import type { TlsOptions } from 'node:tls';
import type { ResourceLimits } from 'node:worker_threads';
import { z } from 'zod';
import type { RecordOptions } from '../capture/recorder.ts';
import { type CodecModule, TUNINGS, type Tuning } from '../encoding/codec.ts';
import { availableMemory } from '../lanes/memory.ts';
import { MAX_STREAMS, POLICY_NAMES, type Policy, type PolicyName } from '../lanes/policy.ts';
import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import type { Authorize } from './authorize.ts';
import type { CommandDefinition } from './commands.ts';

export interface ServerOptions {
  /** Commands by name, beside the built-in `capabilities` and `echo`. */
  commands?: Record<string, CommandDefinition>;
  /** Folder that `files.list`, `files.get` and `files.stat` serve; without it there are no such commands. */
  root?: string;
  /** Worker threads; default: the cores of the machine. */
  workers?: number;
  /** Which stream answers a request; default `shared`. */
  policy?: PolicyName | Policy;
  /** Response streams per connection, 1 … 12; default by policy. */
  streams?: number;
  /** Encoding of responses for clients that can decode it; default: the client's first choice. */
  profile?: string;
  /** Codecs beside the built-in ones, for clients that have them too. */
  codecs?: readonly CodecModule[];
  /** Compression level in the profile's own scale. */
  level?: number;
  /** Base-2 logarithm of the compression window. */
  windowLog?: number;
  /** Parameters beyond the level: `records`, zstd only, suits many small responses that are alike; default none. */
  tuning?: Tuning;
  /** Budget of the cache of compressed outputs in bytes; 0: none; default 64 MiB. */
  cacheBytes?: number;
  /** zstd level for cached outputs; default 9. */
  cacheLevel?: number;
  /** Most payload bytes of a frame before encoding; default 32 768. */
  frameSize?: number;
  /** Milliseconds for which a piece of a response may wait for more of it; default 0: until the end of the tick. */
  coalesceMs?: number;
  /** Write all responses to a capture file for experiments (capture/format.ts). */
  record?: RecordOptions;
  /** Hold all output until the client has ended its input (protocol A6). */
  halfDuplex?: boolean;
  /** What one connection may make us hold or do (protocol B-limits). */
  limits?: Partial<Limits>;
  /** Connections at a time; further ones are dropped at once; default 10 000. */
  maxConnections?: number;
  /**
   * Bytes of all encoding contexts together; default a quarter of the memory that the process may use. Over it idle
   * streams are ended, least recently used first, then new ones get smaller windows, at last responses go unencoded.
   */
  contextMemory?: number;
  /**
   * Bytes of output that all connections together may hold before their handlers wait; default an eighth of the memory
   * that the process may use. Each connection may hold 128 KiB whatever the others do.
   */
  outputMemory?: number;
  /** Milliseconds that a response stream may be idle before its context is freed; default 300 000. */
  streamIdleTimeout?: number;
  /** Milliseconds after which a response stream is ended and begun afresh; default 3 600 000. */
  streamLifetime?: number;
  /** Milliseconds that a worker may give no sign of life before it is ended, its streams with it; default 10 000. */
  laneTimeout?: number;
  /** Memory bounds of each worker's JavaScript heap, as node:worker_threads takes them; default: Node's own. */
  resourceLimits?: ResourceLimits;
  /**
   * Milliseconds of silence after which a peer that speaks ping is asked for a sign of life; after as many again without
   * one it counts as dead. For others it is TCP's keepalive time. 0: never; default 30 000.
   */
  keepAliveInterval?: number;
  /** Serve TLS, with node:tls's options; `requestCert` and `ca` make it mutual. */
  tls?: TlsOptions;
  /** Says who gets in; asked for every connection before anything is read from it, and for every command. */
  authorize?: Authorize;
  /** Told of handlers' exceptions, broken connections, dead workers and a recording that failed; default: nobody is. */
  onError?: (error: Error, about: ErrorContext) => void;
}

/** What an error happened to. */
export interface ErrorContext {
  command?: string;
  remote?: string;
  lane?: number;
  recording?: true;
}

const MAX_TIMER_MS = 2 ** 31 - 1;
const count = z.int().min(1);
const milliseconds = count.max(MAX_TIMER_MS);
const callable = <T>() => z.custom<T>((value) => typeof value === 'function').optional();
const object = <T>() => z.custom<T>((value) => typeof value === 'object' && value !== null).optional();

const OPTIONS = z.strictObject({
  commands: z.record(z.string().min(1), z.any()).default({}),
  root: z.string().optional(),
  workers: count.max(256).default(availableParallelism()),
  policy: z
    .union([z.enum(POLICY_NAMES), z.custom<Policy>((value) => typeof value === 'function')])
    .default('shared'),
  streams: count.max(MAX_STREAMS).optional(),
  profile: z.string().optional(),
  codecs: z
    .array(z.custom<CodecModule>((value) => typeof (value as CodecModule)?.url === 'string'))
    .default([]),
  level: z.int().optional(),
  windowLog: z.int().min(9).max(23).optional(),
  tuning: z.enum(TUNINGS).optional(),
  cacheBytes: z
    .int()
    .min(0)
    .default(64 << 20),
  cacheLevel: z.int().min(1).max(19).default(9),
  frameSize: count.max(DEFAULT_FRAME_SIZE).default(DEFAULT_FRAME_SIZE),
  coalesceMs: z.number().min(0).max(1000).default(0),
  record: z.strictObject({ path: z.string().min(1), maxBytes: count.optional() }).optional(),
  halfDuplex: z.boolean().default(false),
  limits: z
    .strictObject(Object.fromEntries(Object.keys(DEFAULT_LIMITS).map((name) => [name, count.optional()])))
    .default({}),
  maxConnections: count.default(10_000),
  contextMemory: count.optional(),
  outputMemory: count.default(() => Math.floor(availableMemory() / 8)),
  streamIdleTimeout: milliseconds.default(300_000),
  streamLifetime: milliseconds.default(3_600_000),
  laneTimeout: milliseconds.default(10_000),
  resourceLimits: object<ResourceLimits>(),
  keepAliveInterval: z.int().min(0).max(MAX_TIMER_MS).default(30_000),
  tls: object<TlsOptions>(),
  authorize: callable<Authorize>(),
  onError: callable<NonNullable<ServerOptions['onError']>>(),
});

export type CheckedOptions = z.output<typeof OPTIONS>;

/** The options with their defaults. @throws Error that names the option which is wrong. */
export function checkOptions(options: ServerOptions): CheckedOptions {
  const result = OPTIONS.safeParse(options);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const at = issue.path.length > 0 ? `option ${issue.path.join('.')}: ` : '';
  throw new Error(`${at}${issue.message}`);
}
