/** What a {@link ServerReactor} tells its owner to do. */

import type { Failure } from '../wire/failure.ts';
import type { ControlAction } from './control.ts';

/** A command whose name and arguments are complete. */
export interface ReceivedCommand {
  readonly requestId: number;
  readonly command: string;
  readonly args: ReadonlyMap<string, Uint8Array>;
  /** Whether reserved arguments (protocol C6) are among them. */
  readonly reserved: boolean;
  /** Data follows as `data` actions. */
  readonly hasData: boolean;
}

/** What the owner of a {@link ServerReactor} has to do. */
export type ServerAction =
  | { readonly kind: 'run'; readonly command: ReceivedCommand }
  /** A piece of command data; the bytes are a view on what arrived: copy what must live on. */
  | { readonly kind: 'data'; readonly requestId: number; readonly bytes: Uint8Array; readonly last: boolean }
  /** Command data has come of a request that does not wait for it; a client may have used up credit for it. */
  | { readonly kind: 'unwanted'; readonly bytes: number }
  /** A frame of command data was lost with its decoder; how many bytes it had is not known. */
  | { readonly kind: 'lost-data' }
  /** Input ended before the command was whole: stop it, answer nothing (protocol B7). */
  | { readonly kind: 'abandon'; readonly requestId: number }
  /** The request cannot go on through our own fault; answer with an application error. */
  | { readonly kind: 'fail'; readonly requestId: number; readonly failure: Failure }
  | ControlAction
  /** Half duplex: input has ended, output may go (protocol A6). */
  | { readonly kind: 'release-output' };

/** Where a reactor says what is to be done, in order. */
export interface Actions {
  push(action: ServerAction): unknown;
}
