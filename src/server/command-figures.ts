/** What has become of a command's requests. */

/** Codes of one command that are told apart; handlers make codes of their own, perhaps without end. */
const MAX_CODES = 32;
const OTHER = 'other';

/** Figures of one command since the server was made. */
export interface CommandRow {
  /** `(unknown)`: those that the server does not have. */
  readonly command: string;
  /** Requests under way. */
  readonly running: number;
  /** Requests that are over, by `ok` or the code of their error; `other` for all codes after the first 32. */
  readonly codes: Readonly<Record<string, number>>;
  /** Response bytes, and what they were on the wire. */
  readonly bytes: number;
  readonly wireBytes: number;
}

export class CommandFigures {
  readonly command: string;
  #running = 0;
  #bytes = 0;
  #wireBytes = 0;
  readonly #codes = new Map<string, number>();

  constructor(command: string) {
    this.command = command;
  }

  began(): void {
    this.#running++;
  }

  /** One that {@link began} is over. */
  ended(code: string, bytes: number, wireBytes: number): void {
    this.#running--;
    this.#bytes += bytes;
    this.#wireBytes += wireBytes;
    this.refused(code);
  }

  /** One that never began. */
  refused(code: string): void {
    const known = this.#codes.get(code);
    const name = known === undefined && this.#codes.size >= MAX_CODES ? OTHER : code;
    this.#codes.set(name, (known ?? this.#codes.get(name) ?? 0) + 1);
  }

  get row(): CommandRow {
    return {
      command: this.command,
      running: this.#running,
      codes: Object.fromEntries(this.#codes),
      bytes: this.#bytes,
      wireBytes: this.#wireBytes,
    };
  }
}
