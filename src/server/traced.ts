/** A handler that runs within its request's trace: whatever it calls is a part of that, in every step of a generator. */

import type { RequestTrace } from '../options/tracing.ts';
import type { Handler } from '../reactor/command.ts';

type Steps = AsyncIterator<unknown> | Iterator<unknown>;

export function traced(handler: Handler, trace: RequestTrace): Handler {
  return (request) => {
    const output: unknown = trace.run(() => handler(request));
    return (isGenerator(output) ? within(output, trace) : output) as ReturnType<Handler>;
  };
}

function isGenerator(output: unknown): output is AsyncGenerator {
  const kind = Object.prototype.toString.call(output);
  return kind === '[object AsyncGenerator]' || kind === '[object Generator]';
}

/** Each step is asked for from elsewhere, and would run there. */
function within(steps: AsyncGenerator, trace: RequestTrace): Steps {
  const key = Symbol.asyncIterator in steps ? Symbol.asyncIterator : Symbol.iterator;
  return {
    next: () => trace.run(() => steps.next()),
    return: (value: unknown) => trace.run(() => steps.return(value)),
    throw: (error: unknown) => trace.run(() => steps.throw(error)),
    [key]() {
      return this;
    },
  } as Steps;
}
