/** A command that runs in a lane. */
import { isMainThread } from 'node:worker_threads';

export default async function* where() {
  yield isMainThread ? 'the main thread' : 'a lane';
}
