/** Every conformance vector is one test, reported by its file and id (test/conformance/README.md). */

import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readCaseFiles } from './cases.ts';
import { runReactorCase } from './reactor.ts';
import { runWireCase } from './wire.ts';

const folder = process.env.CONFORMANCE_DIR || fileURLToPath(new URL('./', import.meta.url));

for (const { name, cases } of readCaseFiles(folder)) {
  for (const testCase of cases) {
    test(`${name} ${testCase.id}`, async (t) => {
      if (testCase.op === 'reactor') await runReactorCase(testCase);
      else runWireCase(testCase);
      t.pass();
    });
  }
}
