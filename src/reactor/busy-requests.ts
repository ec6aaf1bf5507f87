/**
 * Which request IDs are busy, and with which commands (protocol A4, B4).
 *
 * A request is *receiving* from its command-name frame until its last frame has come, *running* from the moment its
 * arguments are complete, or it is refused, until the last byte of its response is handed to the transport. With command
 * data it is both for a while (protocol B10). Its ID is busy while it is either.
 */

import { ProtocolError } from '../wire/errors.ts';
import { RequestTable } from './request-table.ts';
import type { IncomingCommand } from './incoming-command.ts';

/** How many requests we remember whose frames are passed over, so that those already on the way do no harm. */
const REMEMBERED = 256;

export class BusyRequests {
  readonly #receiving = new RequestTable<IncomingCommand>();
  readonly #running = new RequestTable<IncomingCommand>();
  /** Of those that are running, the answered ones. */
  #answered = 0;
  /** Undefined: there were none yet. */
  #passedOver: Set<number> | undefined;

  /** True while some command has begun to arrive and is not whole. */
  get midCommand(): boolean {
    return this.#receiving.size > 0;
  }

  /** Busy IDs, but for those of commands that are only being received and for which `isOver` says yes. */
  open(isOver: (request: IncomingCommand) => boolean): number {
    const running = this.#running.size;
    if (!this.midCommand) return running;
    return running + this.#receivingOnly().filter((request) => !isOver(request)).length;
  }

  /** Requests that the peer knows to be open: those that are answered, and be it on the way, are not. */
  get unanswered(): number {
    const running = this.#running.size - this.#answered;
    if (!this.midCommand) return running;
    return running + this.#receivingOnly().filter(({ answered }) => !answered).length;
  }

  #receivingOnly(): IncomingCommand[] {
    return this.#receiving.values().filter(({ requestId }) => !this.isRunning(requestId));
  }

  /** The commands of which more has to come, in the order of their IDs. */
  allReceiving(): IncomingCommand[] {
    return this.#receiving.values();
  }

  receiving(id: number): IncomingCommand | undefined {
    return this.#receiving.get(id);
  }

  isRunning(id: number): boolean {
    return this.#running.has(id);
  }

  /** Whether frames for this ID, which is not being received, may still be on their way. */
  isPassedOver(id: number): boolean {
    return this.#passedOver?.has(id) ?? false;
  }

  /** @throws ProtocolError when the ID is busy. */
  checkFree(id: number): void {
    if (this.#receiving.has(id)) {
      throw new ProtocolError('request-already-received', `request ${id} is already being received`);
    }
    if (this.isRunning(id)) {
      throw new ProtocolError('request-already-active', `request ${id} is already active`);
    }
  }

  /** Its name has come; more may have to. */
  begin(request: IncomingCommand): void {
    const { requestId, expectsArguments, expectsData } = request;
    this.#passedOver?.delete(requestId);
    if (expectsArguments || expectsData) this.#receiving.set(requestId, request);
  }

  /** All of it has come. */
  received({ requestId }: IncomingCommand): void {
    this.#receiving.delete(requestId);
  }

  run(request: IncomingCommand): void {
    this.#running.set(request.requestId, request);
  }

  /** It is answered, or about to be: what else was decoded for it in the same step must not bring another. */
  answer(request: IncomingCommand): void {
    if (!request.answered) this.#answered++;
    request.answered = true;
    this.run(request);
  }

  /** All of the response of a running request is on its way. */
  answered(id: number): void {
    const request = this.#running.get(id);
    if (request !== undefined) this.answer(request);
  }

  /** The response is with the transport: the ID is free, but for data that still comes (protocol A4). The request that ran. */
  finish(id: number): IncomingCommand | undefined {
    const request = this.#running.get(id);
    if (request === undefined) return undefined;
    this.#running.delete(id);
    if (request.answered) this.#answered--;
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
    const request = this.#receiving.get(id) ?? this.#running.get(id);
    if (this.#receiving.delete(id)) this.passOver(id);
    // A command whose data is still coming may have been answered, and its ID be free but for that.
    const waits = this.isRunning(id) ? !request?.answered : request?.expectsArguments;
    return waits ? request : undefined;
  }

  /** Nothing more comes of what is being received. Those of it that do not run, which are gone. */
  endReceiving(): IncomingCommand[] {
    const gone = this.#receivingOnly();
    this.#receiving.clear();
    return gone;
  }
}
