/** What the settings have become, applied as far as a server can change while it serves; the rest is named. */

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { Server } from '../index.ts';
import { type Config, changed } from '../ops/config.ts';
import { reloadsOf, type Settings } from '../ops/settings.ts';
import { readRegularFile } from '../options/regular-file.ts';
import { MAX_DICTIONARY_BYTES } from '../wire/extensions.ts';
import type { Io } from './io.ts';
import { messageOf } from './outcome.ts';
import { updateOptions } from './serve-options.ts';
import { isTerminalGone } from './serving.ts';

export interface ReloadOptions {
  readonly read: () => Config;
  readonly server: Server;
  readonly io: Io;
  /** What else looks at the settings, told when they are others. */
  readonly onChange: (settings: Settings) => void;
  /** What has come of it; `error`: nothing has. */
  readonly tell: (message: string, level: 'info' | 'error') => void;
}

export class Reload {
  #config: Config;
  /** Of the files of dictionaries, which are read at the start alone. */
  #dictionaries: string;
  readonly #options: ReloadOptions;
  #onSignal: (() => void) | undefined;

  constructor(config: Config, options: ReloadOptions) {
    this.#config = config;
    this.#dictionaries = digestOf(config.settings);
    this.#options = options;
  }

  /** Those that are in force, and those that will be with the next start. */
  get settings(): Settings {
    return this.#config.settings;
  }

  /** Calls `reload` at SIGHUP, until {@link stop}. */
  onSignal(reload: () => void): void {
    const { io } = this.#options;
    this.#onSignal = () => {
      if (!isTerminalGone(io)) reload();
    };
    io.signals.on('SIGHUP', this.#onSignal);
  }

  stop(): void {
    if (this.#onSignal !== undefined) this.#options.io.signals.off('SIGHUP', this.#onSignal);
  }

  /** What has changed, in a line, or why nothing has. */
  run(): string {
    const { tell } = this.#options;
    try {
      const said = `reloaded: ${this.#run()}`;
      tell(said, 'info');
      return said;
    } catch (error) {
      const said = `not reloaded: ${messageOf(error)}`;
      tell(said, 'error');
      return said;
    }
  }

  #run(): string {
    const { read, server, onChange } = this.#options;
    const config = read();
    // The files that they name may be others by now, whatever the settings are.
    server.update(updateOptions(config.settings));
    const names = new Set(changed(this.#config, config));
    const dictionaries = digestOf(config.settings);
    if (dictionaries !== this.#dictionaries) names.add('dictionaries');
    this.#config = config;
    this.#dictionaries = dictionaries;
    onChange(config.settings);
    return told([...names], config.settings.tlsCert !== undefined);
  }
}

/** Of what is in the dictionaries' files; one that cannot be read is for the next start to name. */
function digestOf({ dictionaries = [] }: Settings): string {
  const hash = createHash('sha256');
  for (const { file } of dictionaries) {
    try {
      // What is larger is none, and no server reads it.
      hash.update(statSync(file).size > MAX_DICTIONARY_BYTES ? file : readRegularFile(file));
    } catch {
      hash.update(file);
    }
  }
  return hash.digest('hex');
}

function told(names: readonly string[], hasCertificates: boolean): string {
  const [now, later] = [true, false].map((can) =>
    names.filter((name) => (reloadsOf(name) !== undefined) === can),
  );
  const nothing = hasCertificates
    ? 'certificates read again, nothing else has changed'
    : 'nothing has changed';
  const parts = [now.length > 0 ? `${now.join(', ')} changed` : nothing];
  if (later.length > 0) parts.push(`needs a new start: ${later.join(', ')}`);
  return parts.join('; ');
}
