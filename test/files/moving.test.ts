/** A hand that moves folders while files are pulled and served: at every single moment; moving.slow.ts has more. */

import { existsSync, mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { Destination } from '../../src/files/destination.ts';
import { HeldFolders } from '../../src/files/held-folders.ts';
import { listFiles } from '../../src/files/listing.ts';
import { Root } from '../../src/files/root.ts';
import { linux } from '../helpers/linux.ts';
import { lookedAt, tempFolder } from './helper.ts';
import {
  ASKS,
  askUnderHand,
  HABITS,
  openDescriptors,
  prepare,
  pullUnderHand,
  SERVED,
  served,
  state,
  TIME,
  watching,
} from './moving.ts';
import { Hand } from './moving-hand.ts';

const HABIT = 'for one call';

for (const moved of ['a/b', '']) {
  linux(`nothing is touched behind a link in the place of DEST/${moved}`, async (t) => {
    await pullUnderHand(t, moved, HABIT);
  });
}

for (const ask of ASKS.slice(0, 4)) {
  linux(`${ask[0]} tells nothing from behind a link in the place of a folder`, async (t) => {
    await askUnderHand(t, 'a', HABIT, ask);
  });
}

linux('a folder that is put back is written into again', (t) => {
  const { dest, victim } = prepare(t);
  const entry = (path: string) => ({ path, size: 1, mtimeMs: TIME, mode: 0o644 });
  const destination = new Destination(dest);
  const hand = new Hand(join(dest, 'a/b'), victim);
  destination.writeWhole(entry('a/b/1'), [Buffer.from('1')]);
  hand.bend();
  t.throws(() => destination.writeWhole(entry('a/b/2'), [Buffer.from('2')]), {
    message: /a link is in the place/,
  });
  hand.straighten();
  destination.writeWhole(entry('a/b/3'), [Buffer.from('3')]);
  destination.close();
  t.deepEqual(readdirSync(join(dest, 'a/b')).sort(), ['1', '3', 'there']);
});

linux('a destination that is moved itself is written into where it is by then', (t) => {
  const { dest } = prepare(t);
  const entry = (path: string) => ({ path, size: 1, mtimeMs: TIME, mode: 0o644 });
  const destination = new Destination(dest);
  destination.writeWhole(entry('a/b/1'), [Buffer.from('1')]);
  renameSync(dest, `${dest}.moved`);
  mkdirSync(join(dest, 'a/b'), { recursive: true });
  destination.writeWhole(entry('a/b/2'), [Buffer.from('2')]);
  destination.writeWhole(entry('3'), [Buffer.from('3')]);
  destination.close();
  t.deepEqual(readdirSync(join(`${dest}.moved`, 'a/b')).sort(), ['1', '2', 'there']);
  t.true(existsSync(join(`${dest}.moved`, '3')));
  t.deepEqual(readdirSync(dest, { recursive: true, encoding: 'utf8' }).sort(), ['a', 'a/b']);
});

linux('a long file whose folder is moved away before it is whole fails, and leaves nothing', async (t) => {
  const { dest, victim } = prepare(t);
  const destination = new Destination(dest);
  const entry = { path: 'a/b/long', size: 4, mtimeMs: TIME, mode: 0o644 };
  const part = await destination.begin(entry, new AbortController().signal);
  await part.write(Buffer.from('long'));
  new Hand(join(dest, 'a/b'), victim).bend();
  await t.throwsAsync(part.finish(), { message: 'a folder above it has been moved' });
  destination.close();
  t.deepEqual(readdirSync(join(dest, 'a/b.moved')), ['there']);
});

linux('more folders than may be held, and paths of 200 parts, are no trouble', (t) => {
  const dest = tempFolder(t);
  const destination = new Destination(dest);
  const paths = [
    ...Array.from({ length: 700 }, (_, i) => `${i % 600}/f${i}`),
    `${'d/'.repeat(200)}file`,
    `${'d/'.repeat(200)}again`,
  ];
  for (const path of paths)
    destination.writeWhole({ path, size: 1, mtimeMs: TIME, mode: 0o644 }, [Buffer.from('x')]);
  t.true(openDescriptors(dest) <= 514);
  destination.close();
  t.is(openDescriptors(dest), 0);
  for (const path of paths) t.true(existsSync(join(dest, path)), path);
});

test.serial('without handles no byte is written behind a link in the place of a folder', async (t) => {
  for (let moment = 0, calls = 1; moment < calls; moment++) {
    const { dest, victim } = prepare(t);
    const had = contentsOf(victim);
    const destination = new Destination(dest, false);
    const act = HABITS['from then on'](new Hand(join(dest, 'a'), victim), moment);
    calls = await watching(act, async () => {
      for (const [path, bytes] of Object.entries(SERVED)) {
        const entry = { path, size: bytes.length, mtimeMs: TIME, mode: 0o640 };
        try {
          lookedAt(destination, entry);
          if (bytes.length < 1000) destination.writeWhole(entry, [bytes]);
          else {
            const part = await destination.begin(entry, new AbortController().signal);
            await part
              .write(bytes)
              .then(() => part.finish())
              .finally(() => part.abandon());
          }
        } catch {
          // It is the others that count.
        }
      }
      destination.close();
    });
    t.deepEqual(
      contentsOf(victim).filter((each) => !had.includes(each)),
      [],
      `at call ${moment}`,
    );
  }
});

/** The files that have something in them. */
function contentsOf(folder: string): string[] {
  return state(folder).filter((line) => / pulled/.test(line));
}

const IN_THE_WAY: Record<string, (path: string) => void> = {
  'a file': (path) => writeFileSync(path, ''),
  'a circle of links': (path) => symlinkSync(path, path),
  'another folder': (path) => mkdirSync(path),
  nothing: () => undefined,
};

for (const [what, put] of Object.entries(IN_THE_WAY))
  linux(`a folder that is held is let go of where ${what} is in the place of one above it`, (t) => {
    const dest = tempFolder(t);
    mkdirSync(join(dest, 'a', 'b'), { recursive: true });
    const folders = new HeldFolders(dest);
    folders.take('a/b/').release();
    renameSync(join(dest, 'a'), join(dest, 'moved'));
    put(join(dest, 'a'));
    t.throws(() => folders.take('a/b/'));
    folders.close();
    t.is(openDescriptors(dest), 0);
  });

test('without handles a tree is listed and read as with them', (t) => {
  const { root, outside } = served(t);
  symlinkSync(outside, join(root, 'out'));
  const list = (places: boolean) => {
    const left: string[] = [];
    const found = [...listFiles(new Root(root, places), '', (path, why) => left.push(`${path}: ${why}`))];
    return { found, left };
  };
  t.deepEqual(list(false), list(true));
  t.deepEqual(list(true).left, ['out: outside the served folder']);
});
