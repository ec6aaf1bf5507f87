/**
 * Every frame in every state: what the reactors answer to each kind of frame wherever a request can be. The tables are
 * the document's rules (protocol A4–A6, B1–B7, C) written out, one row per frame, one column per state.
 */

import test from 'ava';
import { ClientReactor } from '../../src/reactor/client.ts';
import type { Decoders } from '../../src/reactor/incoming.ts';
import { ServerReactor } from '../../src/reactor/server.ts';
import type { ServerAction } from '../../src/reactor/server-action.ts';
import { ProtocolError } from '../../src/wire/errors.ts';
import { parseFrameText } from '../../src/wire/human.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';

const NO_DECODERS: Decoders = {
  supports: () => false,
  open: () => undefined,
  close: () => undefined,
  decode: () => {
    throw new Error('nothing here is encoded');
  },
};

interface Machine {
  /** What came of the frame: the kinds of its actions, `-` for none, or the code of the error. */
  hears(line: string): string;
}

/** A state: what was heard before, and how frames are to begin their stream then. */
interface State {
  readonly heard: readonly string[];
  /** Done after that. */
  readonly after?: (machine: ServerMachine) => void;
}

class ServerMachine implements Machine {
  readonly reactor = new ServerReactor(DEFAULT_LIMITS, NO_DECODERS, false, { inputMs: 0 });

  hears(line: string): string {
    const actions: ServerAction[] = [];
    return outcome(actions, () => this.reactor.receive(parseFrameText(line), actions));
  }
}

class ClientMachine implements Machine {
  readonly reactor = new ClientReactor<string>(DEFAULT_LIMITS, NO_DECODERS, () => 0);

  hears(line: string): string {
    const actions: Parameters<ClientReactor<string>['receive']>[1] = [];
    return outcome(actions, () => this.reactor.receive(parseFrameText(line), actions));
  }
}

function outcome(actions: readonly { kind: string }[], run: () => void): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return actions.map(({ kind }) => kind).join('+') || '-';
}

/**
 * The first line names the states, each other one a frame and what it gives in each. In a frame `&` joins flags, and
 * `~` is the space before an empty payload.
 */
function rowsOf(table: string): { states: string[]; rows: { line: string; cells: string[] }[] } {
  const lines = table.split('\n').filter((line) => line !== '');
  const cellsOf = (line: string) => line.split('|').map((cell) => cell.trim());
  const [, ...states] = cellsOf(lines[0]);
  const rows = lines.slice(1).map((line) => {
    const [frame, ...cells] = cellsOf(line);
    return { line: frame.replaceAll('&', '|').replaceAll('~', ' '), cells };
  });
  return { states, rows };
}

/** The frame on a stream that it begins. */
function begun(line: string): string {
  return line.replace(/^(\S+ \S+) 0 /, '$1 stream-begin ');
}

