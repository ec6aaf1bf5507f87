/** From a command that has come to a request that runs: what it asks for, whether it may, and where it is answered. */

import type { LaneStream } from '../lanes/lane-stream.ts';
import { inputOf } from '../options/schema.ts';
import { failureOf } from '../reactor/failure-of.ts';
import type { ReceivedCommand } from '../reactor/server-action.ts';
import { kindOf } from '../wire/bytes.ts';
import { decodeUtf8, type Failure } from '../wire/payloads.ts';
import { watchRejection } from '../wire/thrown.ts';
import type { Admission, Question } from './authorize.ts';
import type { CommandFigures } from './command-figures.ts';
import type { Command } from './commands.ts';
import { ServedRequest } from './request.ts';
import { type Asked, splitArguments } from './reserved.ts';
import type { Session } from './session.ts';

const NO_DEADLINE: Failure = {
  code: 'invalid-argument',
  message: ':deadline-ms is not a decimal number',
};
const NO_STREAM: Failure = { code: 'internal', message: 'internal error: no stream for the response' };
/** Nothing of the request has run. */
const HELD: Failure = {
  code: 'overloaded',
  message: 'quarantine: calls of this command keep ending their workers',
};
const NO_INPUT = 'internal error: the schema of the arguments failed';

export class Dispatch {
  readonly #session: Session;
  readonly #admission: Admission | undefined;

  /** `admission`: who has to be asked for every command. */
  constructor(session: Session, admission: Admission | undefined) {
    this.#session = session;
    this.#admission = admission;
  }

  /**
   * Makes a request of a command and has it run, or refuses it. `judged`: why it may not come this way; that is told, as is that
   * there is no such command, to those alone whom the hook has said yes to.
   */
  run(received: ReceivedCommand, judged?: Failure): void {
    const session = this.#session;
    const { requestId, hasData } = received;
    const { args, asked } = splitArguments(received);
    if (Number.isNaN(asked.deadlineMs)) {
      session.refuse(requestId, NO_DEADLINE, received.command);
      return;
    }
    const command = session.shared.commands.get(received.command);
    const refusal = judged ?? (command === undefined ? unknownCommand(received.command) : undefined);
    if (refusal !== undefined && this.#admission === undefined) {
      session.refuse(requestId, refusal, received.command);
      return;
    }
    const request = new ServedRequest(
      session,
      command ?? noCommand(received.command, session.shared.commands.unknown),
      requestId,
      args,
      hasData,
    );
    session.requests.add(request);
    if (session.shared.tracing !== undefined) request.traceBy(session.shared.tracing, asked.traceparent);
    if (asked.deadlineMs !== undefined) request.expireAfter(asked.deadlineMs);
    request.sensitive = asked.sensitive || command?.sensitive === true;
    if (this.#admission === undefined) this.#validate(request);
    else this.#authorize(this.#admission, request, asked, refusal);
  }

  /** Nothing is encoded for a command before the hook has said yes to it (protocol D). `then`: what is wrong all the same. */
  async #authorize(
    admission: Admission,
    request: ServedRequest,
    asked: Asked,
    then: Failure | undefined,
  ): Promise<void> {
    request.workBegins();
    const { realPaths } = request.command;
    const pathsOf = realPaths && (async () => checkPaths(await realPaths(new Map(request.args))));
    const refusal = (await admission.ask(questionOf(request, asked), pathsOf)) ?? then;
    request.workEnds();
    if (request.state === 'over') return;
    if (refusal === undefined) this.#validate(request);
    else request.stop(refusal);
  }

  /** Arguments are held to the command's schema on this thread, before a stream or a lane is asked for. */
  #validate(request: ServedRequest): void {
    const { args: by, name } = request.command;
    if (by === undefined) {
      this.#route(request);
      return;
    }
    request.workBegins();
    inputOf(by, request.args)
      .then(
        (input) => {
          request.input = input;
          if (request.state !== 'over') this.#route(request);
        },
        (error) => {
          const report = (what: unknown) => this.#session.report(what, name);
          request.stop(failureOf(error, NO_INPUT, report));
        },
      )
      .finally(() => request.workEnds());
  }

  /** Has a request run that has not begun to: its worker died before that. */
  again(request: ServedRequest): void {
    if (request.state === 'waiting') this.#route(request);
  }

  /** Has what comes of a request from now on encoded again: its stream died. Where there is no other, it goes out as it is. */
  elsewhere(request: ServedRequest): void {
    if (request.state !== 'running' || request.stream !== undefined) return;
    try {
      this.#acquire(request, false, (stream) => request.goOn(stream));
    } catch (error) {
      this.#session.report(error, request.command.name);
    }
  }

  #acquire(request: ServedRequest, inLane: boolean, use: (stream: LaneStream | undefined) => void): void {
    const { id, command, args, sensitive } = request;
    const kind = this.#session.shared.kinds.of(command.name, command);
    const query = { command: command.name, key: keyOf(command, args) };
    this.#session.router.acquire(id, query, kind, sensitive, inLane, use);
  }

  /** Policies and affinity keys are the user's code: what they throw fails the request, nothing else. */
  #route(request: ServedRequest): void {
    const { command } = request;
    if (command.makeRun !== undefined && !command.encoded) {
      request.start(undefined);
      return;
    }
    const inLane = command.handler === undefined && command.makeRun === undefined;
    if (inLane) {
      const { quarantine } = this.#session.shared.pool;
      request.suspect = quarantine.numberOf('command', command.name);
      request.pass = quarantine.admit(request.suspect);
      if (request.pass === undefined) {
        request.stop(HELD);
        return;
      }
    }
    try {
      this.#acquire(request, inLane, (stream) => request.start(stream));
    } catch (error) {
      this.#session.report(error, command.name);
      request.stop(NO_STREAM);
    }
  }
}

function unknownCommand(name: string): Failure {
  return { code: 'unknown-command', message: `unknown command '${name}'` };
}

/** Stands for a command that there is none of while the hook is asked about it. */
function noCommand(name: string, figures: CommandFigures): Command {
  return { name, handler: () => undefined, laneHandler: -1, mode: 'rw', figures };
}

/** What the hook is asked. */
function questionOf(request: ServedRequest, asked: Asked): Question {
  const { command, args, requestId } = request;
  const { name, mode } = command;
  const authorization = asked.authorization && decodeUtf8(asked.authorization);
  return { command: name, mode, args: new Map(args), authorization, requestId };
}

/** @throws TypeError for what is no paths: a hook that judges by it might say yes. */
function checkPaths(paths: unknown): readonly string[] {
  if (Array.isArray(paths) && paths.every((path) => typeof path === 'string')) return paths;
  throw new TypeError(`realPaths gave ${kindOf(paths)} instead of an array of strings`);
}

/** What the user's code says belongs together. @throws TypeError when that is no text, and whatever it throws. */
function keyOf({ affinityKey }: Command, args: ReadonlyMap<string, Uint8Array>): string | undefined {
  const key: unknown = affinityKey?.(new Map(args)) ?? undefined;
  if (key === undefined || typeof key === 'string') return key;
  watchRejection(key, () => undefined);
  throw new TypeError(`affinityKey gave ${kindOf(key)} instead of a string`);
}
