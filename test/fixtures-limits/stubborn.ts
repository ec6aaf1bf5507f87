/** Commands that do not hear that they are cancelled. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type CachedOutput, type CommandRequest, cached } from '../../src/reactor/command.ts';

export default async function stubborn(): Promise<string> {
  return sleep(1500, 'too late');
}

let keys = 0;

/** Output that is long in the making, under a new key each time. */
export async function* producer(): AsyncGenerator<CachedOutput> {
  yield cached(`key ${keys++}`, () => sleep(1500, new Uint8Array(10)));
}

/** Sends `size` bytes, if any, and then nothing until it is stopped. */
export async function* idle({ text, signal }: CommandRequest): AsyncGenerator<Uint8Array> {
  const size = Number(text('size') ?? 0);
  if (size > 0) yield new Uint8Array(size);
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
}

/** Begins, and does not end. */
export async function* never(): AsyncGenerator<string> {
  yield 'x';
  await new Promise(() => undefined);
}