const HELLO = '0 1 stream-begin sender-settings 0 {}';
const STATES: Record<string, State> = {
  fresh: { heard: [] },
  idle: { heard: [HELLO] },
  args: { heard: [HELLO, '1 1 0 command-name have-args echo'] },
  value: {
    heard: [
      HELLO,
      '1 1 0 command-name have-args echo',
      '1 1 0 command-argument continuation \\x01\\x00\\x03\\x00ab',
    ],
  },
  both: { heard: [HELLO, '1 1 0 command-name have-args|have-data echo'] },
  data: { heard: [HELLO, '1 1 0 command-name have-data echo'] },
  running: { heard: [HELLO, '1 1 0 command-name eos echo'] },
  answered: {
    heard: [HELLO, '1 1 0 command-name eos echo'],
    after: ({ reactor }) => reactor.finishResponse(1),
  },
  deaf: {
    heard: [HELLO, '1 1 0 command-name have-data echo'],
    after: ({ reactor }) => reactor.finishResponse(1),
  },
  cancelled: { heard: [HELLO, '1 1 0 command-name have-args echo', '1 1 0 cancel 0 '] },
  ended: { heard: [HELLO], after: ({ reactor }) => reactor.endOfInput([]) },
  errored: { heard: [HELLO, '0 1 0 sender-settings 0 {}'] },
};
const SERVER_TABLE = String.raw`
                                                           | fresh                      | idle                      | args                     | value                    | both                     | data                     | running                | answered                  | deaf                     | cancelled              | ended           | errored
1 1 0 command-name eos echo                                | run                        | run                       | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | run                       | request-already-received | request-already-active | frame-after-end | already-errored
1 1 0 command-name have-args echo                          | -                          | -                         | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | -                         | request-already-received | request-already-active | frame-after-end | already-errored
1 1 0 command-name have-data echo                          | run                        | run                       | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | run                       | request-already-received | request-already-active | frame-after-end | already-errored
1 1 0 command-name 0 echo                                  | command-missing-flags      | command-missing-flags     | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | command-missing-flags     | request-already-received | request-already-active | frame-after-end | already-errored
1 1 0 command-name eos&have-args echo                      | command-conflicting-flags  | command-conflicting-flags | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | command-conflicting-flags | request-already-received | request-already-active | frame-after-end | already-errored
1 1 0 command-name eos&have-data echo                      | command-conflicting-flags  | command-conflicting-flags | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | command-conflicting-flags | request-already-received | request-already-active | frame-after-end | already-errored
2 1 0 command-name eos even                                | even-request-id            | even-request-id           | even-request-id          | even-request-id          | even-request-id          | even-request-id          | even-request-id        | even-request-id           | even-request-id          | even-request-id        | frame-after-end | already-errored
0 1 0 command-name eos zero                                | even-request-id            | even-request-id           | even-request-id          | even-request-id          | even-request-id          | even-request-id          | even-request-id        | even-request-id           | even-request-id          | even-request-id        | frame-after-end | already-errored
3 1 0 command-name eos other                               | run                        | run                       | run                      | run                      | run                      | run                      | run                    | run                       | run                      | run                    | frame-after-end | already-errored
1 1 0 command-argument 0 \x01\x00\x01\x00bx                | expected-command           | expected-command          | -                        | partial-argument-value   | -                        | not-expecting-arguments  | expected-command       | expected-command          | not-expecting-arguments  | -                      | frame-after-end | already-errored
1 1 0 command-argument eoa \x01\x00\x01\x00bx              | expected-command           | expected-command          | run                      | partial-argument-value   | run                      | not-expecting-arguments  | expected-command       | expected-command          | not-expecting-arguments  | -                      | frame-after-end | already-errored
1 1 0 command-argument continuation \x01\x00\x05\x00bx     | expected-command           | expected-command          | -                        | partial-argument-value   | -                        | not-expecting-arguments  | expected-command       | expected-command          | not-expecting-arguments  | -                      | frame-after-end | already-errored
1 1 0 command-argument continuation&eoa \x01\x00\x05\x00bx | expected-command           | expected-command          | partial-argument-value   | partial-argument-value   | partial-argument-value   | not-expecting-arguments  | expected-command       | expected-command          | not-expecting-arguments  | -                      | frame-after-end | already-errored
1 1 0 command-argument eoa c                               | expected-command           | expected-command          | bad-payload              | partial-argument-value   | bad-payload              | not-expecting-arguments  | expected-command       | expected-command          | not-expecting-arguments  | -                      | frame-after-end | already-errored
1 1 0 command-argument eoa too much                        | expected-command           | expected-command          | partial-argument-name    | partial-argument-value   | partial-argument-name    | not-expecting-arguments  | expected-command       | expected-command          | not-expecting-arguments  | -                      | frame-after-end | already-errored
3 1 0 command-argument eoa \x01\x00\x01\x00bx              | expected-command           | expected-command          | request-not-receiving    | request-not-receiving    | request-not-receiving    | request-not-receiving    | expected-command       | expected-command          | request-not-receiving    | expected-command       | frame-after-end | already-errored
1 1 0 command-data continuation x                          | expected-command           | expected-command          | not-expecting-data       | not-expecting-data       | not-expecting-data       | data                     | expected-command       | expected-command          | unwanted                 | unwanted               | frame-after-end | already-errored
1 1 0 command-data eos x                                   | expected-command           | expected-command          | not-expecting-data       | not-expecting-data       | not-expecting-data       | data                     | expected-command       | expected-command          | unwanted                 | unwanted               | frame-after-end | already-errored
1 1 0 command-data 0 x                                     | expected-command           | expected-command          | not-expecting-data       | not-expecting-data       | not-expecting-data       | data-missing-flags       | expected-command       | expected-command          | data-missing-flags       | unwanted               | frame-after-end | already-errored
1 1 0 command-data continuation&eos x                      | expected-command           | expected-command          | not-expecting-data       | not-expecting-data       | not-expecting-data       | data-missing-flags       | expected-command       | expected-command          | data-missing-flags       | unwanted               | frame-after-end | already-errored
3 1 0 command-data eos x                                   | expected-command           | expected-command          | request-not-receiving    | request-not-receiving    | request-not-receiving    | request-not-receiving    | expected-command       | expected-command          | request-not-receiving    | expected-command       | frame-after-end | already-errored
1 1 0 bytes-response eos x                                 | expected-command           | expected-command          | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction          | expected-command       | expected-command          | wrong-direction          | expected-command       | frame-after-end | already-errored
1 1 0 error-response application x                         | expected-command           | expected-command          | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction          | expected-command       | expected-command          | wrong-direction          | expected-command       | frame-after-end | already-errored
0 1 0 error-response protocol x                            | peer-reported              | peer-reported             | peer-reported            | peer-reported            | peer-reported            | peer-reported            | peer-reported          | peer-reported             | peer-reported            | peer-reported          | frame-after-end | already-errored
1 1 0 text-output 0 x                                      | expected-command           | expected-command          | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction          | expected-command       | expected-command          | wrong-direction          | expected-command       | frame-after-end | already-errored
1 1 0 progress 0 x                                         | expected-command           | expected-command          | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction          | expected-command       | expected-command          | wrong-direction          | expected-command       | frame-after-end | already-errored
0 1 0 stream-settings 0 \x08identity                       | -                          | settings-not-on-begin     | settings-not-on-begin    | settings-not-on-begin    | settings-not-on-begin    | settings-not-on-begin    | settings-not-on-begin  | settings-not-on-begin     | settings-not-on-begin    | settings-not-on-begin  | frame-after-end | already-errored
0 1 0 sender-settings 0 {}                                 | settings                   | settings-not-first        | settings-not-first       | settings-not-first       | settings-not-first       | settings-not-first       | settings-not-first     | settings-not-first        | settings-not-first       | settings-not-first     | frame-after-end | already-errored
0 1 0 sender-settings 0 []                                 | bad-payload                | settings-not-first        | settings-not-first       | settings-not-first       | settings-not-first       | settings-not-first       | settings-not-first     | settings-not-first        | settings-not-first       | settings-not-first     | frame-after-end | already-errored
1 1 0 cancel 0~                                            | extension-without-settings | -                         | cancel                   | cancel                   | cancel                   | cancel                   | cancel                 | -                         | -                        | -                      | frame-after-end | already-errored
3 1 0 cancel 0~                                            | extension-without-settings | -                         | -                        | -                        | -                        | -                        | -                      | -                         | -                        | -                      | frame-after-end | already-errored
1 1 0 credit 0 \x01\x00\x00\x00                            | extension-without-settings | credit                    | credit                   | credit                   | credit                   | credit                   | credit                 | credit                    | credit                   | credit                 | frame-after-end | already-errored
0 1 0 ping 0 12345678                                      | extension-without-settings | ping                      | ping                     | ping                     | ping                     | ping                     | ping                   | ping                      | ping                     | ping                   | frame-after-end | already-errored
0 1 0 ping reply 12345678                                  | extension-without-settings | pong                      | pong                     | pong                     | pong                     | pong                     | pong                   | pong                      | pong                     | pong                   | frame-after-end | already-errored
0 1 0 goaway 0 \x01\x00                                    | wrong-direction            | wrong-direction           | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction        | wrong-direction           | wrong-direction          | wrong-direction        | frame-after-end | already-errored
1 1 0 0 0 x                                                | expected-command           | expected-command          | unknown-type             | unknown-type             | unknown-type             | unknown-type             | expected-command       | expected-command          | unknown-type             | expected-command       | frame-after-end | already-errored
0 1 0 dictionary-held 0 0123456789abcdef                   | extension-without-settings | dictionary-held                      | dictionary-held                     | dictionary-held                     | dictionary-held                     | dictionary-held                     | dictionary-held                   | dictionary-held                      | dictionary-held                     | dictionary-held                   | frame-after-end | already-errored
0 1 0 dictionary-held 0 short                              | extension-without-settings | bad-payload                      | bad-payload                     | bad-payload                     | bad-payload                     | bad-payload                     | bad-payload                   | bad-payload                      | bad-payload                     | bad-payload                   | frame-after-end | already-errored
1 1 0 15 15 x                                              | unknown-type               | unknown-type              | unknown-type             | unknown-type             | unknown-type             | unknown-type             | unknown-type           | unknown-type              | unknown-type             | unknown-type           | frame-after-end | already-errored
1 2 0 command-name eos echo                                | even-stream-id             | even-stream-id            | even-stream-id           | even-stream-id           | even-stream-id           | even-stream-id           | even-stream-id         | even-stream-id            | even-stream-id           | even-stream-id         | frame-after-end | already-errored
1 3 0 command-name eos echo                                | run                        | unknown-stream            | unknown-stream           | unknown-stream           | unknown-stream           | unknown-stream           | unknown-stream         | unknown-stream            | unknown-stream           | unknown-stream         | frame-after-end | already-errored
1 3 stream-begin command-name eos echo                     | run                        | run                       | request-already-received | request-already-received | request-already-received | request-already-received | request-already-active | run                       | request-already-received | request-already-active | frame-after-end | already-errored
`;

