/** What user code throws, or gives as a reason: anything at all, made an Error that can be read. */

/** Most characters of a text that crosses threads or is made of what is no text. */
const MAX_TEXT = 16_384;

/** What was thrown, as it is when it is an Error that can be read; else an Error that says what it was. Never throws. */
export function asError(thrown: unknown): Error {
  if (isReadableError(thrown)) return thrown;
  return new Error(`not an Error was thrown: ${describe(thrown)}`, { cause: thrown });
}

/** A value in a few words, for a message. Never throws. */
export function describe(value: unknown): string {
  try {
    if (typeof value === 'object' && value !== null) return describeObject(value);
    if (typeof value === 'function') return 'a function';
    return String(value).slice(0, MAX_TEXT);
  } catch {
    return 'something that cannot be shown';
  }
}

function describeObject(value: object): string {
  // It may be a promise, for which nobody else waits: that it rejects must not end the process.
  watchRejection(value, () => undefined);
  const text = String((value as Partial<Error>).message ?? value);
  if (text !== '[object Object]') return text.slice(0, MAX_TEXT);
  return (JSON.stringify(value) ?? text).slice(0, MAX_TEXT);
}

function isReadableError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error && typeof thrown.message === 'string' && isText(thrown.stack);
  } catch {
    return false;
  }
}

/** `instanceof` runs code of its operand's, too. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error;
  } catch {
    return false;
  }
}

function isText(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

/** An Error as text that can cross threads. */
export interface ErrorText {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Such as `ENOENT`. */
  readonly code: string | undefined;
}

/** What can be said of `thrown` on another thread. Never throws. */
export function errorText(thrown: unknown): ErrorText {
  const error = asError(thrown);
  const { message, stack } = error;
  const name = textOf(() => error.name) ?? 'Error';
  const code = textOf(() => (error as Error & { code?: unknown }).code);
  return { name, message: message.slice(0, MAX_TEXT), stack: stack?.slice(0, MAX_TEXT), code };
}

function textOf(read: () => unknown): string | undefined {
  try {
    const value = read();
    return typeof value === 'string' ? value.slice(0, MAX_TEXT) : undefined;
  } catch {
    return undefined;
  }
}

/** The Error that another thread has told of. */
export function errorOf({ name, message, stack, code }: ErrorText): Error {
  const error = new Error(message);
  const given = { name, stack: stack ?? `${name}: ${message}`, ...(code === undefined ? {} : { code }) };
  for (const [key, value] of Object.entries(given))
    Object.defineProperty(error, key, {
      value,
      configurable: true,
      writable: true,
      enumerable: key === 'code',
    });
  return error;
}

/** Calls `failed` if `returned` is a promise, or something like one, that rejects: nobody else waits for it. */
export function watchRejection(returned: unknown, failed: (error: unknown) => void): void {
  if (typeof returned !== 'object' || returned === null) return;
  Promise.resolve(returned).then(undefined, failed);
}
