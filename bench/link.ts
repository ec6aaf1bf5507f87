/** A link between a server and its clients, whose speed can be set: link-child.ts from its parent's side. */
import { join } from 'node:path';
import { Child } from '../src/experiment/process/child.ts';
import type { LinkOperations } from './link-child.ts';

const CHILD = join(import.meta.dirname, 'link-child.ts');

export class Link {
  /** Where clients connect. */
  readonly port: number;
  readonly #child: Child<LinkOperations>;

  private constructor(child: Child<LinkOperations>, port: number) {
    this.#child = child;
    this.port = port;
  }

  /** A link to the server at `server`, as fast as it can be. */
  static async start(server: number): Promise<Link> {
    const child = new Child<LinkOperations>(CHILD, 'the process of the link has ended');
    return new Link(child, await child.ask('open', server));
  }

  /** Bits per second; several take turns of `turnMs`; none: not shaped. */
  setSpeeds(speeds: readonly number[], turnMs = 1): Promise<void> {
    return this.#child.ask('setSpeeds', speeds, turnMs);
  }

  end(): Promise<void> {
    return this.#child.end();
  }
}
