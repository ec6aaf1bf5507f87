/** The bench's `get` command for lanes: the module that millrace loads in each worker. */
import type { CommandRequest, Handler } from '../src/index.ts';
import type { Payloads } from './payloads.ts';

/** Payloads in memory that all lanes see: a dozen that each made them would take the machine for half a minute. */
export interface SharedPayloads {
  readonly bytes: SharedArrayBuffer;
  /** Where each ends. */
  readonly ends: Uint32Array;
}

export function share({ count, bytes, get }: Payloads): SharedPayloads {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes));
  const ends = new Uint32Array(count);
  let end = 0;
  for (let i = 0; i < count; i++) {
    const payload = get(i);
    shared.set(payload, end);
    end += payload.length;
    ends[i] = end;
  }
  return { bytes: shared.buffer, ends };
}

export default function makeGet({ bytes, ends }: SharedPayloads): Handler {
  return (request: CommandRequest) => {
    const i = Number(request.text('i')) % ends.length;
    const start = i === 0 ? 0 : ends[i - 1]!;
    return new Uint8Array(bytes, start, ends[i]! - start);
  };
}
