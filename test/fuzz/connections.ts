/** The targets with a connection: a client in memory that hears a hostile server, a server that hears hostile peers. */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { makeClient } from '../../src/client/client.ts';
import type { Transport } from '../../src/connection/transport.ts';
import { nativeCodecs } from '../../src/encoding/native.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import {
  CommandError,
  type CommandRequest,
  ConnectionError,
  createServer,
  type Output,
  ProtocolError,
} from '../../src/index.ts';
import { LONG } from '../helpers/serving.ts';
import { EXTENSIONS, Client as RawClient } from '../independent/client.ts';
import type { FuzzTarget } from './target.ts';
import { countFrames, inPieces, seeded, withSeed } from './targets.ts';
import { clientFrames, serverFrames, toBytes } from './traffic.ts';

// ---------------------------------------------------------------------------------------------- client

/** A channel whose other end is the fuzzer. */
class MemoryTransport implements Transport {
  readonly remote = 'memory';
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  closed = false;

  write(_chunks: Uint8Array[], written: () => void): void {
    queueMicrotask(written);
  }

  pause(): void {}
  resume(): void {}
  end(): void {}

  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClose(undefined);
  }

  endOfTick(run: () => void): void {
    queueMicrotask(run);
  }
}

/** Whatever a server sends, every call of a client ends: with its bytes or with an error that says why. */
export function clientTarget(): FuzzTarget {
  const codecs = new CodecRegistry(nativeCodecs());
  return {
    name: 'client',
    generate: (random) => withSeed(random, toBytes(random, serverFrames(random))),
    async run(input) {
      const { random, rest } = seeded(input);
      const transport = new MemoryTransport();
      const client = makeClient(transport, codecs, { plain: random.once(8) });
      const calls = Array.from({ length: 6 }, (_, i) => {
        const data = random.once(3) ? random.bytes(random.below(300)) : undefined;
        const call = client.call('echo', { args: { value: String(i) }, data });
        if (random.once(6)) call.cancel();
        return call.bytes().then(
          () => undefined,
          (error: unknown) => error,
        );
      });
      for (const piece of inPieces(random, rest)) {
        if (transport.closed) break;
        transport.onData(piece);
      }
      await turn();
      transport.onEnd();
      transport.destroy();
      for (const error of await Promise.all(calls)) {
        const known = [CommandError, ConnectionError, ProtocolError].some((kind) => error instanceof kind);
        assert.ok(error === undefined || known, `a call ended with ${error}`);
      }
      await client.closed;
      return client.stats().streams.reduce((frames, stream) => frames + stream.frames, 0);
    },
  };
}

// ---------------------------------------------------------------------------------------------- server

/** Milliseconds that a connection may take to end after its input has. */
const PATIENCE = 5000;
/** Round trips to every lane that it may take as well: a machine that has too much to do slows both alike. */
const LOOKS = 5000;
const MODULE = new URL('../fixtures/lane-commands.ts', import.meta.url);

/** Whatever a peer sends, the server sends only what the document allows, closes, and serves the others as before. */
export function serverTarget(): FuzzTarget {
  let target: Promise<ServerUnderFuzz> | undefined;
  return {
    name: 'server',
    generate: (random) => withSeed(random, toBytes(random, clientFrames(random))),
    async run(input) {
      target ??= ServerUnderFuzz.start();
      const { random, rest } = seeded(input);
      await (await target).hears([...inPieces(random, rest)]);
      return countFrames(rest);
    },
    async close() {
      await (await target)?.stop();
      target = undefined;
    },
  };
}

/** Answers late: a handler that never does keeps a half-closed connection for ever, and that is its own affair. */
async function* hold({ signal }: CommandRequest): AsyncGenerator<Output> {
  await Promise.race([delay(50), new Promise((resolve) => signal.addEventListener('abort', resolve))]);
  yield 'held';
}

class ServerUnderFuzz {
  readonly #server = createServer({
    workers: 2,
    laneTimeout: LONG,
    commands: {
      hold,
      deaf: { module: MODULE, export: 'deaf' },
      fill: { module: MODULE, export: 'fill' },
    },
    onError: (error, { lane }) => {
      if (lane !== undefined) this.#faults.push(`lane ${lane} died: ${error}`);
      else if (!isPeersFault(error)) this.#faults.push(String(error));
    },
  });
  readonly #faults: string[] = [];
  #port = 0;
  #witness: RawClient | undefined;

  static async start(): Promise<ServerUnderFuzz> {
    const started = new ServerUnderFuzz();
    started.#port = ((await started.#server.listen()) as { port: number }).port;
    const settings = { contentEncodings: ['zstd-8mb', 'zlib'], extensions: EXTENSIONS };
    started.#witness = await RawClient.connect(started.#port, { settings });
    return started;
  }

  async hears(pieces: readonly Uint8Array[]): Promise<void> {
    const peer = await RawClient.connect(this.#port, { settings: {}, manual: true });
    try {
      for (const piece of pieces) await written(peer.socket, piece);
      peer.socket.end();
      // Requests that hold, or have no window, are never answered: only a peer that has gone altogether ends them.
      const ended = peer.until(() => peer.ended, 'the end').catch(() => undefined);
      await Promise.race([ended, this.#asks().then(() => this.#asks())]);
      const strange = peer.violations.filter((text) => !/not active|does not decode/.test(text));
      assert.deepEqual(strange, [], 'what the server sends is in order');
      assert.ok(peer.protocolErrors.length <= 1, 'one protocol error at most');
    } finally {
      peer.close();
    }
    await this.#asks();
    assert.deepEqual(this.#faults, [], 'nothing of the server failed');
    await this.#isAlone();
  }

  async stop(): Promise<void> {
    await this.#isAlone();
    this.#witness?.close();
    await this.#server.close(1000);
  }

  /** All peers but the witness are gone, and with them their streams. */
  async #isAlone(): Promise<void> {
    const patience = performance.now() + PATIENCE;
    for (let looks = 0; ; looks++) {
      const { connections, lanes } = await this.#server.stats();
      const streams = lanes.reduce((sum, { openStreams }) => sum + openStreams, 0);
      if (connections === 1 && streams <= 2) return;
      const isPatient = performance.now() < patience || looks < LOOKS;
      assert.ok(isPatient, `${connections} connections and ${streams} streams are left`);
    }
  }

  async #asks(): Promise<void> {
    const witness = this.#witness as RawClient;
    const value = 'the witness asks';
    const answer = await witness.body(witness.start('echo', { args: [['value', value]] }));
    assert.equal(answer.toString(), value);
    assert.deepEqual(witness.violations, []);
    witness.frames.length = 0;
  }
}

function written(socket: Socket, piece: Uint8Array): Promise<void> {
  if (socket.destroyed) return Promise.resolve();
  return new Promise((resolve) => socket.write(piece, () => resolve()));
}

function isPeersFault(error: unknown): boolean {
  return error instanceof ProtocolError || error instanceof ConnectionError || error instanceof CommandError;
}
