/**
 * The members of an object in JSON, each as it is written: a number keeps all its digits. They are found one by one, so that
 * who wants few of them pays for few.
 */

const QUOTE = '"';
/** What is between two tokens. */
const SPACE = /[ \t\n\r]*/y;

/** Each name with the text of its value, which has not been looked into. @throws SyntaxError when the text is no object. */
export function* membersOf(text: string): Generator<[name: string, value: string], void, undefined> {
  let at = take('{', skipSpace(0));
  if (text[at] === '}') return end(at + 1);
  for (;;) {
    const nameEnd = endOfString(text, at);
    const name = JSON.parse(text.slice(at, nameEnd)) as string;
    const begin = take(':', skipSpace(nameEnd));
    at = endOfValue(text, begin);
    yield [name, text.slice(begin, withoutSpace(text, at))];
    if (text[at] === '}') return end(at + 1);
    at = take(',', at);
  }

  function skipSpace(from: number): number {
    SPACE.lastIndex = from;
    SPACE.test(text);
    return SPACE.lastIndex;
  }

  function take(token: string, from: number): number {
    if (text[from] !== token) throw new SyntaxError(`no ${token} at ${from}`);
    return skipSpace(from + 1);
  }

  function end(from: number): void {
    if (skipSpace(from) !== text.length) throw new SyntaxError(`something follows at ${from}`);
  }
}

/** Where the value ends that begins at `from`: at what closes or separates what it is in. */
function endOfValue(text: string, from: number): number {
  let depth = 0;
  for (let i = from; i < text.length; i++) {
    const char = text[i];
    if (char === QUOTE) i = endOfString(text, i) - 1;
    else if (char === '{' || char === '[') depth++;
    else if (depth === 0 && (char === ',' || char === '}')) return i;
    else if (char === '}' || char === ']') depth--;
  }
  throw new SyntaxError('the value has no end');
}

function withoutSpace(text: string, end: number): number {
  let last = end - 1;
  while (' \t\n\r'.includes(text[last])) last--;
  return last + 1;
}

/** Behind the quote that closes the string which begins at `from`. */
function endOfString(text: string, from: number): number {
  if (text[from] !== QUOTE) throw new SyntaxError(`no string at ${from}`);
  for (let i = from + 1; ; i++) {
    i = text.indexOf(QUOTE, i);
    if (i === -1) throw new SyntaxError('the string has no end');
    if (!isEscaped(text, i)) return i + 1;
  }
}

function isEscaped(text: string, at: number): boolean {
  let begin = at;
  while (text[begin - 1] === '\\') begin--;
  return (at - begin) % 2 === 1;
}
