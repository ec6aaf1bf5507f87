/** What a handler gives, told apart: output that can be sent, or something that more output comes from. */

import { bytesOrTextOf, kindOf, sourceOf } from '../wire/bytes.ts';
import { CachedOutput, type Output, ProgressOutput, TextOutput } from './command.ts';

/** Iterators as users write them: nothing that they give is believed. */
export interface UserIterator {
  next(): unknown;
  return?(): unknown;
}

/** What an iterator gave for one step. */
export interface Step {
  readonly done: boolean;
  readonly value: Output;
}

/** The iterator of what a handler returned, or undefined when that is output itself, or a promise of it. */
export function iteratorOf(returned: unknown): UserIterator | undefined {
  if (typeof returned !== 'object' || returned === null || isSpecial(returned)) return undefined;
  if (ArrayBuffer.isView(returned)) return undefined;
  const source = sourceOf(returned);
  if (source !== undefined) return checked(source[Symbol.asyncIterator]());
  const { [Symbol.iterator]: iterate } = returned as Iterable<unknown>;
  return typeof iterate === 'function' ? checked(iterate.call(returned)) : undefined;
}

/** The iterator of output that comes in pieces, such as a Blob or a stream; undefined for any other. */
export function nestedIteratorOf(output: unknown): UserIterator | undefined {
  const source = sourceOf(output);
  return source && checked(source[Symbol.asyncIterator]());
}

/** @throws TypeError when what next() gave is no result, and whatever its getters throw. */
export function stepOf(result: unknown): Step {
  if (typeof result !== 'object' || result === null)
    throw new TypeError(`next() of the handler's iterator gave ${String(result)}, which is no result`);
  const done = Boolean((result as IteratorResult<Output>).done);
  return { done, value: done ? '' : (result as IteratorResult<Output>).value };
}

/** Output that is neither bytes nor text for the response. */
export function isSpecial(output: unknown): output is CachedOutput | TextOutput | ProgressOutput {
  return output instanceof CachedOutput || output instanceof TextOutput || output instanceof ProgressOutput;
}

/**
 * The bytes of output that is bytes or text. What is neither is told from a buffer by an error that is thrown and caught,
 * for each kind of buffer there is, which costs some µs; so our own output is not asked.
 */
export function outputBytes(output: unknown): Uint8Array | undefined {
  return isSpecial(output) ? undefined : bytesOrTextOf(output);
}

/** The bytes of cached output; they are the caller's. @throws whatever `produce` does. */
export async function producedBy({ produce }: CachedOutput): Promise<Uint8Array> {
  const output = await produce();
  const bytes = bytesOrTextOf(output);
  if (bytes === undefined)
    throw new TypeError(`cached output is made of bytes or a string, not of ${kindOf(output)}`);
  return bytes;
}

export function isPromise(value: unknown): value is PromiseLike<Output | undefined> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

const { then } = Promise.prototype;

/** Waits for `value` whatever its own `then` does: exactly one of the two is called, once. They must not throw. */
export function settle<T>(value: unknown, done: (value: T) => void, failed: (error: unknown) => void): void {
  const promise = value instanceof Promise ? value : Promise.resolve(value);
  then.call(promise, done as (value: unknown) => void, failed);
}

function checked(iterator: unknown): UserIterator {
  if (typeof iterator !== 'object' || iterator === null)
    throw new TypeError("the handler's iterable gave no iterator");
  return iterator as UserIterator;
}
