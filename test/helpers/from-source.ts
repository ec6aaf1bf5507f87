/** To be preloaded: programs of this checkout that import 'millrace', as a user's do, get the sources and no old build. */

import { registerHooks } from 'node:module';

const SOURCES: Readonly<Record<string, string>> = {
  millrace: new URL('../../src/index.ts', import.meta.url).href,
  'millrace/otel': new URL('../../src/otel.ts', import.meta.url).href,
};

registerHooks({
  resolve: (specifier, context, next) =>
    Object.hasOwn(SOURCES, specifier)
      ? { url: SOURCES[specifier], shortCircuit: true }
      : next(specifier, context),
});