const { states, rows } = rowsOf(SERVER_TABLE);
for (const { line, cells } of rows) {
  states.forEach((name, i) => {
    test(`the server, ${name}, hears: ${line}`, (t) => {
      const machine = new ServerMachine();
      const { heard, after } = STATES[name];
      for (const before of heard) machine.hears(before);
      after?.(machine);
      // The first frame of all has to begin its stream.
      t.is(machine.hears(heard.length === 0 ? begun(line) : line), cells[i]);
    });
  });
}

const CLIENT_STATES: Record<string, (machine: ClientMachine) => void> = {
  fresh: ({ reactor }) => reactor.open(1, 'one'),
  waiting: (machine) => {
    machine.hears('0 2 stream-begin sender-settings 0 {}');
    machine.reactor.open(1, 'one');
  },
  half: (machine) => {
    CLIENT_STATES.waiting(machine);
    machine.hears('1 2 0 bytes-response continuation half');
  },
  over: (machine) => {
    CLIENT_STATES.waiting(machine);
    machine.hears('1 2 0 bytes-response eos all');
  },
  forgotten: (machine) => {
    CLIENT_STATES.waiting(machine);
    machine.reactor.forget(1);
  },
  errored: (machine) => {
    CLIENT_STATES.waiting(machine);
    machine.hears('0 2 0 sender-settings 0 {}');
  },
};
const CLIENT_TABLE = String.raw`
                                                                                                          | fresh           | waiting               | half                  | over                  | forgotten             | errored
1 2 0 bytes-response continuation x                                                                       | bytes           | bytes                 | bytes                 | unknown-request       | unwanted              | already-errored
1 2 0 bytes-response eos x                                                                                | bytes           | bytes                 | bytes                 | unknown-request       | unwanted              | already-errored
1 2 0 bytes-response eos~                                                                                 | bytes           | bytes                 | bytes                 | unknown-request       | unwanted              | already-errored
1 2 0 bytes-response 0 x                                                                                  | response-flags  | response-flags        | response-flags        | response-flags        | response-flags        | already-errored
1 2 0 bytes-response continuation&eos x                                                                   | response-flags  | response-flags        | response-flags        | response-flags        | response-flags        | already-errored
3 2 0 bytes-response eos x                                                                                | unknown-request | unknown-request       | unknown-request       | unknown-request       | unknown-request       | already-errored
2 2 0 bytes-response eos x                                                                                | unknown-request | unknown-request       | unknown-request       | unknown-request       | unknown-request       | already-errored
0 2 0 bytes-response eos x                                                                                | unknown-request | unknown-request       | unknown-request       | unknown-request       | unknown-request       | already-errored
1 2 0 error-response application no                                                                       | error           | error                 | error                 | unknown-request       | -                     | already-errored
1 2 0 error-response protocol no                                                                          | peer-error      | peer-error            | peer-error            | peer-error            | peer-error            | already-errored
1 2 0 error-response 0 no                                                                                 | error-flags     | error-flags           | error-flags           | error-flags           | error-flags           | already-errored
1 2 0 error-response protocol&application no                                                              | error-flags     | error-flags           | error-flags           | error-flags           | error-flags           | already-errored
3 2 0 error-response application no                                                                       | unknown-request | unknown-request       | unknown-request       | unknown-request       | unknown-request       | already-errored
1 2 0 text-output 0 \x01\x00\x00\x00x                                                                     | text            | text                  | text                  | unknown-request       | -                     | already-errored
1 2 0 text-output 0 \x05\x00\x00\x00x                                                                     | bad-payload     | bad-payload           | bad-payload           | unknown-request       | -                     | already-errored
3 2 0 text-output 0 \x01\x00\x00\x00x                                                                     | unknown-request | unknown-request       | unknown-request       | unknown-request       | unknown-request       | already-errored
1 2 0 progress 0 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00 | progress        | progress              | progress              | unknown-request       | -                     | already-errored
1 2 0 progress 0 x                                                                                        | bad-payload     | bad-payload           | bad-payload           | unknown-request       | -                     | already-errored
0 2 0 sender-settings 0 {}                                                                                | settings        | settings-not-first    | settings-not-first    | settings-not-first    | settings-not-first    | already-errored
0 2 0 sender-settings 0 no                                                                                | bad-payload     | settings-not-first    | settings-not-first    | settings-not-first    | settings-not-first    | already-errored
0 2 0 credit 0 \x01\x00\x00\x00                                                                           | credit          | credit                | credit                | credit                | credit                | already-errored
0 2 0 credit 0 x                                                                                          | bad-payload     | bad-payload           | bad-payload           | bad-payload           | bad-payload           | already-errored
0 2 0 ping 0 12345678                                                                                     | ping            | ping                  | ping                  | ping                  | ping                  | already-errored
0 2 0 ping reply 12345678                                                                                 | pong            | pong                  | pong                  | pong                  | pong                  | already-errored
0 2 0 ping 0 1                                                                                            | bad-payload     | bad-payload           | bad-payload           | bad-payload           | bad-payload           | already-errored
0 2 0 goaway 0 \x01\x00                                                                                   | goaway          | goaway                | goaway                | goaway                | goaway                | already-errored
0 2 0 goaway 0 x                                                                                          | bad-payload     | bad-payload           | bad-payload           | bad-payload           | bad-payload           | already-errored
0 2 0 stream-settings 0 \x08identity                                                                      | -               | settings-not-on-begin | settings-not-on-begin | settings-not-on-begin | settings-not-on-begin | already-errored
1 2 0 command-name eos echo                                                                               | wrong-direction | wrong-direction       | wrong-direction       | wrong-direction       | wrong-direction       | already-errored
1 2 0 command-argument eoa x                                                                              | wrong-direction | wrong-direction       | wrong-direction       | wrong-direction       | wrong-direction       | already-errored
1 2 0 command-data eos x                                                                                  | wrong-direction | wrong-direction       | wrong-direction       | wrong-direction       | wrong-direction       | already-errored
1 2 0 cancel 0~                                                                                           | wrong-direction | wrong-direction       | wrong-direction       | wrong-direction       | wrong-direction       | already-errored
1 2 0 0 0 x                                                                                               | unknown-type    | unknown-type          | unknown-type          | unknown-type          | unknown-type          | already-errored
0 2 0 14 0 x                                                                                              | wrong-direction    | wrong-direction          | wrong-direction          | wrong-direction          | wrong-direction          | already-errored
1 3 0 bytes-response eos x                                                                                | odd-stream-id   | odd-stream-id         | odd-stream-id         | odd-stream-id         | odd-stream-id         | already-errored
1 0 0 bytes-response eos x                                                                                | odd-stream-id   | odd-stream-id         | odd-stream-id         | odd-stream-id         | odd-stream-id         | already-errored
1 4 0 bytes-response eos x                                                                                | bytes           | unknown-stream        | unknown-stream        | unknown-stream        | unknown-stream        | already-errored
1 4 stream-begin bytes-response eos x                                                                     | bytes           | bytes                 | bytes                 | unknown-request       | unwanted              | already-errored
`;

const client = rowsOf(CLIENT_TABLE);
for (const { line, cells } of client.rows) {
  client.states.forEach((name, i) => {
    test(`the client, ${name}, hears: ${line}`, (t) => {
      const machine = new ClientMachine();
      CLIENT_STATES[name](machine);
      t.is(machine.hears(name === 'fresh' ? begun(line) : line), cells[i]);
    });
  });
}
