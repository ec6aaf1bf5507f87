/** The options of a server: what they mean, their defaults and bounds. */

import { availableParallelism } from 'node:os';
import type { TlsOptions } from 'node:tls';
import type { ResourceLimits } from 'node:worker_threads';
import type { RecordOptions } from '../capture/recorder.ts';
import type { HttpOptions } from '../doors/host.ts';
import { isOrigin } from '../doors/origin.ts';
import { type CodecModule, TUNINGS, type Tuning } from '../encoding/codec.ts';
import { availableMemory } from '../lanes/memory.ts';
import { MAX_STREAMS, POLICY_NAMES, type Policy, type PolicyName } from '../lanes/policy.ts';
import type { QuarantineOptions } from '../lanes/quarantine.ts';
import { CONTEXTS, type Contexts } from '../lanes/stream-kind.ts';
import { codecModule } from '../options/codecs.ts';
import {
  arrayOf,
  boolean,
  callable,
  checkOptions as checkAgainst,
  count,
  filledString,
  given,
  integer,
  isUrlPath,
  milliseconds,
  millisecondsOr0,
  nested,
  numeric,
  object,
  oneOf,
  type Rules,
  rule,
  same,
  string,
} from '../options/rules.ts';
import { changedForLife, serverTls } from '../options/tls.ts';
import { type ServerTracing, serverTracing } from '../options/tracing.ts';
import { DEFAULT_FRAME_SIZE } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { MESSAGE_SIZE } from '../wire/messages.ts';
import type { Authorize } from './authorize.ts';
import type { CommandDefinition } from './commands.ts';
import type { DictionaryOption } from './dictionaries.ts';

/** Options of `createServer`; what is misspelt or of the wrong type is a TypeError that names it. */
export interface ServerOptions {
  /** Commands by name, beside those of every server: `capabilities`, `echo`, `ping`, `publish`, `subscribe`, and `server.stats` with its page. */
  commands?: Record<string, CommandDefinition>;
  /** Folder that `files.list`, `files.get`, `files.stat` and `files.bundle` serve; without it there are no such commands. */
  root?: string;
  /** Worker threads; default: the cores of the machine. */
  workers?: number;
  /** Which stream answers a request; default `shared`. */
  policy?: PolicyName | Policy;
  /** Response streams per connection, 1 … 12; default by policy. Commands with dictionaries or contexts of their own take theirs of the twelve. */
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
  /**
   * Dictionaries that contexts begin with, at most 16 (protocol C9): a connection's first responses are as small as later
   * ones, and with `contexts: 'none'` all are nearly so. Clients fetch them once per connection, and anybody may read them.
   */
  dictionaries?: readonly DictionaryOption[];
  /**
   * Whether response streams keep their context: `kept`; `none`, which takes no memory per connection, and whose responses
   * share nothing with each other; or `auto`: kept while there are few enough for the memory and the caches, and none beyond;
   * with a dictionary they are made once a stream has sent 12 KiB, unless beginning with them makes fewer bytes.
   * Default: `auto` with dictionaries, else `kept`. Without a dictionary `none` saves memory, not bytes; with a profile other
   * than `zstd-8mb` it means no encoding.
   */
  contexts?: Contexts;
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
  /**
   * Bytes that all connections together may hold of what their peers have sent: arguments, frames that wait, unread command
   * data; default an eighth of the memory that the process may use. Each connection may hold 64 KiB whatever the others do.
   * Past it those that hold the most have requests refused or cancelled.
   */
  inputMemory?: number;
  /** Milliseconds that a response stream may be idle before its context is freed; default 300 000. */
  streamIdleTimeout?: number;
  /** Milliseconds after which a response stream is ended and begun afresh; default 3 600 000. */
  streamLifetime?: number;
  /**
   * Milliseconds that a worker may give no sign of life before it is ended, its streams with it; default 10 000. While its
   * thread works they are those of its CPU time, so that a machine which is short of that ends none.
   */
  laneTimeout?: number;
  /**
   * When a command whose calls keep ending their workers is held: its calls then fail at once, with the code `overloaded`,
   * until it is tried again, one call at a time.
   */
  quarantine?: QuarantineOptions;
  /** Memory bounds of each worker's JavaScript heap, as node:worker_threads takes them; default: Node's own. */
  resourceLimits?: ResourceLimits;
  /**
   * Milliseconds of silence after which a peer that speaks ping is asked for a sign of life; after as many again without
   * one it counts as dead. For others it is TCP's keepalive time. 0: never; default 30 000.
   */
  keepAliveInterval?: number;
  /**
   * Milliseconds after which a connection is told to go (goaway), a tenth more or less, so that not all go at once: what
   * runs on it ends in peace, and its client makes another, perhaps to another server. Default: never.
   */
  maxConnectionAge?: number;
  /**
   * `redis://…` or `rediss://…`: topics of the same name are one on all servers that have the same relay, and resuming goes on
   * at any of them. Needs the package ioredis. While it cannot be reached nothing can be published; what was missed is told
   * as lost where its stream has it no more.
   */
  relay?: string;
  /**
   * Milliseconds that the relay may take for an answer. Then its connections are made anew, and what was being published fails:
   * with the code `relay-lost`, for it may have been. Default 5000.
   */
  relayTimeout?: number;
  /** Serve TLS, with node:tls's options; `requestCert` and `ca` make it mutual. */
  tls?: TlsOptions;
  /**
   * True: every connection begins with a header of the PROXY protocol, version 1 or 2, which says who is behind the proxy,
   * and one without is dropped. Only for a server that nobody but the proxy can reach: the header is believed. Default false.
   */
  proxyProtocol?: boolean;
  /** Told of every request, to make a span of it; `millrace/otel` has one for OpenTelemetry. Default: none. */
  tracing?: ServerTracing;
  /** What holds for HTTP and WebSockets, on ports of ours and in servers of others. */
  http?: HttpOptions;
  /** Says who gets in; asked for every connection before anything is read from it, and for every command. */
  authorize?: Authorize;
  /** Milliseconds that `authorize` may take for an answer; after that it is no; default 10 000. */
  authorizeTimeout?: number;
  /**
   * Told of handlers' exceptions, broken connections, dead workers and a recording that failed; default: console.error is,
   * once a second at most, with the number of those left out.
   */
  onError?: (error: Error, about: ErrorContext) => void;
}

