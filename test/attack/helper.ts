/**
 * What the attack tests share: a server with a witness, a hostile peer, and expected answers.
 *
 * Every case at the server's level ends with the same question: does the witness, a connection that was there before,
 * still get its bytes, and is the process as it was?
 */

import { setImmediate as turn } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import type { Server, ServerOptions } from '../../src/index.ts';
import { frames } from '../helpers/raw-peer.ts';
import { serve } from '../helpers/serving.ts';
import { Client, EXTENSIONS, type Frame, Type } from '../independent/client.ts';

/** What must come of an attack. */
export interface Expected {
  /** A protocol error with this code, and the connection is closed. */
  refused?: string;
  /** The protocol error also says this. */
  says?: RegExp;
  /** Responses, or application errors after 'error: ', by request ID. The connection lives on unless `refused`. */
  answers?: Readonly<Record<number, string | RegExp>>;
  /** The connection ends without a protocol error. */
  ends?: true;
}

export interface Attack {
  name: string;
  send: Uint8Array | (() => Uint8Array);
  /** Half-close after sending. */
  end?: boolean;
  expect: Expected;
}

/** A server under attack, and the witness. */
export class Target {
  readonly server: Server;
  readonly port: number;
  readonly witness: Client;
  /** Lanes that died. */
  readonly deaths: unknown[] = [];
  /** What the server has reported beside. */
  readonly reports: { error: unknown; command?: string }[] = [];
  readonly workers: number;
  #round = 0;

  private constructor(server: Server, port: number, witness: Client, workers: number) {
    this.server = server;
    this.port = port;
    this.witness = witness;
    this.workers = workers;
  }

  static async start(options: ServerOptions = {}): Promise<Target> {
    const workers = options.workers ?? 2;
    let target: Target | undefined;
    const { server, port } = await serve(
      {
        ...options,
        workers,
        onError: (error, about) => {
          if (about.lane !== undefined) target?.deaths.push(error);
          else target?.reports.push({ error, command: about.command });
        },
      },
      // Frames alone: HTTP has attacks of its own, in test/doors.
      { http: false, webSocket: false },
    );
    const settings = { contentEncodings: ['zstd-8mb', 'zlib'], extensions: EXTENSIONS };
    const witness = await Client.connect(port, { settings });
    target = new Target(server, port, witness, workers);
    await target.#asksWitness();
    return target;
  }

  async stop(): Promise<void> {
    this.witness.close();
    await this.server.close(1000);
  }

  /** A hostile peer, which has sent nothing yet. */
  async hostile(t: ExecutionContext): Promise<Client> {
    const peer = await Client.connect(this.port, { settings: {}, manual: true });
    t.teardown(() => peer.close());
    return peer;
  }

  /** Mounts one attack and checks its outcome. */
  async attack(t: ExecutionContext, { send, end, expect }: Attack): Promise<void> {
    const peer = await this.hostile(t);
    const exchanges = Object.keys(expect.answers ?? {}).map((id) => peer.expect(Number(id)));
    peer.write(typeof send === 'function' ? send() : send);
    if (end) peer.socket.end();
    if (expect.refused !== undefined || expect.ends) await peer.until(() => peer.ended, 'the end');
    else await peer.until(() => exchanges.every(({ finished }) => finished), 'the answers');
    for (const [id, wanted] of Object.entries(expect.answers ?? {})) checkAnswer(t, peer, Number(id), wanted);
    checkEnd(t, peer, expect);
    if (expect.refused === undefined && !expect.ends && !end) await livesOn(t, peer);
    peer.close();
    await this.unharmed(t);
  }

  /** Resolves once nobody but the witness is connected, who is served as before; no lane died, nothing was thrown. */
  async unharmed(t: ExecutionContext): Promise<void> {
    await this.#asksWitness();
    t.deepEqual(this.witness.violations, [], 'what the witness gets is in order');
    t.deepEqual(this.deaths.map(String), [], 'no lane died');
    const stats = await this.#quiet();
    t.is(stats.lanes.length, this.workers, 'all lanes live');
  }

  async #asksWitness(): Promise<void> {
    const value = `the witness asks ${this.#round++} ${'and asks '.repeat(this.#round % 50)}`;
    const answer = await this.witness.body(this.witness.start('echo', { args: [['value', value]] }));
    if (answer.toString() !== value) throw new Error('the witness got other bytes');
    this.witness.frames.length = 0;
  }

  /** Figures once the server has noticed that all others have gone. */
  async #quiet() {
    for (;;) {
      const stats = await this.server.stats();
      if (stats.connections === 1) return stats;
      if (this.witness.ended) throw new Error(`the witness was dropped: ${this.witness.summary()}`);
      await turn();
    }
  }
}

function checkAnswer(t: ExecutionContext, peer: Client, id: number, wanted: string | RegExp): void {
  const own = peer.frames.filter(({ request }) => request === id);
  const ends = own.filter(
    ({ type, flags }) => (type === Type.bytesResponse || type === Type.errorResponse) && flags === 2,
  );
  t.is(ends.length, 1, `request ${id} is answered once`);
  const bytes = own.filter(({ type }) => type === Type.bytesResponse).map(({ payload }) => payload);
  const error = own.find(({ type, flags }) => type === Type.errorResponse && flags === 2);
  const got = error === undefined ? Buffer.concat(bytes).toString('latin1') : `error: ${error.payload}`;
  if (typeof wanted === 'string') t.is(got, wanted, `the answer to request ${id}`);
  else t.regex(got, wanted, `the answer to request ${id}`);
}

function checkEnd(t: ExecutionContext, peer: Client, { refused, says, answers }: Expected): void {
  const errors = peer.protocolErrors.map(({ payload }) => payload.toString());
  if (refused === undefined) t.deepEqual(errors, [], 'no protocol error');
  else {
    t.is(errors.length, 1, `one protocol error: ${peer.summary()}`);
    t.true(errors[0].startsWith(`protocol error (${refused}): `), errors[0]);
    if (says !== undefined) t.regex(errors[0], says);
    t.is(peer.frames.at(-1), peer.protocolErrors[0], 'nothing follows a protocol error');
  }
  // A request that the attack says nothing about may be answered or not.
  const strange = peer.violations.filter((text) => !text.includes('not active'));
  t.deepEqual(strange, [], 'what the server sends is in order');
  if (answers === undefined) return;
  t.true(
    Object.keys(answers).every((id) => peer.frames.some((f: Frame) => f.request === Number(id))),
    'all answers came',
  );
}

/** A connection that broke no rule goes on. */
async function livesOn(t: ExecutionContext, peer: Client): Promise<void> {
  const exchange = peer.expect(65_533);
  // An error needs no credit, so this works whatever windows the peer has announced.
  peer.write(frames('65533 33 stream-begin|stream-end command-name eos still there'));
  await peer.until(() => exchange.finished, 'the answer of a living connection');
  t.deepEqual(
    peer.protocolErrors.map(({ payload }) => payload.toString()),
    [],
    'no protocol error',
  );
}
