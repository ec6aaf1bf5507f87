/** The arguments of one connection's commands: received or running ones, and cancelled ones whose handlers go on. */

import type { Failure } from '../wire/failure.ts';
import type { Limits } from '../wire/limits.ts';
import type { InputShare } from './input-share.ts';

export const NO_ROOM: Failure = {
  code: 'overloaded',
  message: 'inputMemory: the server has no memory left for more arguments',
};

/** A command, and what is held of it. */
export interface HeldCommand {
  /** Bytes of the arguments' names and values, as announced. */
  argumentBytes: number;
  /** Bytes that it is held at. */
  held: number;
}

export class HeldArguments {
  readonly #limit: number;
  readonly #input: InputShare;
  /** Names and values as announced. */
  #announced = 0;

  constructor({ maxHeldArgumentBytes }: Limits, input: InputShare) {
    this.#limit = maxHeldArgumentBytes;
    this.#input = input;
  }

  /**
   * An argument of `command` announces so many bytes more, and so many are to be taken for what has come of it. The failure
   * of a command for which there is no room: how much all commands of a connection hold is no single one's fault.
   */
  hold(command: HeldCommand, announced: number, taken: number): Failure | undefined {
    if (this.#announced + announced > this.#limit) {
      const held = `more than ${this.#limit} bytes of arguments in all commands at once`;
      return { code: 'overloaded', message: `maxHeldArgumentBytes: ${held}` };
    }
    if (!this.#input.makeRoom(taken)) {
      this.#input.counts.refused++;
      return NO_ROOM;
    }
    this.#announced += announced;
    command.argumentBytes += announced;
    this.#take(command, taken);
    return undefined;
  }

  /** `command` is being received; it takes something, too. */
  add(command: HeldCommand, cost: number): void {
    this.#take(command, cost);
  }

  /** What `command` held is let go of. */
  free(command: HeldCommand): void {
    this.#announced -= command.argumentBytes;
    this.#input.give(command.held);
    command.argumentBytes = 0;
    command.held = 0;
  }

  /** So many bytes more, or fewer, of handlers that are still at work although their response is over. */
  linger(bytes: number): void {
    this.#announced += bytes;
    this.#input.take(bytes);
  }

  #take(command: HeldCommand, bytes: number): void {
    command.held += bytes;
    this.#input.take(bytes);
  }
}
