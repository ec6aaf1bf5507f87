/** docs/options.md and docs/settings.md: what docstrings and the schema say, so that they cannot differ. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  choicesOf,
  factsOf,
  flagOf,
  LIMIT_NAMES,
  reloadsOf,
  SETTING_NAMES,
  type SettingName,
} from '../../src/ops/settings.ts';
import { ROOT } from './imports.ts';

/** Interfaces of options, in the order of the page: who takes them, where they are, what they are called. */
const PARTS: readonly [title: string, module: string, name: string][] = [
  ['createServer(options)', 'src/server/options.ts', 'ServerOptions'],
  ['options.limits, on either side', 'src/wire/limits.ts', 'Limits'],
  ['options.dictionaries, each', 'src/server/dictionaries.ts', 'DictionaryOption'],
  ['options.record', 'src/capture/recorder.ts', 'RecordOptions'],
  ['options.http', 'src/doors/host.ts', 'HttpOptions'],
  [
    'server.listen(address) and server.attach(httpServer, { path }): doors',
    'src/server/listener.ts',
    'Doors',
  ],
  ['options.quarantine', 'src/lanes/quarantine.ts', 'QuarantineOptions'],
  ['options.commands, per command', 'src/server/commands.ts', 'CommandRules'],
  ['options.commands, those that run in lanes', 'src/server/commands.ts', 'LaneCommand'],
  ['server.topic(name, options)', 'src/topics/options.ts', 'TopicOptions'],
  ['connect(address, options)', 'src/client/connect.ts', 'ConnectOptions'],
  ['connect, connectOver and a pool’s connections', 'src/client/options.ts', 'ClientOptions'],
  ['millrace/browser: connect(url, options)', 'src/client/connect-browser.ts', 'BrowserConnectOptions'],
  ['client.call(command, options)', 'src/client/options.ts', 'CallOptions'],
  ['client.subscribe(topic, options)', 'src/client/topics.ts', 'SubscribeOptions'],
  ['connectPool(addresses, options)', 'src/client/connect-pool.ts', 'ConnectPoolOptions'],
  ['createPool(addresses, connect, options)', 'src/client/pool-options.ts', 'PoolOptions'],
  ['pool.call(command, options)', 'src/client/pool-options.ts', 'PoolCallOptions'],
  ['pull(client, dest, options)', 'src/files/pull.ts', 'PullOptions'],
  ['pull, how it fetches', 'src/files/pull-job.ts', 'FetchOptions'],
];

interface Option {
  readonly name: string;
  readonly text: string;
}

/** The members of an interface that have a docstring or stand alone, in their order. */
export function optionsOf(module: string, name: string): Option[] {
  const source = readFileSync(join(ROOT, module), 'utf8');
  const body = new RegExp(`export interface ${name}\\b[^{]*\\{\\n(.*?)\\n\\}`, 's').exec(source)?.[1];
  if (body === undefined) throw new Error(`${module} has no interface ${name}`);
  const member = /^ {2}(?:\/\*\*(?<doc>(?:(?!\*\/)[\s\S])*)\*\/\n {2})?(?:readonly )?(?<name>\w+)\??[:(]/gm;
  return [...body.matchAll(member)].map(({ groups = {} }) => ({
    name: groups.name as string,
    text: textOf(groups.doc ?? ''),
  }));
}

/** A docstring as one line of Markdown. */
function textOf(doc: string): string {
  return doc
    .replace(/^ *\* ?/gm, '')
    .replace(/\{@link ([\w.]+)\}/g, '`$1`')
    .replace(/\s+/g, ' ')
    .replace(/\|/g, '\\|')
    .trim();
}

export function reference(): string {
  const parts = PARTS.map(([title, module, name]) => {
    const rows = optionsOf(module, name).map((option) => `| \`${option.name}\` | ${option.text} |`);
    return `## ${title}\n\n| option | |\n|---|---|\n${rows.join('\n')}\n`;
  });
  return `# Options

Made from the docstrings by \`npm run reference\`. An option that is not here is an error, with the name that was meant.

${parts.join('\n')}`;
}

/** docs/settings.md: every setting of `millrace serve`, from the schema that they are held to. */
export function settingsReference(): string {
  const rows = SETTING_NAMES.filter((name) => name !== 'limits').map((name) => {
    const { what, initially, otherwise, reloads, value } = factsOf(name);
    const flag =
      name === 'dir' ? 'the argument' : `\`${flagOf(name)}${value === undefined ? '' : ` <${value}>`}\``;
    return `| \`${name}\` | ${flag} | ${what}${among(name)} | ${initially ?? otherwise ?? ''} | ${reloads ?? 'new start'} |`;
  });
  const limits = LIMIT_NAMES.map((name) => `| \`${name}\` | ${reloadsOf(`limits.${name}`) ?? 'new start'} |`);
  return `# Settings of \`millrace serve\`

Made from their schema by \`npm run reference\`. Each can be a flag, a variable (\`cacheBytes\` is \`MILLRACE_CACHE_BYTES\`) or a
line of the file that \`--config\` or \`MILLRACE_CONFIG\` names (YAML or JSON, 256 KiB at most): flags go before variables, variables
before the file. One that cannot be is one line that begins with its place, and exit code 2; so is a name that there is none of.
What may be repeated is a list in a file, and one text with \`;\` between them in a variable.
\`millrace config\` takes the same and prints what is in force, with where each value comes from; \`--check\` only checks whether a server can be made of them.

SIGHUP has all read again, the TLS files too. What the last column calls *connections* holds for those that come from
then on, *at once* for all, *new start* is only named in the line that says what was reloaded. Where something is
wrong, nothing changes. A terminal that is closed ends the server all the same.

| in a file | flag | | default | SIGHUP |
|---|---|---|---|---|
${rows.join('\n')}

## Limits

\`--limit NAME=VALUE\`, \`MILLRACE_LIMITS=NAME=VALUE,NAME=VALUE\`, or \`limits: { NAME: VALUE }\` in the file; what they bound is in
[SECURITY.md](../SECURITY.md#limits). Sources may give some of them each.

| | SIGHUP |
|---|---|
${limits.join('\n')}
`;
}

/** What a setting chooses from, behind what it is. */
function among(name: SettingName): string {
  const choices = choicesOf(name);
  return choices === undefined ? '' : ` (${choices.join(', ')})`;
}
