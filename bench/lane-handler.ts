/** The bench's `get` command for lanes: the module that millrace loads in each worker. */
import type { CommandRequest, Handler } from '../src/index.ts';
import { makePayloads, type PayloadSpec } from './payloads.ts';

export default function makeGet(spec: PayloadSpec): Handler {
  const payloads = makePayloads(spec);
  return (request: CommandRequest) => payloads.get(Number(request.text('i')));
}
