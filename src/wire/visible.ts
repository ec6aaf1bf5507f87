/**
 * Text from outside for people, on terminals and pages: what could steer a terminal, turn the text around it, or not be
 * seen at all is shown by its number. The one place that says which characters these are.
 */

/**
 * Controls (Cc), formats (Cf: U+202E and all that turn text around, those without width, tags), ends of lines and
 * paragraphs, halves of surrogate pairs, and letters that are drawn as nothing.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\u115f\u1160\u3164\uffa0]|\u034f|\u17b4|\u17b5/gu;

/** The text with each such character as `\u202e`, or `\u{e0041}` where four digits are too few. */
export function visible(text: string): string {
  return text.replace(UNSEEN, escaped);
}

/** The same for text of several lines: their ends and tabs stay. */
export function visibleLines(text: string): string {
  return text.replace(UNSEEN, (character) => ('\n\t'.includes(character) ? character : escaped(character)));
}

/** `value` as JSON on one line, in which such characters are written as JSON's own escapes. */
export function visibleJson(value: unknown, replacer?: (key: string, value: unknown) => unknown): string {
  return JSON.stringify(value, replacer)?.replace(UNSEEN, (character) =>
    character.split('').map(unit).join(''),
  );
}

function escaped(character: string): string {
  return character.length === 1 ? unit(character) : `\\u{${character.codePointAt(0)?.toString(16)}}`;
}

function unit(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
