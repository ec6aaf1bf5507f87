/** SIGHUP: what the settings have become is applied as far as a server can change while it serves; the rest is named. */

import type { Server } from '../index.ts';
import { type Config, changed } from '../ops/config.ts';
import { reloadsOf, type Settings } from '../ops/settings.ts';
import type { Io } from './io.ts';
import { messageOf } from './outcome.ts';
import { updateOptions } from './serve-options.ts';
import { isTerminalGone } from './serving.ts';

export class Reload {
  #config: Config;
  readonly #read: () => Config;
  readonly #server: Server;
  readonly #io: Io;
  /** What else looks at the settings, told when they are others. */
  readonly #onChange: (settings: Settings) => void;

  constructor(
    config: Config,
    read: () => Config,
    server: Server,
    io: Io,
    onChange: (settings: Settings) => void = () => {},
  ) {
    this.#config = config;
    this.#read = read;
    this.#server = server;
    this.#io = io;
    this.#onChange = onChange;
    io.signals.on('SIGHUP', this.#run);
  }

  /** Those that are in force, and those that will be with the next start. */
  get settings(): Settings {
    return this.#config.settings;
  }

  stop(): void {
    this.#io.signals.off('SIGHUP', this.#run);
  }

  readonly #run = (): void => {
    if (isTerminalGone(this.#io)) return;
    try {
      const config = this.#read();
      // The files that they name may be others by now, whatever the settings are.
      this.#server.update(updateOptions(config.settings));
      const names = changed(this.#config, config);
      this.#config = config;
      this.#onChange(config.settings);
      this.#io.complain(`reloaded: ${told(names)}`);
    } catch (error) {
      this.#io.complain(`not reloaded: ${messageOf(error)}`);
    }
  };
}

function told(names: readonly string[]): string {
  const [now, later] = [true, false].map((can) =>
    names.filter((name) => (reloadsOf(name) !== undefined) === can),
  );
  const parts = [
    now.length > 0 ? `${now.join(', ')} changed` : 'certificates read again, nothing else has changed',
  ];
  if (later.length > 0) parts.push(`needs a new start: ${later.join(', ')}`);
  return parts.join('; ');
}
