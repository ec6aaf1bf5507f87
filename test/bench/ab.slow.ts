/** Another revision in a work tree: checked out, built, and gone. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { WorkTree } from '../../bench/ab.ts';

const worktrees = () => execFileSync('git', ['worktree', 'list', '--porcelain'], { encoding: 'utf8' });

test('a revision is checked out and built beside this one, and leaves nothing', async (t) => {
  const tree = await WorkTree.of('HEAD');
  t.true(worktrees().includes(tree.path));
  t.true(existsSync(join(tree.path, 'dist/src/index.js')));
  tree[Symbol.dispose]();
  t.false(existsSync(tree.path));
  t.false(worktrees().includes(tree.path));
});
