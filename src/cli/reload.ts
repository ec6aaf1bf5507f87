/** What the settings have become, applied as far as a server can change while it serves; the rest is named. */

import type { Server } from '../index.ts';
import { type Config, changed } from '../ops/config.ts';
import { reloadsOf, type Settings } from '../ops/settings.ts';
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
  /** What has come of it. */
  readonly tell: (message: string) => void;
}

export class Reload {
  #config: Config;
  readonly #options: ReloadOptions;
  #onSignal: (() => void) | undefined;

  constructor(config: Config, options: ReloadOptions) {
    this.#config = config;
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
    const said = this.#run();
    this.#options.tell(said);
    return said;
  }

  #run(): string {
    const { read, server, onChange } = this.#options;
    try {
      const config = read();
      // The files that they name may be others by now, whatever the settings are.
      server.update(updateOptions(config.settings));
      const names = changed(this.#config, config);
      this.#config = config;
      onChange(config.settings);
      return `reloaded: ${told(names)}`;
    } catch (error) {
      return `not reloaded: ${messageOf(error)}`;
    }
  }
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