/** What {@link Server.update} can change. */
export type UpdateOptions = Pick<
  ServerOptions,
  | 'profile'
  | 'level'
  | 'windowLog'
  | 'tuning'
  | 'limits'
  | 'maxConnections'
  | 'maxConnectionAge'
  | 'contextMemory'
  | 'outputMemory'
  | 'tls'
>;

const UPDATABLE: readonly (keyof UpdateOptions)[] = [
  'profile',
  'level',
  'windowLog',
  'tuning',
  'limits',
  'maxConnections',
  'maxConnectionAge',
  'contextMemory',
  'outputMemory',
  'tls',
];

/** What an error happened to. */
export interface ErrorContext {
  command?: string;
  remote?: string;
  lane?: number;
  recording?: true;
  /** Of what a worker died, or what ran on it: `command 'x'`, `decoder 'zlib'`; one command is `command`, too. */
  suspects?: string[];
}

/** Memory bounds as node:worker_threads knows them. */
const RESOURCE_LIMITS: Rules<ResourceLimits> = {
  codeRangeSizeMb: numeric(0, Number.MAX_VALUE),
  // V8 ends the whole process where a worker cannot begin, or has no stack.
  maxOldGenerationSizeMb: numeric(8, Number.MAX_VALUE),
  maxYoungGenerationSizeMb: numeric(0, Number.MAX_VALUE),
  stackSizeMb: numeric(1, Number.MAX_VALUE),
};

const HTTP_RULES: Rules<HttpOptions> = {
  prefix: rule(
    'a path without slashes at its ends',
    (value) => typeof value === 'string' && /^[\w.~-]+(?:\/[\w.~-]+)*$/.test(value) && isUrlPath(`/${value}`),
  ),
  page: boolean,
  origins: arrayOf(rule('an origin, such as https://app.example, or *', isOrigin), 'origins'),
  fallback: callable,
};

