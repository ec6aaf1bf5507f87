// A handler's run by itself: what is sent of a response that is whole as the handler returns, and what is not.
import test from 'ava';
import type { LaneStream } from '../../src/lanes/lane-stream.ts';
import type { Handler } from '../../src/reactor/command.ts';
import { HandlerRun } from '../../src/server/handler-run.ts';
import type { ServedRequest } from '../../src/server/request.ts';
import type { Failure } from '../../src/wire/failure.ts';
import { FrameType } from '../../src/wire/frame.ts';

const FAILURE = { code: 'cancelled', message: 'enough' };

/** A run of `handler`, with what it has done, in order. */
function running(handler: Handler) {
  const done: string[] = [];
  const sent = (way: string) => (_: number, type: number, flags: number, payload: Uint8Array) =>
    void done.push(
      `${way} ${type === FrameType.errorResponse ? 'error' : new TextDecoder().decode(payload)} ${flags}`,
    );
  const request = {
    id: 1,
    command: { name: 'any' },
    args: new Map(),
    hasData: false,
    state: 'running',
    flow: { availableNow: (wanted: number) => wanted, take: () => {}, sentNow: () => {} },
    session: {
      caller: {},
      errorDetail: 0,
      router: { options: { frameSize: 16 } },
      passedPlain: () => {},
      sendPlain: sent('plain'),
      flushes: { add: () => {} },
      report: (error: unknown) => void done.push(`report ${error}`),
    },
    workBegins: () => {},
    workEnds: () => void done.push('work ends'),
    passed: () => {},
    failedWith: () => {},
    sent: () => {
      request.state = 'sent';
    },
    fail: ({ message }: Failure) => void done.push(`fails: ${message}`),
    end: () => void done.push('end'),
  };
  const stream = { contextFree: false, encode: sent('lane'), pass: sent('lane') } as unknown as LaneStream;
  return { done, stream, run: new HandlerRun(request as unknown as ServedRequest, handler) };
}

test('bytes or text that a handler returns and that fit one frame are all of it', (t) => {
  for (const answer of ['whole', Buffer.from('whole')]) {
    const { run, done } = running(() => answer);
    run.start(undefined);
    t.deepEqual(done, ['work ends', 'plain whole 2', 'end']);
  }
});

test('what does not fit one frame is cut all the same', (t) => {
  const { run, done } = running(() => 'x'.repeat(20));
  run.start(undefined);
  t.deepEqual(done, ['work ends', `plain ${'x'.repeat(16)} 1`, 'plain xxxx 2', 'end']);
});

test('text is made bytes of once, also where it does not fit one frame', (t) => {
  const { run, done } = running(() => 'x'.repeat(30));
  const { encode } = TextEncoder.prototype;
  let encoded = 0;
  TextEncoder.prototype.encode = function (text) {
    encoded++;
    return encode.call(this, text);
  };
  try {
    run.start(undefined);
  } finally {
    TextEncoder.prototype.encode = encode;
  }
  t.is(encoded, 1);
  t.is(done.length, 4);
});

test('of a handler that is stopped while it runs, nothing that it returns is sent', (t) => {
  const { run, done } = running(() => {
    t.true(run.begun);
    run.stop(FAILURE);
    return 'too late';
  });
  run.start(undefined);
  t.deepEqual(done, ['plain error 2', 'end', 'work ends']);
});

test('a whole response that its lane has is not answered again by an error', (t) => {
  const { run, stream, done } = running(() => 'whole');
  run.start(stream);
  run.stop(FAILURE);
  run.lose(FAILURE);
  t.deepEqual(done, ['work ends', 'lane whole 2']);
});

test('a request that is stopped before its handler runs ends with the error', (t) => {
  const { run, done } = running(() => 'never');
  t.false(run.begun);
  run.stop(FAILURE);
  t.deepEqual(done, ['fails: enough']);
});

test('bytes that were transferred fail the response, and its code has ended once', (t) => {
  const gone = new Uint8Array(4);
  structuredClone(gone, { transfer: [gone.buffer] });
  const { run, done } = running(() => gone);
  run.start(undefined);
  t.deepEqual(
    done.filter((what) => !what.startsWith('report')),
    ['work ends', 'plain error 2', 'end'],
  );
});
