/**
 * `npm run release`: makes release/out with the tarball, its SBOM (CycloneDX) and the licences of what it needs; or says
 * in a line why there is nothing to release. It publishes nothing: what is left to do is printed.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  changelogProblem,
  dependenciesIn,
  licenceProblem,
  suiteProblem,
  tagProblem,
  treeProblem,
} from './checks.ts';

const ROOT = join(import.meta.dirname, '..');
const OUT = join(ROOT, 'release/out');

function main(): void {
  const { name, version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const dependencies = dependenciesIn(JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')));
  // The suite is last: it takes longest.
  const problem =
    treeProblem(ROOT) ??
    changelogProblem(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'), version) ??
    tagProblem(ROOT, version) ??
    licenceProblem(dependencies) ??
    suiteProblem(ROOT, ['test', 'test:slow']);
  if (problem !== undefined) {
    console.error(`no release: ${problem}`);
    process.exitCode = 1;
    return;
  }
  rmSync(OUT, { recursive: true, force: true });
  mkdirSync(OUT);
  npm('pack', '--pack-destination', OUT);
  const sbom = npm('sbom', '--omit=dev', '--package-lock-only', '--sbom-format=cyclonedx');
  writeFileSync(join(OUT, 'sbom.cdx.json'), sbom);
  const licences = dependencies.map((each) => `${each.name} ${each.version}: ${each.license}\n`);
  writeFileSync(join(OUT, 'licences.txt'), licences.sort().join(''));
  console.log(`release/out has ${name}-${version}.tgz, sbom.cdx.json and licences.txt. What is left:
  git tag -s v${version} && git push origin v${version}
  npm publish --provenance release/out/${name}-${version}.tgz`);
}

function npm(...args: string[]): string {
  return execFileSync('npm', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 });
}

main();
