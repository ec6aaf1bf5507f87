/** The messages of a topic on their way to crowds of subscribers, who are many more than one turn of the thread can serve. */

import { type Slice, type Turns, Work } from '../connection/turns.ts';
import { Fifo } from '../wire/fifo.ts';
import type { Forms, Message } from './message.ts';
import type { Subscription } from './subscription.ts';

/** A message on its way to all who have it in one encoding; `rest`: those whose turn is still to come. */
interface Delivery {
  readonly message: Message;
  readonly forms: Forms;
  readonly more: boolean;
  readonly rest: Iterator<Subscription>;
}

/** So many may wait; who publishes faster than that waits for the oldest to be over. */
const MAX_DELIVERIES = 64;

export class Deliveries {
  /** Not over yet, oldest first. */
  readonly #open = new Fifo<Delivery>();
  readonly #work = new Work((slice) => this.#deliverSome(slice), true);
  readonly #turns: Turns;
  readonly #onAllOver: () => void;

  constructor(turns: Turns, onAllOver: () => void) {
    this.#turns = turns;
    this.#onAllOver = onAllOver;
  }

  /** Whether some are not over. */
  get areOpen(): boolean {
    return this.#open.length > 0;
  }

  add(delivery: Delivery): void {
    if (this.#open.length >= MAX_DELIVERIES) this.#finishOldest();
    this.#open.push(delivery);
    this.#turns.ready(this.#work);
  }

  /** Now, whatever time that takes. */
  finish(): void {
    while (this.#open.length > 0) this.#finishOldest();
  }

  #finishOldest(): void {
    offerAll(this.#open.shift() as Delivery);
  }

  /** Whether there is more to do. */
  #deliverSome(slice: Slice): boolean {
    for (let first = this.#open.first; first !== undefined; first = this.#open.first) {
      if (!offerAll(first, slice)) return true;
      if (this.#open.first === first) this.#open.shift();
    }
    this.#onAllOver();
    return false;
  }
}

/** Goes on until the slice is over, or without one to the end. False: some have not been offered it yet. */
function offerAll({ message, forms, more, rest }: Delivery, slice?: Slice): boolean {
  for (let next = rest.next(); next.done !== true; next = rest.next()) {
    next.value.offer(message, forms, more);
    if (slice?.count(message.record.length)) return false;
  }
  return true;
}
