/** To be preloaded: programs of this checkout that import 'millrace', as a user's do, get the sources and no old build. */

import { registerHooks } from 'node:module';

const INDEX = new URL('../../src/index.ts', import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'millrace' ? { url: INDEX, shortCircuit: true } : next(specifier, context),
});
