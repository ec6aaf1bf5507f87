/** Whose calls the calls on a slot are. */

import { deserialize } from 'node:v8';
import type { Caller } from '../src/reactor/request.ts';
import { decodeUtf8 } from '../src/wire/utf8.ts';
import { unpackPieces } from './packed.ts';

/** As the main thread has packed it. */
export class LaneCaller implements Caller {
  readonly remote: string;
  readonly connectionId: number;
  readonly #principal: Uint8Array;

  /** `packed`: the payload of a `caller` record. */
  constructor(packed: Uint8Array) {
    const [remote, connectionId, principal] = unpackPieces(packed);
    this.remote = decodeUtf8(remote);
    this.connectionId = Number(decodeUtf8(connectionId));
    this.#principal = principal;
  }

  /** A clone for everyone who asks. */
  get principal(): unknown {
    return deserialize(this.#principal);
  }
}
