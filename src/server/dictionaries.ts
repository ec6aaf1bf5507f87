/** The dictionaries of a server: which there are, what peers are offered, and which command's responses use which (protocol C9). */

import { readFileSync, statSync } from 'node:fs';
import type { Dictionary } from '../encoding/dictionary.ts';
import { nativeDictionaryCodec } from '../encoding/native.ts';
import { readDictionary } from '../encoding/read-dictionary.ts';
import { problemOf } from '../files/paths.ts';
import type { Contexts, StreamKind } from '../lanes/stream-kind.ts';
import { type DictionaryOffer, MAX_DICTIONARIES, MAX_DICTIONARY_BYTES } from '../wire/payloads.ts';
import type { CommandRules } from './commands.ts';

/** A dictionary for responses, as `millrace dictionary train` or `zstd --train` makes them; at most 1 MiB. Every client may read it. */
export interface DictionaryOption {
  /** The file that it is in; read when the server is made. */
  readonly file?: string;
  /** Its bytes, in place of a file. */
  readonly bytes?: Uint8Array;
  /**
   * The commands whose responses use it; default: all that no other dictionary names. A server takes seven such, with the policy
   * `adaptive` three: each has a stream of every connection.
   */
  readonly commands?: readonly string[];
}

export class ServerDictionaries {
  /** By ID. */
  readonly byId = new Map<string, Dictionary>();
  readonly #byCommand = new Map<string, string>();
  /** For commands that none names. */
  #forAll: string | undefined;

  /** @throws TypeError that names the option which is wrong, and what is wrong with its file. */
  constructor(options: readonly DictionaryOption[]) {
    // Where zstd is only what minizlib makes of it there are none, and responses go without.
    const usable = nativeDictionaryCodec() !== undefined;
    for (const [index, option] of options.entries())
      this.#add(`option dictionaries.${index}`, option, usable);
  }

  /** What peers are told. */
  get offers(): DictionaryOffer[] {
    return [...this.byId.values()].map(({ id, bytes }) => ({ id, bytes: bytes.length }));
  }

  /** ID of the dictionary for the responses to a command. */
  forCommand(name: string): string | undefined {
    return this.#byCommand.get(name) ?? this.#forAll;
  }

  /** @throws TypeError when a dictionary is for a command that does not exist. */
  checkCommands(exists: (name: string) => boolean): void {
    const unknown = [...this.#byCommand.keys()].find((name) => !exists(name));
    if (unknown !== undefined) throw new TypeError(`option dictionaries: there is no command '${unknown}'`);
  }

  #add(where: string, { file, bytes, commands }: DictionaryOption, usable: boolean): void {
    if ((file === undefined) === (bytes === undefined)) throw new TypeError(`${where}: either file or bytes`);
    let dictionary: Dictionary;
    try {
      const read = bytes ?? readFile(file as string);
      if (!usable) return;
      dictionary = readDictionary(read);
    } catch (error) {
      throw new TypeError(`${where}: ${file === undefined ? '' : `${file}: `}${problemOf(error)}`);
    }
    const { id } = dictionary;
    this.byId.set(id, dictionary);
    if (this.byId.size > MAX_DICTIONARIES)
      throw new TypeError(`option dictionaries: more than ${MAX_DICTIONARIES}`);
    if (commands === undefined) {
      if (this.#forAll !== undefined) throw new TypeError(`${where}: there is one for all commands already`);
      this.#forAll = id;
    }
    for (const name of commands ?? []) {
      if (this.#byCommand.has(name)) throw new TypeError(`${where}: command '${name}' has one already`);
      this.#byCommand.set(name, id);
    }
  }
}

/** @throws RangeError for what is no dictionary by its size alone; Error of the system. */
function readFile(file: string): Uint8Array {
  const { size } = statSync(file);
  if (!statSync(file).isFile()) throw new RangeError('not a file');
  if (size > MAX_DICTIONARY_BYTES) throw new RangeError(`${size} bytes, over ${MAX_DICTIONARY_BYTES}`);
  return readFileSync(file);
}

/** The kinds of streams that a server's commands need, the first of them for all commands without a choice of their own. */
export class StreamKinds {
  readonly all: StreamKind[] = [];
  readonly #dictionaries: ServerDictionaries;
  readonly #contexts: Contexts;

  constructor(dictionaries: ServerDictionaries, contexts: Contexts | undefined) {
    this.#dictionaries = dictionaries;
    this.#contexts = contexts ?? (dictionaries.byId.size > 0 ? 'auto' : 'kept');
    this.#kind(this.#contexts, dictionaries.forCommand(''));
  }

  /** The kind for the responses to a command. */
  of(name: string, { contexts = this.#contexts }: CommandRules): StreamKind {
    return this.#kind(contexts, this.#dictionaries.forCommand(name));
  }

  #kind(contexts: Contexts, dictionary: string | undefined): StreamKind {
    const known = this.all.find((each) => each.contexts === contexts && each.dictionary === dictionary);
    if (known !== undefined) return known;
    const kind = { contexts, dictionary };
    this.all.push(kind);
    return kind;
  }
}
