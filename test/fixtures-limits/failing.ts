/** Commands that run in lanes and fail in every way that a worker can fail. */
import type { CommandRequest, Output } from '../../src/reactor/command.ts';

export async function* loop(): AsyncGenerator<Output> {
  yield 'x'.repeat(1000);
  await new Promise((resolve) => setImmediate(resolve));
  for (;;);
}

export function spin(): never {
  for (;;);
}

/** Holds its thread for long, but lets go in time. */
export function busy(): string {
  for (const end = performance.now() + 500; performance.now() < end; );
  return 'done';
}

export function hoard(): never {
  const all: number[][] = [];
  for (;;) all.push(new Array(100_000).fill(0.5));
}

export async function* die(request: CommandRequest): AsyncGenerator<Output> {
  yield 'the last words';
  await new Promise((resolve) => setTimeout(resolve, 5));
  const how = request.text('how');
  if (how === 'exit') process.exit(3);
  if (how === 'reject') Promise.reject(new Error('rejected outside'));
  else
    setImmediate(() => {
      throw new Error('thrown outside');
    });
  await new Promise(() => undefined);
}

export async function* fill(request: CommandRequest): AsyncGenerator<Output> {
  for (let i = 0; i < 4; i++) yield `${request.text('seed')} `.repeat(1000);
}

export async function* endless(): AsyncGenerator<Output> {
  for (;;) {
    yield 'x'.repeat(1000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Throws when it is told to stop. */
export async function* messy(): AsyncGenerator<Output> {
  try {
    yield* endless();
  } finally {
    // biome-ignore lint/correctness/noUnsafeFinally: that is the point.
    throw new Error('thrown while cleaning up');
  }
}
