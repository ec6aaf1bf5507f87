/** A release is refused for what it must not have. */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import {
  changelogProblem,
  dependenciesIn,
  licenceProblem,
  suiteProblem,
  tagProblem,
  treeProblem,
} from '../../release/checks.ts';
import { tempFolder } from '../files/helper.ts';
import { ROOT } from '../helpers/imports.ts';

test('a tree with something that is not committed, a tag that is there, and a suite that fails', (t) => {
  const root = tempFolder(t);
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@y', ...args], { cwd: root });
  t.is(treeProblem(root), 'this is no checkout of git');
  git('init', '-q');
  const scripts = { good: 'node -e 0', bad: 'exit 3' };
  writeFileSync(join(root, 'package.json'), JSON.stringify({ name: 'x', version: '1.0.0', scripts }));
  t.regex(treeProblem(root) ?? '', /^not committed: .*package\.json$/);
  git('add', '.');
  git('commit', '-qm', 'first');
  t.is(treeProblem(root), undefined);
  t.is(tagProblem(root, '1.0.0'), undefined);
  git('tag', 'v1.0.0');
  t.is(tagProblem(root, '1.0.0'), 'there is a tag v1.0.0 already');
  t.is(suiteProblem(root, ['good']), undefined);
  t.is(suiteProblem(root, ['good', 'bad']), 'npm run bad has failed');
});

test('a changelog without an entry, a date, or a word', (t) => {
  const entry = (heading: string, text = '* Something.\n') =>
    `# Changelog\n\n## ${heading}\n\n${text}\n## 0.0.9 (2026-01-01)\n\n* Old.\n`;
  t.is(changelogProblem(entry('1.0.0 (2026-02-03)'), '1.0.0'), undefined);
  t.regex(changelogProblem(entry('1.0.0 (2026-02-03)'), '1.0.1') ?? '', /no entry for 1\.0\.1/);
  t.regex(changelogProblem(entry('1.0.0 (unreleased)'), '1.0.0') ?? '', /has no date/);
  t.regex(changelogProblem(entry('1.0.0 (2026-02-03)', ''), '1.0.0') ?? '', /is empty/);
  t.regex(changelogProblem(entry('11.0.0 (2026-02-03)'), '1.0.0') ?? '', /no entry/);
});

test('licences that nobody has looked at; those of what we ship with are known', (t) => {
  const dependencies = dependenciesIn(JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')));
  const names = dependencies.map(({ name }) => name);
  for (const name of ['piscina', 'pino', 'prom-client', 'zod']) t.true(names.includes(name), name);
  for (const name of ['ava', 'typescript', 'bullmq']) t.false(names.includes(name), name);
  t.is(licenceProblem(dependencies), undefined);
  t.regex(licenceProblem([{ name: 'x', version: '1', license: 'SSPL-1.0' }]) ?? '', /x \(SSPL-1\.0\)/);
});
