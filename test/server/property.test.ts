import test from 'ava';
import { anyInterleaving, POLICIES } from './interleaving.ts';

for (const policy of POLICIES) {
  test.serial(
    `${policy}: any interleaving of requests returns every response intact, and every stream decodes three ways`,
    (t) => anyInterleaving(t, policy, 2),
  );
}
