/** Kinds of response streams: whether they keep their context from one response to the next, and what it begins with. */

/**
 * `kept`: a context per stream, as long as the stream. `none`: every payload is encoded by itself, on encoders that all
 * connections share. `auto`: kept while there is room, and none when there is not.
 */
export type Contexts = 'kept' | 'none' | 'auto';
export const CONTEXTS = ['kept', 'none', 'auto'] as const satisfies readonly Contexts[];

/** What is the same for all responses of a stream; compared by identity. */
export interface StreamKind {
  readonly contexts: Contexts;
  /** ID of the dictionary for peers that hold it. */
  readonly dictionary: string | undefined;
}

/**
 * Kinds of streams that one connection can have, each on a stream of its own but the first: so many fewer are left for all
 * other commands to choose among. The ladder of `adaptive` leaves less.
 */
export const MAX_KINDS = 8;
export const MAX_ADAPTIVE_KINDS = 4;
