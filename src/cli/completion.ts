/** `millrace completion`: what a shell needs to complete our command lines, made from the commands themselves. */

import { Argument, type Command } from 'commander';
import type { Io } from './io.ts';

const EXAMPLES = `
Examples:
  source <(millrace completion bash)
  millrace completion zsh > ~/.zfunc/_millrace
  millrace completion fish > ~/.config/fish/completions/millrace.fish`;

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** One command, `millrace` itself among them, as a shell has to know it. */
interface Level {
  /** The words that lead to it: '', `call`, `frame encode`. */
  readonly path: string;
  readonly summary: string;
  readonly commands: readonly string[];
  /** What its arguments may be, where that is known. */
  readonly values: readonly string[];
  readonly options: readonly Flag[];
}

interface Flag {
  readonly long: string;
  readonly summary: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** `everything` gives a program with all commands. */
export function addCompletion(program: Command, io: Io, everything: () => Promise<Command>): void {
  program
    .command('completion')
    .description("print what a shell needs to complete this program's command lines")
    .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(SHELLS))
    .addHelpText('after', EXAMPLES)
    .action(async (shell: Shell) => {
      const levels = levelsOf(await everything());
      io.print({ bash, zsh, fish }[shell](levels).trimEnd());
    });
}

function levelsOf(command: Command, path = ''): Level[] {
  const commands = command.commands.map((each) => each.name());
  const values = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []);
  const options = command
    .createHelp()
    .visibleOptions(command)
    .filter(({ long }) => long)
    .map(({ long, description, required, optional, argChoices }) => ({
      long: long as string,
      summary: description,
      takesValue: required || optional,
      choices: argChoices ?? [],
    }));
  const below = command.commands.flatMap((each) =>
    levelsOf(each, path === '' ? each.name() : `${path} ${each.name()}`),
  );
  return [{ path, summary: command.description(), commands, values, options }, ...below];
}

/** Text within single quotes of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function words(level: Level): string {
  return [...level.commands, ...level.values, ...level.options.map(({ long }) => long)].join(' ');
}

/** The options of a level that take a value, as patterns of `case`, with what is done for them. */
function valueCases(level: Level, line: (flag: Flag) => string): string[] {
  return level.options
    .filter(({ takesValue }) => takesValue)
    .map((flag) => `${pattern(level, flag)}) ${line(flag)} ;;`);
}

function pattern({ path }: Level, { long }: Flag): string {
  return quoted(`${path} ${long}`);
}

/** Follows the words up to the cursor through the commands; what is no command of the level it stands on is passed over. */
function walk(levels: readonly Level[]): string {
  const steps = levels.filter(({ path }) => path !== '').map(({ path }) => quoted(path));
  return `    case "\${at:+$at }$word" in
      ${steps.join(' | ')}) at="\${at:+$at }$word" ;;
    esac`;
}

/** What stands in the loop over the words and behind it: where the cursor is, its values, and what may be there. */
function offers(levels: readonly Level[], values: readonly string[], lists: readonly string[]): string {
  return `${walk(levels)}
  done
  case "$at $before" in
    ${values.join('\n    ')}
  esac
  case "$at" in
${lists.join('\n')}
  esac`;
}

function bash(levels: readonly Level[]): string {
  const values = levels.flatMap((level) =>
    valueCases(level, ({ choices }) =>
      choices.length > 0
        ? `COMPREPLY=($(compgen -W ${quoted(choices.join(' '))} -- "$now")); return`
        : 'COMPREPLY=(); return',
    ),
  );
  const lists = levels.map((level) => `    ${quoted(level.path)}) list=${quoted(words(level))} ;;`);
  return `# millrace: completion for bash. It offers files where a value or an argument may be one.
_millrace() {
  local now="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" at='' word list=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
${offers(levels, values, lists)}
  COMPREPLY=($(compgen -W "$list" -- "$now"))
}
complete -o default -F _millrace millrace
`;
}

function zsh(levels: readonly Level[]): string {
  const values = levels.flatMap((level) =>
    valueCases(level, ({ choices }) =>
      choices.length > 0 ? `compadd -- ${choices.map(quoted).join(' ')}; return` : '_files; return',
    ),
  );
  const described = (level: Level) => [
    ...level.commands.map((name) => [
      name,
      levels.find(({ path }) => path === `${level.path} ${name}`.trim())?.summary ?? '',
    ]),
    ...level.values.map((value) => [value, '']),
    ...level.options.map(({ long, summary }) => [long, summary]),
  ];
  const lists = levels.map(
    (level) =>
      `    ${quoted(level.path)}) list=(${described(level)
        .map(([name, summary]) => quoted(`${name.replaceAll(':', '\\:')}:${summary}`))
        .join(' ')}) ;;`,
  );
  return `#compdef millrace
# millrace: completion for zsh.
_millrace() {
  local now="\${words[CURRENT]}" before="\${words[CURRENT-1]}" at='' word
  local -a list
  for word in "\${(@)words[2,CURRENT-1]}"; do
${offers(levels, values, lists)}
  _describe millrace list || _files
}
if [ "$funcstack[1]" = _millrace ]; then _millrace "$@"; else compdef _millrace millrace; fi
`;
}

function fish(levels: readonly Level[]): string {
  const lines = levels.flatMap((level) => [
    ...level.commands.map((name) => {
      const summary = levels.find(({ path }) => path === `${level.path} ${name}`.trim())?.summary ?? '';
      return `complete -c millrace -f -n ${fishAt(level)} -a ${name} -d ${fishQuoted(summary)}`;
    }),
    ...level.values.map((value) => `complete -c millrace -f -n ${fishAt(level)} -a ${value}`),
    ...level.options.map(({ long, summary, takesValue, choices }) => {
      const value = !takesValue ? '' : choices.length > 0 ? ` -x -a ${fishQuoted(choices.join(' '))}` : ' -r';
      return `complete -c millrace -n ${fishAt(level)} -l ${long.slice(2)}${value} -d ${fishQuoted(summary)}`;
    }),
  ]);
  return `# millrace: completion for fish.
${lines.join('\n')}
`;
}

/** When a level is the one that the cursor is in. */
function fishAt({ path, commands }: Level): string {
  const seen = path
    .split(' ')
    .filter(Boolean)
    .map((word) => `__fish_seen_subcommand_from ${word}`);
  if (path === '') return '__fish_use_subcommand';
  const further = commands.length > 0 ? [`not __fish_seen_subcommand_from ${commands.join(' ')}`] : [];
  return fishQuoted([...seen, ...further].join('; and '));
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
