/**
 * `npm run build:cli`: dist/src/cli/pull.cjs, all that `millrace pull` loads as one module. Some 130 modules, and what
 * Node.js does for each of them, were a third of the CPU of a pull that finds nothing new.
 */

import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';

const ROOT = join(import.meta.dirname, '..');
const ENTRY = join(ROOT, 'src/cli/pull-main.ts');
const BUNDLE = join(ROOT, 'dist/src/cli/pull.cjs');

/** The package that is in the bundle; its licence is, too. All others stay where they are installed. */
const INSIDE = 'commander';

/** A module goes on looking for others beside where it is compiled to by itself. */
const places: Plugin = {
  name: 'places',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, ({ path }) => {
      const compiled = relative(dirname(ENTRY), path).replaceAll('\\', '/').replace(/\.ts$/, '.js');
      const url = `require('node:url').pathToFileURL(require('node:path').join(__dirname, '${compiled}')).href`;
      return { contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url), loader: 'ts' };
    });
  },
};

const packages: Plugin = {
  name: 'packages',
  setup({ onResolve }) {
    onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
      kind === 'entry-point' || path === INSIDE ? undefined : { path, external: true },
    );
  },
};

/** Writes the bundle to `outfile`. @throws what esbuild fails with. */
export async function bundle(outfile: string): Promise<void> {
  const licence = readFileSync(join(ROOT, 'node_modules', INSIDE, 'LICENSE'), 'utf8').trim();
  await build({
    entryPoints: [ENTRY],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'es2024',
    minifyWhitespace: true,
    plugins: [places, packages],
    banner: { js: `/* With ${INSIDE} inside, which is:\n${licence}\n*/` },
    logLevel: 'warning',
  });
}

if (import.meta.main) await bundle(BUNDLE);
