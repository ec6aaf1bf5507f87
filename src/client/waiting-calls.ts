/** The calls of a pool that wait for a connection, the oldest first, held to what may wait. */

import { CommandError } from '../wire/errors.ts';
import { after } from '../wire/timers.ts';
import type { PoolCall } from './pool-call.ts';
import type { CheckedPoolOptions } from './pool-options.ts';

type Limits = Pick<CheckedPoolOptions, 'maxWaiting' | 'maxWaitingBytes' | 'maxWaitMs'>;

export class WaitingCalls {
  readonly #limits: Limits;
  readonly #timers = new Map<PoolCall, ReturnType<typeof setTimeout>>();
  #bytes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#timers.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a call, or gives it up. One that was sent before has been let in once, and is not refused now. */
  add(call: PoolCall): void {
    const { maxWaiting, maxWaitingBytes, maxWaitMs } = this.#limits;
    if (!call.wasSent && this.count >= maxWaiting) {
      return call.refuse(overloaded(`maxWaiting: ${maxWaiting} calls wait for a connection already`));
    }
    if (!call.wasSent && this.#bytes + call.cost > maxWaitingBytes) {
      const text = `maxWaitingBytes: the calls that wait for a connection would hold more than ${maxWaitingBytes} bytes`;
      return call.refuse(overloaded(text));
    }
    const expire = () => call.giveUp(overloaded(`maxWaitMs: no connection for ${maxWaitMs} ms`));
    this.#timers.set(call, after(maxWaitMs, expire));
    this.#bytes += call.cost;
  }

  /** The call does not wait any more. */
  remove(call: PoolCall): void {
    const timer = this.#timers.get(call);
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#timers.delete(call);
    this.#bytes -= call.cost;
  }

  /** Takes the oldest. */
  shift(): PoolCall | undefined {
    for (const call of this.#timers.keys()) {
      this.remove(call);
      return call;
    }
    return undefined;
  }

  giveUpAll(error: Error): void {
    for (const call of [...this.#timers.keys()]) call.giveUp(error);
  }
}

function overloaded(message: string): CommandError {
  return new CommandError(message, { code: 'overloaded', notStarted: true });
}
