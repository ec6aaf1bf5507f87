/**
 * Levels that fill and empty: of output that waits anywhere on our side, and of what waits for one stream's encoder. What
 * they hold back is for `ConnectionFlow` and `RequestFlow` to say.
 */

/** What a gate may hold of its shared one's level whatever the others hold, in bytes. */
const OWN_SHARE = 128 * 1024;

/** Least room while less than that share is really filled, in bytes. */
const LEAST_ROOM = 4096;

/** Never added to: where nobody waits, there is nothing more to look at. */
const NOBODY: (() => void)[] = [];

/** A level that fills and empties; who finds it full waits for room. */
export class Gate {
  limit: number;
  #used = 0;
  #promised = 0;
  #waiters = NOBODY;
  #shared: Gate | undefined;

  /** `shared`: a level that this one and others fill together; when it is full, each still has {@link OWN_SHARE}. */
  constructor(limit: number, shared?: Gate) {
    this.limit = limit;
    this.#shared = shared;
  }

  get used(): number {
    return this.#used;
  }

  get room(): number {
    const room = this.#roomLeft();
    return this.#hasShare() ? Math.max(room, Math.min(LEAST_ROOM, this.limit)) : room;
  }

  #roomLeft(): number {
    const own = Math.max(0, this.limit - this.#used);
    if (this.#shared === undefined) return own;
    return Math.min(own, Math.max(OWN_SHARE - this.#used, this.#shared.room));
  }

  /** Promises take room, but not all: who was promised something may be idle for long, and others have to go on. */
  #hasShare(): boolean {
    return this.#promised > 0 && this.#used - this.#promised < Math.min(OWN_SHARE, this.limit);
  }

  /** {@link take} for what may come later, or never. */
  promise(bytes: number): void {
    this.#promised += bytes;
    this.take(bytes);
  }

  /** `bytes` of what was promised have come, and are to be given like any others. */
  keepPromise(bytes: number): void {
    this.#promised -= bytes;
  }

  take(bytes: number): void {
    this.#used += bytes;
    this.#shared?.take(bytes);
  }

  give(bytes: number): void {
    this.#used -= bytes;
    this.#shared?.give(bytes);
    // Waking waits for a quarter of the room, so that a crowd does not wake for every frame.
    if (this.#waiters.length > 0 && (this.#used <= this.limit * 0.75 || this.#hasShare())) this.#wakeInTurn();
  }

  /** Calls `resume` once, when there may be room again. */
  wait(resume: () => void): void {
    if (this.#waiters === NOBODY) this.#waiters = [resume];
    else this.#waiters.push(resume);
  }

  /** Oldest first, while there is room; who still cannot go on waits again, behind the others. */
  #wakeInTurn(): void {
    for (let left = this.#waiters.length; left > 0 && (this.#used < this.limit || this.#hasShare()); left--)
      this.#waiters.shift()?.();
  }

  /** Holds nothing any more, and lets all waiters look again. */
  close(): void {
    this.#shared?.give(this.#used);
    this.#shared = undefined;
    this.wake();
  }

  /** Lets all waiters look again, whatever the level. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = NOBODY;
    for (const resume of waiters) resume();
  }
}

/** What waits for one stream's encoder: a level of its own, and how much of it has used up credit. */
export class Backlog extends Gate {
  readonly #output: Gate;
  #creditedBytes = 0;

  /** `output`: the connection's level, which what waits here is part of. */
  constructor(limit: number, output: Gate) {
    super(limit);
    this.#output = output;
  }

  /** Those of the waiting bytes that have used up credit. */
  get creditedBytes(): number {
    return this.#creditedBytes;
  }

  /** `bytes` are handed to the encoder. */
  enter(bytes: number, credited: boolean): void {
    if (credited) this.#creditedBytes += bytes;
    this.#output.take(bytes);
    this.take(bytes);
  }

  /** `bytes` have come out; they are output still, until the writer counts them as they are on the wire. */
  leave(bytes: number, credited: boolean): void {
    if (credited) this.#creditedBytes -= bytes;
    this.give(bytes);
  }
}