const RULES: Rules<ServerOptions> = {
  commands: object,
  root: filledString,
  workers: integer(1, 256),
  policy: oneOf(POLICY_NAMES, { what: 'a function', accepts: (value) => typeof value === 'function' }),
  streams: integer(1, MAX_STREAMS),
  profile: string,
  codecs: arrayOf(codecModule, 'codec modules'),
  level: integer(Number.MIN_SAFE_INTEGER),
  windowLog: integer(9, 23),
  tuning: oneOf(TUNINGS),
  dictionaries: arrayOf(
    nested({
      file: filledString,
      bytes: rule('a Uint8Array', (value) => value instanceof Uint8Array),
      commands: arrayOf(string, 'names of commands'),
    } satisfies Rules<DictionaryOption>),
    'dictionaries',
  ),
  contexts: oneOf(CONTEXTS),
  cacheBytes: integer(0),
  cacheLevel: integer(1, 19),
  frameSize: integer(1, DEFAULT_FRAME_SIZE),
  coalesceMs: numeric(0, 1000),
  record: nested({ path: filledString, maxBytes: count }, 'path'),
  halfDuplex: boolean,
  // Clients are not told of it: they send as much.
  limits: nested({ ...same(DEFAULT_LIMITS, count), maxMessage: integer(MESSAGE_SIZE) }),
  maxConnections: count,
  contextMemory: count,
  outputMemory: count,
  inputMemory: count,
  streamIdleTimeout: milliseconds,
  streamLifetime: milliseconds,
  laneTimeout: milliseconds,
  quarantine: nested({
    deaths: integer(1, 1000),
    withinMs: milliseconds,
    firstMs: milliseconds,
    mostMs: milliseconds,
  } satisfies Rules<QuarantineOptions>),
  resourceLimits: nested(RESOURCE_LIMITS),
  keepAliveInterval: millisecondsOr0,
  maxConnectionAge: milliseconds,
  relay: rule('a URL that begins with redis:// or rediss://', (value) => /^rediss?:\/\//.test(String(value))),
  tls: serverTls,
  proxyProtocol: boolean,
  tracing: serverTracing,
  http: nested(HTTP_RULES),
  authorize: callable,
  authorizeTimeout: milliseconds,
  relayTimeout: count,
  onError: callable,
};

const UPDATE_RULES = Object.fromEntries(UPDATABLE.map((name) => [name, RULES[name]]));

/**
 * The options with those of `changes` instead; one that is undefined goes back to what holds without it.
 * @throws TypeError that names the option which is wrong, or cannot be changed.
 */
export function updatedOptions(options: CheckedOptions, changes: UpdateOptions): CheckedOptions {
  checkAgainst(changes, UPDATE_RULES, 'update');
  if ('tls' in changes) checkTls(options.tls, changes.tls);
  return { ...options, ...changes, ...defaultsOf(changes) } as CheckedOptions;
}

function checkTls(before: TlsOptions | undefined, after: TlsOptions | undefined): void {
  if ((before === undefined) !== (after === undefined))
    throw new TypeError('option tls: whether TLS is spoken cannot change');
  const name = changedForLife(before ?? {}, after ?? {});
  if (name !== undefined)
    throw new TypeError(`option tls.${name}: it cannot change while the server is open`);
}

/** What holds for those that are given as undefined. */
function defaultsOf(changes: UpdateOptions): Partial<ServerOptions> {
  const all: Partial<ServerOptions> = defaults();
  const names = Object.keys(changes) as (keyof UpdateOptions)[];
  return Object.fromEntries(
    names.filter((name) => changes[name] === undefined).map((name) => [name, all[name]]),
  );
}

export const DEFAULT_CACHE_BYTES = 64 << 20;
export const DEFAULT_MAX_CONNECTIONS = 10_000;

/** What holds for an option that is not given; the others are off then, or up to what they are about. */
function defaults() {
  return {
    commands: {},
    workers: availableParallelism(),
    policy: 'shared',
    codecs: [],
    dictionaries: [],
    cacheBytes: DEFAULT_CACHE_BYTES,
    cacheLevel: 9,
    frameSize: DEFAULT_FRAME_SIZE,
    coalesceMs: 0,
    halfDuplex: false,
    limits: {},
    maxConnections: DEFAULT_MAX_CONNECTIONS,
    outputMemory: Math.floor(availableMemory() / 8),
    inputMemory: Math.floor(availableMemory() / 8),
    streamIdleTimeout: 300_000,
    streamLifetime: 3_600_000,
    laneTimeout: 10_000,
    keepAliveInterval: 30_000,
    proxyProtocol: false,
    http: {},
    authorizeTimeout: 10_000,
    relayTimeout: 5000,
  } satisfies ServerOptions;
}

export type CheckedOptions = ServerOptions & Required<Pick<ServerOptions, keyof ReturnType<typeof defaults>>>;

/** The options with their defaults. @throws TypeError that names the option which is wrong. */
export function checkOptions(options: ServerOptions): CheckedOptions {
  checkAgainst(options, RULES, 'createServer');
  return { ...defaults(), ...given(options) };
}

/** All limits: the given ones, else those that hold by default. */
export function limitsOf({ limits }: CheckedOptions): Limits {
  return { ...DEFAULT_LIMITS, ...given(limits) } as Limits;
}
