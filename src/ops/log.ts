/** A server's log, by pino: what fails, and when it is asked for a line for every request. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { DestinationStream, destination, Logger, SerializedError } from 'pino';
import type { ErrorContext, RequestEnded, Server } from '../index.ts';
import { visible, visibleLines } from '../wire/visible.ts';
import { type BytesFile, Gathered } from './gathered.ts';
import { HIDDEN, RequestLines, SECRETS } from './request-line.ts';
import type { Settings } from './settings.ts';
import { Sparing } from './sparing.ts';

type LogStream = NodeJS.WritableStream & { readonly isTTY?: boolean };

/** pino's types do not know that bytes can be written as they are. */
type BufferOptions = Parameters<typeof destination>[0];

/** Bytes of lines that are kept at most while nobody takes them. */
const MOST_KEPT = 16 << 20;
const REDACT = {
  paths: SECRETS.map((name) => `err.${name}`),
  censor: HIDDEN,
};

const REQUEST = 'millrace:request:end';

/** Whether these settings ask for a log. */
export function wantsLog({ log, logFormat, accessLog }: Settings): boolean {
  return log !== undefined || logFormat !== undefined || accessLog === true;
}

export class ServerLog {
  readonly #logger: Logger;
  readonly #destination: DestinationStream & { flushSync?(): void; end?(): void };
  readonly #sparing: Sparing;
  readonly #lines = new RequestLines();
  #server: Server | undefined;
  #isVerbose = false;

  private constructor(logger: Logger, destination: DestinationStream) {
    this.#logger = logger;
    this.#destination = destination;
    this.#sparing = new Sparing((kind, leftOut) => logger.warn({ kind, leftOut }, 'left out'));
  }

  /** `where`: lines go, a stream or a descriptor. */
  static async to(where: LogStream | number, settings: Settings): Promise<ServerLog> {
    const { pino } = await import('pino');
    const fd = where === process.stderr ? 2 : where;
    const stream = typeof where === 'number' ? undefined : where;
    const isPretty = (settings.logFormat ?? (stream?.isTTY ? 'pretty' : 'json')) === 'pretty';
    const destination =
      isPretty && stream !== undefined
        ? await prettyStream(stream)
        : typeof fd === 'number'
          ? fileOf(fd, pino.destination)
          : fd;
    const logger = pino(
      {
        base: { pid: process.pid },
        redact: REDACT,
        timestamp: pino.stdTimeFunctions.isoTime,
        serializers: { err: (error: Error) => seen(pino.stdSerializers.err(error)) },
      },
      destination,
    );
    const log = new ServerLog(logger, destination);
    log.update(settings);
    return log;
  }

  /** Takes the level of these settings, and whether requests are logged. */
  update({ log = 'info', accessLog = false, verbose = false }: Settings, server = this.#server): void {
    this.#logger.level = log;
    this.#isVerbose = verbose;
    unsubscribe(REQUEST, this.#onRequest);
    this.#server = server;
    if (accessLog && server !== undefined) subscribe(REQUEST, this.#onRequest);
  }

  /** For the option `onError`. */
  readonly onError = (error: Error, about: ErrorContext): void => {
    const { command, lane, remote } = about;
    if (command === undefined && lane === undefined && remote !== undefined) {
      if (this.#sparing.allows('connection')) {
        const line = { kind: 'connection', remote, error: visible(error.message) };
        if (this.#isVerbose) this.#logger.warn(line, 'a connection has failed');
        else this.#logger.debug(line, 'a connection has failed');
      }
      return;
    }
    const kind = command === undefined ? (lane === undefined ? 'server' : 'lane') : `command ${command}`;
    if (this.#sparing.allows(kind))
      this.#logger.error({ kind, ...about, err: error }, visibleLines(error.message));
  };

  /** What the server is about. */
  tell(message: string, level: 'info' | 'error' = 'info'): void {
    this.#logger[level](message);
  }

  close(): void {
    unsubscribe(REQUEST, this.#onRequest);
    this.#sparing.flush();
    try {
      this.#destination.flushSync?.();
    } catch {
      // Nobody reads it any more.
    }
  }

  /** Whatever the level: whoever wants errors alone, and these lines, gets both. */
  readonly #onRequest = (message: unknown): void => {
    const request = message as RequestEnded;
    if (request.server === this.#server) this.#destination.write(this.#lines.of(request));
  };
}

/** What an error says may be a peer's words, and a log may be read on a terminal. */
function seen(error: SerializedError): SerializedError {
  const { message, stack } = error;
  return { ...error, message: visibleLines(message), stack: visibleLines(stack) };
}

async function prettyStream(stream: LogStream): Promise<DestinationStream> {
  const { default: pretty } = await import('pino-pretty');
  return pretty({
    destination: stream,
    sync: true,
    colorize: stream.isTTY === true,
    ignore: 'pid',
    translateTime: 'HH:MM:ss.l',
  });
}

/** Written some lines at a time. */
function fileOf(fd: number, make: typeof import('pino').destination): Gathered {
  const file = make({ fd, sync: false, maxLength: MOST_KEPT, contentMode: 'buffer' } as BufferOptions);
  // Who does not read the log does not stop the server.
  file.on('error', () => {});
  return new Gathered(file as unknown as BytesFile);
}
