/** What the commands' arguments may look like. */

import { statSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { fsProblem } from '../files/paths.ts';
import { sizeOf } from '../options/sizes.ts';

export const DEFAULT_PORT = 7711;

/** Where to connect to. */
export type Target = { host: string; port: number } | { path: string };

/** `HOST:PORT`, `[IPV6]:PORT`, `:PORT` (this machine) or `unix:PATH`. @throws InvalidArgumentError */
export function parseTarget(text: string): Target {
  if (text.startsWith('unix:') && text.length > 5) return { path: text.slice(5) };
  const match = /^(?:\[([^\]]+)\]|([^:[\]/]*)):(\d+)$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null) throw new InvalidArgumentError('It has to be HOST:PORT or unix:PATH.');
  if (port < 1 || port > 65_535) throw new InvalidArgumentError('The port has to be from 1 to 65535.');
  return { host: match[1] ?? (match[2] || '127.0.0.1'), port };
}

/** Where there is a server for clients: there, or behind the URL of a WebSocket. */
export type ServerTarget = Target | URL;

/** How its argument is told of. */
export const SERVER = 'HOST:PORT, unix:PATH, or the URL of a WebSocket';

/** What {@link parseTarget} takes, or `ws://…` or `wss://…`. @throws InvalidArgumentError */
export function parseServer(text: string): ServerTarget {
  if (!/^\w+:\/\//.test(text)) return parseTarget(text);
  const url = /^wss?:/i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  if (url?.hash === '') return url;
  throw new InvalidArgumentError('A URL has to be one of ws:// or wss://, without a fragment (#…).');
}

/** How people write where something listens. */
export function showTarget(target: Target): string {
  if ('path' in target) return `unix:${target.path}`;
  return target.host.includes(':') ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`;
}

/** Text that says something: an empty host would be every address of the machine. @throws InvalidArgumentError */
export function notEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('It must not be empty.');
}

/** A parser of whole numbers from `min` to `max`. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It has to be a whole number from ${min} to ${max}.`);
  };
}

/** Bytes as a number, perhaps with K, M or G for powers of 1 024. @throws InvalidArgumentError */
export function parseBytes(text: string): number {
  const value = sizeOf(text);
  if (Number.isSafeInteger(value)) return value;
  if (value > 0) throw new InvalidArgumentError(`It has to be ${Number.MAX_SAFE_INTEGER} bytes at most.`);
  throw new InvalidArgumentError('It has to be a number of bytes, such as 65536, 64K or 1G.');
}

/** A parser of `name=value` that adds to what came before. */
export function pairs<V>(parse: (value: string, name: string) => V) {
  return (text: string, before: Record<string, V> = {}): Record<string, V> => {
    const cut = text.indexOf('=');
    if (cut < 1) throw new InvalidArgumentError('It has to be name=value.');
    const name = text.slice(0, cut);
    if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`'${name}' is given twice.`);
    const value = parse(text.slice(cut + 1), name);
    // A copy for each would take quadratic time, and `__proto__` is a name like any other.
    return Object.defineProperty(before, name, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  };
}

/** @throws Error when `dir` is not a folder that can be served. */
export function checkFolder(dir: string): void {
  try {
    if (statSync(dir).isDirectory()) return;
  } catch (error) {
    throw new Error(`cannot serve ${dir}: ${fsProblem(error)}`);
  }
  throw new Error(`cannot serve ${dir}: not a folder`);
}
