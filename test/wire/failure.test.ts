// How a command's failure travels: code, message and data, by what the receiver has announced.
import test from 'ava';
import { CommandError } from '../../src/wire/errors.ts';
import { decodeFailure, ErrorDetail, encodeFailure, errorDetailFor } from '../../src/wire/failure.ts';
import { decodeUtf8, encodeUtf8 } from '../../src/wire/utf8.ts';

const DETAILS = Object.values(ErrorDetail);
const FAILURE = { code: 'no-water', message: 'the mill stands\0still: ünder 3 m', data: '{"level":2}' };

test('a peer gets what it has announced: the message, the code too, the data too', (t) => {
  const text = (detail: number) => decodeUtf8(encodeFailure(FAILURE, detail, 1000));
  t.is(text(ErrorDetail.message), FAILURE.message);
  t.is(text(ErrorDetail.code), `no-water\0${FAILURE.message}`);
  t.is(text(ErrorDetail.data), `no-water\0${FAILURE.message}\0{"level":2}`);
  t.is(errorDetailFor(undefined), ErrorDetail.message);
  t.is(errorDetailFor(['cancel']), ErrorDetail.message);
  t.is(errorDetailFor(['error-codes']), ErrorDetail.code);
  t.is(errorDetailFor(['error-data', 'error-codes']), ErrorDetail.data);
});

test('what was sent is what comes, a message with zero bytes in it included', (t) => {
  const { code, message } = FAILURE;
  const back = (detail: number, failure = FAILURE) =>
    decodeFailure(encodeFailure(failure, detail, 1000), detail);
  t.deepEqual(back(ErrorDetail.message), { code: 'internal', message, data: undefined });
  t.deepEqual(back(ErrorDetail.code), { code, message, data: undefined });
  t.deepEqual(back(ErrorDetail.data), { code, message, data: { level: 2 } });
  const without = { code, message: 'a\0b' };
  t.deepEqual(decodeFailure(encodeFailure(without, ErrorDetail.data, 1000), ErrorDetail.data), {
    ...without,
    data: undefined,
  });
});

test('a payload never passes its bound: data that does not fit is left out, then the message is cut at a character', (t) => {
  for (const detail of DETAILS) {
    for (let most = 0; most < 70; most++) {
      const payload = encodeFailure(FAILURE, detail, most);
      t.true(payload.length <= most);
      t.false(decodeUtf8(payload).includes('\ufffd'));
      const { data } = decodeFailure(payload, detail);
      t.true(data === undefined || payload.length === encodeFailure(FAILURE, detail, 1000).length);
    }
  }
});

test('what is no code from a peer, or no JSON, is a message of code internal, or no data; nothing throws', (t) => {
  const message = (text: string) => ({ code: 'internal', message: text, data: undefined });
  for (const text of ['Bad Code\0told', '\0told', 'told', '', `${'a'.repeat(65)}\0told`, 'ünder\0told']) {
    for (const detail of DETAILS) t.deepEqual(decodeFailure(encodeUtf8(text), detail), message(text));
  }
  const odd = (text: string) => decodeFailure(encodeUtf8(text), ErrorDetail.data);
  t.deepEqual(odd('code\0told'), { code: 'code', message: 'told', data: undefined });
  t.deepEqual(odd('code\0told\0{"a":'), { code: 'code', message: 'told', data: undefined });
  t.notThrows(() => odd(`code\0told\0${'['.repeat(60_000)}`));
  const deep = (depth: number) => `${'[{"x":'.repeat(depth / 2)}"]}\\"]}"${'}]'.repeat(depth / 2)}`;
  t.deepEqual(odd(`code\0told\0${deep(100)}`).data, JSON.parse(deep(100)));
  t.is(odd(`code\0told\0${deep(102)}`).data, undefined);
  // A text without an end, looked at once: from each of its quotes to the end it would be hours.
  t.is(odd(`code\0told\0{"${'\\"'.repeat(1_000_000)}\\`).data, undefined);
  // Not that there are many, and not what looks so in text, makes it deep.
  for (const data of [Array(5000).fill({}), '[[['.repeat(5000)])
    t.deepEqual(odd(`code\0told\0${JSON.stringify(data)}`).data, data);
});

test('a code is 1 to 64 characters of a-z, 0-9 and -, or the error is not made', (t) => {
  for (const code of ['a', '0', '-', 'no-water-2', 'z'.repeat(64)])
    t.is(new CommandError('x', { code }).code, code);
  t.is(new CommandError('x').code, 'internal');
  for (const code of ['', 'Bad Code', 'a_b', 'ä', 'a\n', 'z'.repeat(65), 7, null, {}, 7n] as string[]) {
    t.throws(() => new CommandError('x', { code }), {
      instanceOf: TypeError,
      message: /^error code .* is not/,
    });
  }
});
