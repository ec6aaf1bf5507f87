/** YAML, and so JSON, in time that goes with its length. */

import { type Document, isScalar, LineCounter, type Node, type ParsedNode, parseDocument, visit } from 'yaml';

export interface ReadYaml {
  readonly document: Document.Parsed<ParsedNode>;
  /** `line:column` of a place in the source. */
  at(offset: number): string;
  /** The first thing that is wrong with it, and where; undefined: nothing is. */
  readonly problem: { readonly message: string; readonly offset: number } | undefined;
}

/** @throws RangeError when it is nested deeper than can be read. */
export function readYaml(source: string): ReadYaml {
  const lines = new LineCounter();
  // Its own search for a key that is there twice takes quadratic time.
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${line}:${col}`;
  };
  const [error] = [...document.errors, ...document.warnings];
  if (error !== undefined) return { document, at, problem: { message: error.message, offset: error.pos[0] } };
  const again = repeatedKey(document);
  const problem = again === undefined ? undefined : { message: 'Map keys must be unique', offset: again };
  return { document, at, problem };
}

/** Where a key stands that its mapping has had before. */
function repeatedKey(document: Document): number | undefined {
  let found: number | undefined;
  visit(document, {
    Map: (_, { items }) => {
      const seen = new Set<unknown>();
      const again = items.find(({ key }) => isScalar(key) && seen.size === seen.add(key.value).size);
      if (again === undefined) return undefined;
      found = (again.key as Node).range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return found;
}
