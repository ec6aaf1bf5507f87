/**
 * Which request IDs are busy, and with which commands (protocol A4, B4).
 *
 * A request is *receiving* from its command-name frame until its last frame has come, *running* from the moment its
 * arguments are complete, or it is refused, until the last byte of its response is handed to the transport. With command
 * data it is both for a while (protocol B10). Its ID is busy while it is either.
 */

import { ProtocolError } from '../wire/errors.ts';
import type { IncomingCommand } from './incoming-command.ts';
import { RequestTable } from './request-table.ts';

/** How many requests we remember whose frames are passed over, so that those already on the way do no harm. */
const REMEMBERED = 256;

export class BusyRequests {
  readonly #busy = new RequestTable<IncomingCommand>();
  #receiving = 0;
  #running = 0;
  /** Of those that are running, the answered ones. */
  #answered = 0;
  /** Undefined: there were none yet. */
  #passedOver: Set<number> | undefined;

  /** Busy IDs. */
  get size(): number {
    return this.#busy.size;
  }

  /** True while some command has begun to arrive and is not whole. */
  get midCommand(): boolean {
    return this.#receiving > 0;
  }

  /** Busy IDs, but for those of commands that are only being received and for which `isOver` says yes. */
  open(isOver: (request: IncomingCommand) => boolean): number {
    if (!this.midCommand) return this.#running;
    return this.#running + this.#receivingOnly().filter((request) => !isOver(request)).length;
  }

  /** Requests that the peer knows to be open: those that are answered, and be it on the way, are not. */
  get unanswered(): number {
    const running = this.#running - this.#answered;
    if (!this.midCommand) return running;
    return running + this.#receivingOnly().filter(({ answered }) => !answered).length;
  }

  #receivingOnly(): IncomingCommand[] {
    return this.allReceiving().filter(({ isRunning }) => !isRunning);
  }

  /** The commands of which more has to come, in the order of their IDs. */
  allReceiving(): IncomingCommand[] {
    return this.midCommand ? this.#busy.values().filter(({ isReceiving }) => isReceiving) : [];
  }

  receiving(id: number): IncomingCommand | undefined {
    const request = this.#busy.get(id);
    return request?.isReceiving ? request : undefined;
  }

  isRunning(id: number): boolean {
    return this.#runningOne(id) !== undefined;
  }

  #runningOne(id: number): IncomingCommand | undefined {
    const request = this.#busy.get(id);
    return request?.isRunning ? request : undefined;
  }

  /** Whether frames for this ID, which is not being received, may still be on their way. */
  isPassedOver(id: number): boolean {
    return this.#passedOver?.has(id) ?? false;
  }

  /** @throws ProtocolError when the ID is busy. */
  checkFree(id: number): void {
    const request = this.#busy.get(id);
    if (request === undefined) return;
    if (request.isReceiving)
      throw new ProtocolError('request-already-received', `request ${id} is already being received`);
    throw new ProtocolError('request-already-active', `request ${id} is already active`);
  }

  /** Its name has come; more may have to. */
  begin(request: IncomingCommand): void {
    const { requestId, expectsArguments, expectsData } = request;
    this.#passedOver?.delete(requestId);
    if (!expectsArguments && !expectsData) return;
    request.isReceiving = true;
    this.#receiving++;
    this.#busy.set(requestId, request);
  }

  /** All of it has come, or the rest is not waited for. */
  received(request: IncomingCommand): void {
    if (!request.isReceiving) return;
    request.isReceiving = false;
    this.#receiving--;
    if (!request.isRunning) this.#busy.delete(request.requestId);
  }

  run(request: IncomingCommand): void {
    if (request.isRunning) return;
    request.isRunning = true;
    this.#running++;
    if (!request.isReceiving) this.#busy.set(request.requestId, request);
  }

  /** It is answered, or about to be: what else was decoded for it in the same step must not bring another. */
  answer(request: IncomingCommand): void {
    if (!request.answered) this.#answered++;
    request.answered = true;
    this.run(request);
  }

  /** All of the response of a running request is on its way. */
  answered(id: number): void {
    const request = this.#runningOne(id);
    if (request !== undefined) this.answer(request);
  }

  /** The response is with the transport: the ID is free, but for data that still comes (protocol A4). The request that ran. */
  finish(id: number): IncomingCommand | undefined {
    const request = this.#runningOne(id);
    if (request === undefined) return undefined;
    request.isRunning = false;
    this.#running--;
    if (request.answered) this.#answered--;
    if (!request.isReceiving) this.#busy.delete(id);
    return request;
  }

  /** What comes of it from here on is passed over. */
  passOver(id: number): void {
    this.#passedOver ??= new Set();
    this.#passedOver.add(id);
    if (this.#passedOver.size > REMEMBERED) {
      this.#passedOver.delete(this.#passedOver.values().next().value as number);
    }
  }

  /** Passes over what still comes of a request's command; returns the request if it waits for an answer (protocol C3). */
  stopReceiving(id: number): IncomingCommand | undefined {
    const request = this.#busy.get(id);
    if (request === undefined) return undefined;
    if (request.isReceiving) {
      this.received(request);
      this.passOver(id);
    }
    // A command whose data is still coming may have been answered, and its ID be free but for that.
    const waits = request.isRunning ? !request.answered : request.expectsArguments;
    return waits ? request : undefined;
  }

  /** Nothing more comes of what is being received. Those of it that do not run, which are gone. */
  endReceiving(): IncomingCommand[] {
    const all = this.allReceiving();
    for (const request of all) this.received(request);
    return all.filter(({ isRunning }) => !isRunning);
  }
}
