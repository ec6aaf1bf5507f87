/** What a release must not have. Each check says in a line what is wrong, or nothing. */

import { spawnSync } from 'node:child_process';

/** Licences that code of others may have which we ship with. */
const LICENCES = new Set([
  '(MIT AND Zlib)',
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
]);

export interface Dependency {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

interface Lock {
  readonly packages: Readonly<
    Record<
      string,
      { version?: string; license?: string; dev?: boolean; peer?: boolean; devOptional?: boolean }
    >
  >;
}

/** What is installed with the package: no development dependencies, no optional peers. */
export function dependenciesIn({ packages }: Lock): Dependency[] {
  return Object.entries(packages)
    .filter(([path, { dev, peer, devOptional }]) => path !== '' && !dev && !peer && !devOptional)
    .map(([path, { version = '', license = 'none' }]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version,
      license,
    }));
}

export function licenceProblem(dependencies: readonly Dependency[]): string | undefined {
  const wrong = dependencies.filter(({ license }) => !LICENCES.has(license));
  if (wrong.length === 0) return undefined;
  return `licences that nobody has looked at: ${wrong.map(({ name, license }) => `${name} (${license})`).join(', ')}`;
}

/** The entry of a version has a date in its heading, and says something. */
export function changelogProblem(changelog: string, version: string): string | undefined {
  const [heading, ...lines] =
    changelog
      .split(/^(?=## )/m)
      .find((part) => part.split(/\s+/)[1] === version)
      ?.split('\n') ?? [];
  if (heading === undefined) return `CHANGELOG.md has no entry for ${version}`;
  if (!/\(\d{4}-\d\d-\d\d\)/.test(heading)) return `CHANGELOG.md: '${heading}' has no date`;
  return lines.some((line) => line.startsWith('* '))
    ? undefined
    : `CHANGELOG.md: the entry for ${version} is empty`;
}

function said(root: string, program: string, ...args: string[]): { status: number | null; out: string } {
  const { status, stdout } = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  return { status, out: (stdout ?? '').trim() };
}

/** What is released is what is committed, and nothing beside it. */
export function treeProblem(root: string): string | undefined {
  const { status, out } = said(root, 'git', 'status', '--porcelain');
  if (status !== 0) return 'this is no checkout of git';
  return out === ''
    ? undefined
    : `not committed: ${out
        .split('\n')
        .map((line) => line.trim())
        .join(', ')}`;
}

export function tagProblem(root: string, version: string): string | undefined {
  return said(root, 'git', 'tag', '--list', `v${version}`).out === ''
    ? undefined
    : `there is a tag v${version} already`;
}

/** Runs scripts of package.json, with their output. */
export function suiteProblem(root: string, scripts: readonly string[]): string | undefined {
  const failed = scripts.find(
    (script) => spawnSync('npm', ['run', script], { cwd: root, stdio: 'inherit' }).status !== 0,
  );
  return failed === undefined ? undefined : `npm run ${failed} has failed`;
}
