/**
 * Every setting of `millrace serve`, once: what it may be, what it does, what holds without it. Flags, variables and the
 * file are held to this schema; --help and docs/settings.md are made from it.
 */

import { z } from 'zod';
import { TUNINGS } from '../encoding/codec.ts';
import { POLICY_NAMES } from '../lanes/policy.ts';
import { CONTEXTS } from '../lanes/stream-kind.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { MESSAGE_SIZE } from '../wire/messages.ts';
import { MAX_TIMER_MS } from '../wire/timers.ts';
import {
  bytes,
  dictionaries,
  oneOf,
  origins,
  place,
  redisUrl,
  text,
  toggle,
  topics,
  whole,
} from './kinds.ts';

/** When a setting that SIGHUP finds changed holds: for what begins from then on, or for everything at once. */
export type Reloads = 'connections' | 'at once';

/** What a setting is, beside the values that it may have. */
export interface SettingFacts {
  /** One line, for --help and the reference. */
  readonly what: string;
  /** The value's name in --help; undefined: a switch. */
  readonly value?: string;
  /** What holds without it, as a value … */
  readonly initially?: string | number;
  /** … or in words. */
  readonly otherwise?: string;
  /** Its flag, where that is not its name. */
  readonly flag?: string;
  /** Settings that cannot be used with it. */
  readonly against?: readonly string[];
  /** Missing: a new start is needed. */
  readonly reloads?: Reloads;
  /** Never shown. */
  readonly secret?: true;
}

export const facts = z.registry<SettingFacts>();

function setting<Kind extends z.ZodType>(kind: Kind, about: SettingFacts): z.ZodOptional<Kind> {
  const schema = kind.optional();
  facts.add(schema, about);
  return schema;
}

/** Limits of the whole server that have no flag of their own. */
export const SERVER_LIMITS = [
  'maxConnections',
  'outputMemory',
  'inputMemory',
  'streamIdleTimeout',
  'streamLifetime',
  'laneTimeout',
  'keepAliveInterval',
] as const;

export type AnyLimit = keyof typeof DEFAULT_LIMITS | (typeof SERVER_LIMITS)[number];

export const LIMIT_NAMES = [...Object.keys(DEFAULT_LIMITS), ...SERVER_LIMITS] as AnyLimit[];

/** Limits that an open server cannot change. */
const FIXED_LIMITS: readonly string[] = [
  'inputMemory',
  'streamIdleTimeout',
  'streamLifetime',
  'laneTimeout',
  'keepAliveInterval',
];

/** The least that some may be; others 1. */
const LEAST: Partial<Record<AnyLimit, number>> = { keepAliveInterval: 0, maxMessage: MESSAGE_SIZE };

const limit = (name: AnyLimit) =>
  setting(whole(LEAST[name] ?? 1), {
    what: 'see SECURITY.md',
    reloads: FIXED_LIMITS.includes(name) ? undefined : 'connections',
  });

const LIMITS = z.strictObject(
  Object.fromEntries(LIMIT_NAMES.map((name) => [name, limit(name)])) as Record<
    AnyLimit,
    ReturnType<typeof limit>
  >,
);

/** What an experiment recommends, which is not to be contradicted. */
const RECOMMENDED = [
  'profile',
  'level',
  'windowLog',
  'tuning',
  'dictionaries',
  'contexts',
  'policy',
  'streams',
  'frameSize',
  'coalesceMs',
];

