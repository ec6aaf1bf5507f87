/**
 * Making a context of node:zlib. Node.js ends the whole process where a thread is ended between the two steps of that
 * (node_zlib.cc, "close before init"), so a thread that others may end has it done when they do not.
 */

/** Runs `make` at once, while nobody ends the thread. */
export type Shelter = <T>(make: () => T) => T;

let shelter: Shelter | undefined;

/** All that is made on this thread from now on is made in there. */
export function makeWithin(shelterOfThread: Shelter): void {
  shelter = shelterOfThread;
}

export function made<T>(make: () => T): T {
  return shelter === undefined ? make() : shelter(make);
}
