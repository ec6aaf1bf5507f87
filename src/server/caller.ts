/** Who a connection's requests come from, as handlers see it on either thread. */

import { serialize } from 'node:v8';
import { packPieces } from '../../workers/packed.ts';
import type { PackedCaller } from '../lanes/lane-stream.ts';
import type { Caller } from '../reactor/request.ts';
import { encodeUtf8 } from '../wire/utf8.ts';

/** Who asks without frames, one command after the other. */
export interface Asker {
  /** Calls `begin` when it is their turn. */
  inTurn(begin: () => void): void;
}

let newestId = 0;

export class ConnectionCaller implements Caller, PackedCaller {
  readonly remote: string;
  readonly connectionId: number;
  readonly principal: unknown;
  #packed: Uint8Array | undefined;

  constructor(remote: string, principal?: unknown, connectionId: number = ++newestId) {
    this.remote = remote;
    this.principal = principal;
    this.connectionId = connectionId;
  }

  /** The same connection once the hook has said whose it is. */
  as(principal: unknown): ConnectionCaller {
    if (principal === this.principal) return this;
    return new ConnectionCaller(this.remote, principal, this.connectionId);
  }

  packed(): Uint8Array {
    this.#packed ??= packPieces([
      encodeUtf8(this.remote),
      encodeUtf8(String(this.connectionId)),
      serialize(this.principal),
    ]);
    return this.#packed;
  }
}