export const SETTINGS = z.strictObject({
  dir: setting(text, { what: 'the folder to serve', value: 'dir' }),
  host: setting(text, { what: 'address to listen on', value: 'host', initially: '127.0.0.1' }),
  port: setting(whole(0, 65_535), {
    what: 'port to listen on, 0 for a free one',
    value: 'port',
    initially: 7711,
  }),
  socket: setting(text, {
    what: 'listen on a Unix socket instead',
    value: 'path',
    against: ['host', 'port'],
  }),
  workers: setting(whole(1, 256), { what: 'worker threads', value: 'n', otherwise: 'one per core' }),
  profile: setting(text, {
    what: 'identity, zlib or zstd-8mb',
    value: 'name',
    otherwise: "the client's choice",
    reloads: 'connections',
  }),
  level: setting(whole(-131_072, 22), {
    what: "compression level, in the profile's own scale",
    value: 'n',
    reloads: 'connections',
  }),
  windowLog: setting(whole(9, 23), {
    what: 'base-2 logarithm of the compression window',
    value: 'n',
    reloads: 'connections',
  }),
  tuning: setting(oneOf(TUNINGS), {
    what: 'parameters beyond the level, for small responses that are alike',
    value: 'name',
    reloads: 'connections',
  }),
  policy: setting(oneOf(POLICY_NAMES), {
    what: 'which stream answers a request',
    value: 'name',
    initially: 'shared',
  }),
  streams: setting(whole(1, 12), { what: 'streams per connection', value: 'n', otherwise: 'by policy' }),
  dictionaries: setting(dictionaries, {
    what: 'a dictionary that contexts begin with, for these commands or for all; may be repeated',
    value: 'file[=command,...]',
    flag: 'dictionary',
  }),
  contexts: setting(oneOf(CONTEXTS), {
    what: 'whether streams keep their context; auto: while there are few',
    value: 'how',
    otherwise: 'auto with a dictionary, else kept',
  }),
  cacheBytes: setting(bytes(), {
    what: 'budget for compressed files that are kept',
    value: 'bytes',
    otherwise: '64M',
  }),
  contextMemory: setting(bytes(1), {
    what: 'budget for all compression contexts',
    value: 'bytes',
    otherwise: 'a quarter of the memory',
    reloads: 'at once',
  }),
  limits: LIMITS.optional().register(facts, {
    what: 'change a limit; may be repeated',
    value: 'name=value',
    flag: 'limit',
    reloads: 'connections',
  }),
  topics: setting(topics, {
    what: 'have a topic, and keep so many messages of it; may be repeated',
    value: 'name[=messages]',
    flag: 'topic',
  }),
  relay: setting(redisUrl, {
    what: 'join topics with those of other processes and machines by this Redis; needs the package ioredis',
    value: 'redis-url',
    secret: true,
  }),
  frameSize: setting(whole(1, 32_768), { what: 'most bytes of a frame before encoding', value: 'bytes' }),
  coalesceMs: setting(whole(0, 1000), {
    what: 'how long a piece of a response waits for more of it',
    value: 'n',
  }),
  profileFrom: setting(text, {
    what: 'start as an experiment recommends, instead of flags',
    value: 'results.json',
    against: RECOMMENDED,
  }),
  aim: setting(oneOf(['balanced', 'bytes', 'cpu', 'memory', 'connections', 'cost']), {
    what: 'which of its recommendations',
    value: 'aim',
    initially: 'balanced',
  }),
  record: setting(text, {
    what: 'write all responses, in clear, to a new file for experiments',
    value: 'file',
  }),
  recordBytes: setting(bytes(1), {
    what: 'size at which recording stops',
    value: 'bytes',
    otherwise: '256M',
  }),
  tlsCert: setting(text, {
    what: 'serve TLS with this certificate, chain included (PEM)',
    value: 'file',
    reloads: 'connections',
  }),
  tlsKey: setting(text, {
    what: "the certificate's private key (PEM)",
    value: 'file',
    reloads: 'connections',
  }),
  tlsPassphrase: setting(text, {
    what: "of the private key; better in MILLRACE_TLS_PASSPHRASE, where 'ps' does not show it",
    value: 'text',
    reloads: 'connections',
    secret: true,
  }),
  tlsClientCa: setting(text, {
    what: 'let in only who has a certificate of these authorities (PEM)',
    value: 'file',
    reloads: 'connections',
  }),
  admin: setting(place, {
    what: 'answer /metrics, /healthz and /readyz over HTTP there',
    value: 'host:port',
    otherwise: 'nowhere',
  }),
  metrics: setting(toggle, {
    what: 'answer them on the port that is served, too, to whoever reaches it',
    against: ['processes'],
  }),
  proxyProtocol: setting(toggle, {
    what: 'every connection begins with a PROXY header; only where nobody but the proxy gets in, for it is believed',
  }),
  page: setting(toggle, {
    what: 'whether there is a live page at /, with the command server.stats that it reads',
    flag: 'no-page',
    otherwise: 'there is',
  }),
  origins: setting(origins, {
    what: "pages of this origin may come in, instead of the server's own; may be repeated",
    value: 'origin',
    flag: 'origin',
    otherwise: "the server's own",
  }),
  log: setting(oneOf(['error', 'warn', 'info', 'debug']), {
    what: 'write a log to standard error, from this level on',
    value: 'level',
    otherwise: 'plain lines about what goes wrong',
    reloads: 'at once',
  }),
  logFormat: setting(oneOf(['json', 'pretty']), {
    what: 'of the log',
    value: 'format',
    otherwise: 'pretty on a terminal, else json',
  }),
  accessLog: setting(toggle, { what: 'log a line for every request', reloads: 'at once' }),
  processes: setting(whole(1, 256), {
    what: 'processes that share the port',
    value: 'n',
    initially: 1,
  }),
  maxConnectionAge: setting(whole(1, MAX_TIMER_MS), {
    what: 'milliseconds after which a connection is asked to go, so that its client makes another one',
    value: 'ms',
    otherwise: 'never',
    reloads: 'connections',
  }),
  grace: setting(whole(0, MAX_TIMER_MS), {
    what: 'milliseconds that requests in flight have to finish when the server stops',
    value: 'ms',
    initially: 5000,
    reloads: 'at once',
  }),
  verbose: setting(toggle, { what: 'report broken connections, too', reloads: 'at once' }),
});

/** The settings as they come out of the schema. */
export type Settings = z.output<typeof SETTINGS>;
export type SettingName = keyof Settings;

export const SETTING_NAMES = Object.keys(SETTINGS.shape) as SettingName[];

export function factsOf(name: SettingName): SettingFacts {
  return facts.get(SETTINGS.shape[name]) as SettingFacts;
}

/** The names that a setting chooses from; undefined where it is none of them. */
export function choicesOf(name: SettingName): readonly string[] | undefined {
  const kind: z.ZodType = SETTINGS.shape[name].unwrap();
  return kind instanceof z.ZodEnum ? (kind.options as string[]) : undefined;
}

/** `cacheBytes` as a flag: `--cache-bytes`. */
export function flagOf(name: SettingName): string {
  return `--${factsOf(name).flag ?? name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `cacheBytes` as a variable: `MILLRACE_CACHE_BYTES`. */
export function variableOf(name: string): string {
  return `MILLRACE_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
}

/** When a change of the setting holds, `limits.maxConnections` among them; undefined: with a new start. */
export function reloadsOf(path: string): Reloads | undefined {
  const [name, limitName] = path.split('.');
  if (limitName === undefined) return factsOf(name as SettingName).reloads;
  return facts.get(LIMITS.shape[limitName as AnyLimit])?.reloads;
}
