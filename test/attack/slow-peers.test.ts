/** Peers that begin something and take their time: each is refused by the limit that it passes, and by no other. */

import { deflateSync } from 'node:zlib';
import ava from 'ava';
import { Clock } from '../helpers/clock.ts';
import { frame, frames, HELLO, RawPeer } from '../helpers/raw-peer.ts';
import { argumentPayload, type Client } from '../independent/client.ts';
import { Target } from './helper.ts';

// One after the other: they share a clock that they advance.
const test = ava.serial;

const IDLE = 400;
const WHOLE = 1000;
/** Between two bytes of a peer that trickles. */
const TRICKLE = 40;
/** What passes in a round trip of the witness, in which what a peer has sent arrives. */
const STEP = 4;

let clock: Clock;
let target: Target;
test.before(async () => {
  clock = new Clock();
  const limits = { idleTimeout: IDLE, frameTimeout: WHOLE, commandTimeout: WHOLE };
  target = await Target.start({ limits });
});
test.after.always(async () => {
  await target?.stop();
  clock.release();
});

async function refused(peer: Client): Promise<string> {
  await clock.advanceWhile(peer.untilEnded(), STEP, () => target.witness.ping(Buffer.from('are you?')));
  const [error] = peer.protocolErrors;
  peer.close();
  return error?.payload.toString() ?? 'closed without a word';
}

const name = frame('1 1 0 command-name have-args echo');
const argument = frame('1 1 0 command-argument 0 ', argumentPayload('value', 'x'));
const STOPS: Record<string, Uint8Array> = {
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`after ${n} bytes of a frame`, name.subarray(0, n)]),
  ),
  'one byte before the end of a frame': name.subarray(0, -1),
  'after a name that promises arguments': name,
  'after a name that promises data': frame('1 1 0 command-name have-data echo'),
  'after a name that promises both': frame('1 1 0 command-name have-args|have-data echo'),
  'after an argument': frames(name, argument),
  'after half of an argument': frames(
    name,
    frame('1 1 0 command-argument continuation ', argumentPayload('value', 'x', 9)),
  ),
  'in the header of an argument': frames(name, argument.subarray(0, 5)),
  'after the arguments, before the data': frames(
    '1 1 0 command-name have-args|have-data echo',
    frame('1 1 0 command-argument eoa ', argumentPayload('value', 'x')),
  ),
  'after some data': frames('1 1 0 command-name have-data echo', '1 1 0 command-data continuation x'),
  'after an empty frame of data': frames(
    '1 1 0 command-name have-data echo',
    '1 1 0 command-data continuation ',
  ),
};

for (const [where, sent] of Object.entries(STOPS)) {
  test(`a peer that stops ${where} is timed out`, async (t) => {
    const peer = await target.hostile(t);
    peer.write(frames(HELLO, sent));
    t.regex(await refused(peer), /^protocol error \(timeout\): idleTimeout/);
  });

  test(`pings do not keep a peer alive that stops ${where}`, async (t) => {
    const peer = await target.hostile(t);
    peer.write(frames(HELLO, sent));
    const inFrame = /frame$|end of a frame|header/.test(where);
    // In mid-frame a ping would be payload; between frames it is a sign of life, but not of the command's.
    const pings = setInterval(
      () => peer.write(inFrame ? Buffer.alloc(0) : frame('0 1 0 ping 0 12345678')),
      TRICKLE,
    );
    t.teardown(() => clearInterval(pings));
    t.regex(await refused(peer), /^protocol error \(timeout\): idleTimeout/);
  });
}

test('a peer that stops after an encoded name that promises data is timed out', async (t) => {
  const peer = await RawPeer.connect(t, target.port);
  peer.send(HELLO, '0 3 stream-begin stream-settings 0 \\x04zlib');
  await peer.seen();
  peer.send(frame('1 3 encoded command-name have-data ', deflateSync('echo')));
  const refusal = peer.protocolError();
  t.regex(
    (await clock.advanceWhile(refusal, STEP, () => target.witness.ping(Buffer.from('are you?')))) ?? '',
    /idleTimeout/,
  );
});

const TRICKLES: Record<string, [Uint8Array, RegExp]> = {
  'a long frame': [frame('1 1 0 command-name eos ', Buffer.alloc(400, 97)), /timeout\): frameTimeout/],
  'the frame of an unknown type': [frame('1 1 0 15 0 ', Buffer.alloc(400, 97)), /timeout\): frameTimeout/],
};
for (const [what, [bytes, says]] of Object.entries(TRICKLES)) {
  test(`a peer that trickles ${what} is timed out`, async (t) => {
    const peer = await target.hostile(t);
    peer.write(frames(HELLO));
    let at = 0;
    const trickle = setInterval(() => peer.write(bytes.subarray(at, ++at)), TRICKLE);
    t.teardown(() => clearInterval(trickle));
    t.regex(await refused(peer), says);
  });
}

test('a peer that trickles arguments, each in time, is timed out', async (t) => {
  const peer = await target.hostile(t);
  peer.write(frames(HELLO, name));
  let i = 0;
  const trickle = setInterval(
    () => peer.write(frame('1 1 0 command-argument 0 ', argumentPayload(`a${i++}`, 'x'))),
    TRICKLE,
  );
  t.teardown(() => clearInterval(trickle));
  t.regex(await refused(peer), /timeout\): commandTimeout/);
});

test('a peer that sends data slowly, but in time, is served for as long as it likes', async (t) => {
  const peer = await target.hostile(t);
  peer.write(frames(HELLO, '1 1 0 command-name have-data echo'));
  const exchange = peer.expect(1);
  for (let i = 0; i < 30; i++) {
    clock.advance(IDLE / 2);
    peer.write(frame(`1 1 0 command-data continuation ${i % 10}`));
    await peer.until(() => exchange.received > i, 'the echo of a piece');
  }
  peer.write(frame('1 1 0 command-data eos .'));
  t.is((await peer.body(exchange)).toString(), '012345678901234567890123456789.');
  peer.close();
});

test('a peer that is silent between commands is left in peace', async (t) => {
  const peer = await target.hostile(t);
  peer.write(frames(HELLO));
  await peer.ping(Buffer.from('are you?'));
  clock.advance(10 * WHOLE);
  const exchange = peer.expect(1);
  peer.write(frames('1 1 0 command-name have-data echo', '1 1 0 command-data eos there'));
  t.is((await peer.body(exchange)).toString(), 'there');
  peer.close();
});

test.after('the witness is untouched', (t) => target.unharmed(t));
