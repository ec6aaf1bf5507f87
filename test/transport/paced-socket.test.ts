/** A socket whose listeners get what comes in pieces, in turns: nothing is lost, doubled or out of order. */

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import test from 'ava';
import { Turns } from '../../src/connection/turns.ts';
import { afterBytes, afterLines, type Cut, PacedSocket } from '../../src/transport/paced-socket.ts';
import { sample } from '../helpers/samples.ts';

/** No slice has more pieces, however fast the machine is. */
const SLICE_PIECES = 1024;
const byteByByte: Cut = (_chunk, at) => at + 1;

/** A stream in place of a socket, and turns that the test takes. */
function paced(cut: Cut = byteByByte) {
  const planned: (() => void)[] = [];
  const turns = new Turns((run) => void planned.push(run));
  const stream = new PassThrough({ highWaterMark: 1 << 20, autoDestroy: false });
  const input = new PacedSocket(stream as unknown as Socket, turns, cut);
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => void pieces.push(piece));
  /** All turns in which there is something to do; how many. */
  const turnsLeft = () => {
    let turns = 0;
    for (; planned.length > 0; turns++) for (const run of planned.splice(0)) run();
    return turns;
  };
  return { stream, input, pieces, turnsLeft, bytes: () => Buffer.concat(pieces) };
}

/** What is written has come to the one who paces it. */
const come = () => new Promise((resolve) => setImmediate(resolve));

test('what comes at once is handed on in order, a slice in each turn', async (t) => {
  const { stream, pieces, turnsLeft, bytes } = paced();
  const sent = sample(2 * SLICE_PIECES + 5, 1);
  stream.write(sent);
  await come();
  t.true(pieces.length <= SLICE_PIECES);
  t.true(stream.isPaused(), 'no more is taken meanwhile');
  t.true(turnsLeft() >= 2);
  t.false(stream.isPaused());
  t.deepEqual(bytes(), Buffer.from(sent));
});

test('the end comes after all that was held', async (t) => {
  const { stream, pieces, turnsLeft } = paced();
  let handedOn: number | undefined;
  stream.on('end', () => {
    handedOn = pieces.length;
  });
  stream.end(sample(SLICE_PIECES + 5, 1));
  await come();
  t.is(handedOn, undefined);
  turnsLeft();
  await come();
  t.is(handedOn, SLICE_PIECES + 5);
});

test('a listener that pauses keeps the socket paused when all is handed on; one that resumes has not to wait', async (t) => {
  const { stream, pieces, turnsLeft } = paced();
  stream.once('data', () => stream.pause());
  stream.write(sample(SLICE_PIECES + 5, 1));
  await come();
  turnsLeft();
  t.is(pieces.length, SLICE_PIECES + 5);
  t.true(stream.isPaused());
  stream.write(sample(3, 2));
  await come();
  t.is(pieces.length, SLICE_PIECES + 5, 'what comes after it waits');
  stream.resume();
  await come();
  turnsLeft();
  t.is(pieces.length, SLICE_PIECES + 8);
});

test('a listener that resumes while much is held gets it in its turns', async (t) => {
  const { stream, pieces, turnsLeft, bytes } = paced();
  const sent = sample(SLICE_PIECES + 9, 1);
  stream.write(sent);
  await come();
  stream.resume();
  await come();
  t.true(pieces.length <= SLICE_PIECES);
  stream.write(sample(4, 2));
  turnsLeft();
  await come();
  turnsLeft();
  t.deepEqual(bytes(), Buffer.concat([sent, sample(4, 2)]));
});

test('who ends it gets what nobody was handed, and the socket as it was', async (t) => {
  const { stream, input, pieces, turnsLeft } = paced();
  const sent = sample(SLICE_PIECES + 9, 1);
  let rest: Buffer | undefined;
  stream.on('data', () => {
    if (pieces.length === 3) rest = input.end();
  });
  stream.write(sent);
  await come();
  turnsLeft();
  t.is(pieces.length, 3);
  t.deepEqual(rest, Buffer.from(sent.subarray(3)));
  stream.resume();
  stream.write(sent);
  await come();
  t.is(pieces.length, 4, 'at once, and in one piece');
});

test('who ends it has the socket paused or not, and its end, to themselves', async (t) => {
  const { stream, input, pieces, turnsLeft } = paced();
  let ended = false;
  stream.on('end', () => {
    ended = true;
  });
  stream.on('data', () => {
    if (pieces.length < SLICE_PIECES + 2) return;
    input.end();
    stream.pause();
  });
  stream.end(sample(SLICE_PIECES + 9, 1));
  await come();
  turnsLeft();
  t.is(pieces.length, SLICE_PIECES + 2);
  t.true(stream.isPaused());
  t.false(ended);
  await come();
  t.true(ended);
});

test('nothing of what is held is handed on once the socket is destroyed', async (t) => {
  const { stream, pieces, turnsLeft } = paced();
  stream.once('data', () => stream.destroy());
  stream.write(sample(SLICE_PIECES + 9, 1));
  await once(stream, 'close');
  turnsLeft();
  t.is(pieces.length, 1);
});

test('pieces for a parser of HTTP end with a line; for one of WebSockets they are short', (t) => {
  const requests = Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(100));
  const end = afterLines(requests, 0);
  t.true(end > 0 && end < 2000);
  t.is(requests[end - 1], 0x0a);
  t.is(afterLines(requests, requests.length - 1), requests.length);
  const body = Buffer.alloc(65_536, 'x');
  t.is(afterLines(body, 0), body.length, 'a body without lines is one piece');
  t.is(afterBytes(body, 0), 4096);
  t.is(afterBytes(body, body.length - 1), body.length);
});
