/** The contract of what carries a connection's bytes: a socket, or anything else that goes by these rules. */

/**
 * One end of a two-way channel that keeps bytes in order and loses none. It is connected when it is handed over, and
 * nothing arrives before the first {@link resume}. Whoever gets it sets the three callbacks, and calls the rest.
 *
 * No callback is called from within a method: what a method brings about is told in a later turn. After
 * {@link onClose} nothing is called any more, and the methods do nothing but that {@link write} tells its callback of
 * an error or not at all.
 */
export interface Transport {
  /** The other end, for messages, `remote` and the figures: such as `192.0.2.7:40312`. */
  readonly remote: string;
  /**
   * True: bytes come in messages, each of which is one or more whole frames (protocol C7), and so is each chunk that is
   * written. Missing: in any pieces.
   */
  readonly messages?: boolean | undefined;
  /**
   * False: {@link end} ends both ways, and {@link onEnd} says that what we write goes nowhere any more: {@link onClose}
   * follows. So a peer that ends gives up what it has in flight. Missing: each end ends for itself.
   */
  readonly halfCloses?: boolean | undefined;

  /** Bytes have come; they are the receiver's from now on, and nobody writes into them again. Not while paused. */
  onData: (chunk: Uint8Array) => void;
  /** The other end sends no more. Once, after all its data; what we write still goes there (half-close). */
  onEnd: () => void;
  /**
   * The channel is gone, both ways: both ends have ended their sides, either was destroyed, or it broke. Once, and last.
   * `error` says why when it was neither ended by both nor destroyed by us.
   */
  onClose: (error: Error | undefined) => void;

  /**
   * Sends `chunks` (one at least) in order, after what was sent before. They are not changed until `written` is called,
   * after which they may be reused: what is to be kept longer has to be copied. `written` is called once, in the order of
   * the writes, and is the backpressure: only one write is out at a time, and the next comes after it. So it is called
   * once the other end, or the system, has taken these bytes, or has room for more; with an error where they did not
   * all go out.
   */
  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void;
  /**
   * The same for one chunk, where no write is out. True: it was taken at once, and `written` is not called. Missing: it is
   * always written by {@link write}.
   */
  writeOne?(chunk: Uint8Array, written: (error?: Error | null) => void): boolean;
  /** No more data, and no end of it, after the chunk in hand, until {@link resume}; the sender is held back in turn. */
  pause(): void;
  resume(): void;
  /** We send no more, after what was written (half-close): the other end gets its onEnd, and may go on sending. */
  end(): void;
  /**
   * Drops the channel now, and what has not gone out with it. {@link onClose} follows. Where we had not ended, the other
   * end is to see an error, for it must not take that for an orderly end.
   */
  destroy(): void;
  /**
   * Finds out whether the channel is gone, which one that is paused does not see of itself: then {@link onClose} follows.
   * Nothing reaches the other end. Missing: it cannot.
   */
  probe?(): void;
  /** Calls `run` once what has arrived in this turn has been dealt with: setImmediate(), or the like of it. */
  endOfTick(run: () => void): void;
}
