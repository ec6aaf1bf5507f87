/** `millrace config`: what is in force, and where it came from. */

import type { Command } from 'commander';
import type { Config, InForce } from '../ops/config.ts';
import { factsOf, type SettingName } from '../ops/settings.ts';
import { checkFolder } from './arguments.ts';
import type { Io } from './io.ts';
import { checkServer } from './serve-one.ts';
import { addSettings, readConfig, type SettingFlags } from './settings.ts';
import { oneLine, plural } from './show.ts';

const EXAMPLES = `
It takes the flags of 'millrace serve', and what it prints can be used as a file.

Examples:
  millrace config --config /etc/millrace.yaml
  millrace config --config /etc/millrace.yaml --check     one line and exit code 2 where something is wrong`;

export function addConfig(program: Command, io: Io): void {
  const command = program
    .command('config')
    .description("print the settings of 'millrace serve', and where each comes from")
    .argument('[dir]', 'the folder to serve')
    .option('--check', 'only say whether they can be')
    .addHelpText('after', EXAMPLES)
    .action(async (dir: string | undefined, flags: SettingFlags & { check?: boolean }) => {
      const config = readConfig({ dir, flags, env: io.env });
      if (!flags.check) {
        for (const line of linesOf(config)) io.print(line);
        return;
      }
      // The files that they name, too.
      if (config.settings.dir !== undefined) checkFolder(config.settings.dir);
      await checkServer(config.settings);
      io.print(`all well: ${plural(config.inForce.size, 'setting')}`);
    });
  addSettings(command);
}

/** The settings as YAML, each with its place. */
function linesOf({ inForce }: Config): string[] {
  const all = [...inForce];
  const limits = all.filter(([path]) => path.startsWith('limits.'));
  const others = all.filter(([path]) => !path.startsWith('limits.'));
  const lines = others.map(([name, { value, place }]) =>
    line(name, shown(name as SettingName, value), place),
  );
  if (limits.length > 0) lines.push('limits:');
  return [
    ...lines,
    ...limits.map(([path, { value, place }]: [string, InForce]) =>
      line(`  ${path.slice(7)}`, String(value), place),
    ),
  ];
}

const line = (name: string, value: string, place: string) =>
  `${`${name}: ${value}`.padEnd(40)} # ${oneLine(place)}`;

function shown(name: SettingName, value: unknown): string {
  if (factsOf(name).secret) return "'(not shown)'";
  if (name === 'dictionaries') {
    const all = value as { file: string; commands?: string[] }[];
    return JSON.stringify(all.map(({ file, commands }) => (commands ? `${file}=${commands.join()}` : file)));
  }
  if (name === 'origins') return JSON.stringify(value);
  if (name === 'topics') {
    const all = value as { name: string; history: number }[];
    return JSON.stringify(all.map((topic) => `${topic.name}=${topic.history}`));
  }
  if (typeof value === 'object') {
    const { host, port } = value as { host: string; port: number };
    return JSON.stringify(`${host.includes(':') ? `[${host}]` : host}:${port}`);
  }
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
