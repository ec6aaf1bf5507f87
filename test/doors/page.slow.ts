// The live page in Chromium: under load, at three widths, light and dark; by keyboard; who may not see it; a command that is tried.

import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import ava, { type ExecutionContext } from 'ava';
import type { Page } from 'playwright-core';
import { z } from 'zod';
import { freePort } from '../../bench/peers/listen.ts';
import type { ServerOptions } from '../../src/index.ts';
import { ROOT } from '../helpers/imports.ts';
import { sample } from '../helpers/samples.ts';
import { dial, type Serving, serve, serving } from '../helpers/serving.ts';
import { buildPage } from './built-page.ts';
import { browser, closeBrowser, hasChromium, NO_CHROMIUM } from './chromium.ts';

const test = ava.serial;
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
/** Where whoever wants to look finds what the page looked like. */
const SHOTS = join(ROOT, 'node_modules/.cache/page');
const WIDTHS = [390, 1280, 2560];
const SCHEMES = ['light', 'dark'] as const;

const COMMANDS: ServerOptions['commands'] = {
  record: { handler: () => JSON.stringify({ kind: 'record', id: 1, text: 'alike '.repeat(20) }), mode: 'ro' },
  long: { handler: () => sample(200_000, 1), mode: 'ro' },
  failing: { handler: () => Promise.reject(new Error('it fails')), mode: 'ro' },
  typed: {
    args: z.object({ size: z.coerce.number().int().min(1).max(99), how: z.enum(['plain', 'fancy']) }),
    handler: ({ input }) => JSON.stringify(input),
    mode: 'ro',
  },
  changing: () => 'changed',
};

test.before(() => {
  buildPage();
  mkdirSync(SHOTS, { recursive: true });
});
test.after.always(closeBrowser);

/** Requests without end on two connections. */
async function load(t: ExecutionContext, { address }: Serving): Promise<void> {
  for (const client of [await dial(t, address), await dial(t, address)])
    for (const command of ['record', 'record', 'record', 'long', 'failing'])
      (async () => {
        for (;;) {
          const error = await client
            .call(command)
            .bytes()
            .then(
              () => undefined,
              (thrown) => thrown,
            );
          if (error?.name === 'ConnectionError') return;
        }
      })();
}

interface Opened {
  readonly page: Page;
  /** What the browser has complained of, a violated policy among it. */
  readonly complaints: string[];
  /** Where else than to the server it has gone. */
  readonly foreign: string[];
}

async function open(
  t: ExecutionContext,
  port: number,
  options: {
    width?: number;
    colorScheme?: 'light' | 'dark';
    reducedMotion?: 'reduce';
    stopped?: boolean;
  } = {},
): Promise<Opened> {
  const { width = 1280, stopped = false, ...rest } = options;
  const context = await (await browser()).newContext({ ...rest, viewport: { width, height: 900 } });
  t.teardown(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(0);
  if (stopped) await page.addInitScript('performance.now = () => 0');
  const complaints: string[] = [];
  const foreign: string[] = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(`http://127.0.0.1:${port}/`)) foreign.push(request.url());
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  return { page, complaints, foreign };
}

/** Resolves when there is such an element, with such text in it. */
function until(page: Page, selector: string, hasText?: string | RegExp): Promise<void> {
  return page.locator(selector, { hasText }).first().waitFor({ state: 'attached', timeout: 0 });
}

/** Resolves when the page shows figures. */
async function lives(page: Page): Promise<void> {
  await until(page, '#state', 'serving');
  await until(page, 'figure:nth-child(6) canvas');
  await until(page, '#lanes tbody th', 'lane 0');
  await until(page, '#try-command option');
}

interface AxeResult {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
}

/** What axe-core finds, contrast among it. */
async function violations(page: Page): Promise<string[]> {
  // The page's own policy lets no other script in; this one comes by the debugger.
  await page.evaluate(readFileSync(AXE, 'utf8'));
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: AxeResult[] }> } };
    return (await axe.run()).violations;
  });
  return found.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`),
  );
}

const CHART = "document.querySelector('figure canvas').toDataURL()";
/** There is something of the first line's colour in the first chart. */
const LINE_IS_DRAWN = `(() => {
  const canvas = document.querySelector('figure canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] === 255 && data[i] < 60 && data[i + 1] > 90 && data[i + 2] < 80) return true;
  return false;
})()`;

const text = (page: Page, selector: string) => page.textContent(selector).then((found) => found ?? '');

if (hasChromium) {
  test('under load, at three widths, light and dark: nothing for axe, nothing cut off, nothing from elsewhere', async (t) => {
    const server = await serving(t, { workers: 2, commands: COMMANDS });
    await load(t, server);
    for (const width of WIDTHS)
      for (const colorScheme of SCHEMES) {
        const where = `${width} ${colorScheme}`;
        const { page, complaints, foreign } = await open(t, server.port, { width, colorScheme });
        await lives(page);
        t.deepEqual(await violations(page), [], where);
        t.is(await page.evaluate('document.documentElement.scrollWidth - innerWidth'), 0, where);
        t.deepEqual([complaints, foreign], [[], []], where);
        await page.screenshot({ path: join(SHOTS, `${width}-${colorScheme}.png`), fullPage: true });
        await page.context().close();
      }
  });

  test('it shows lanes, streams, commands, what is slow and what fails, and itself apart', async (t) => {
    const server = await serving(t, { workers: 2, commands: COMMANDS });
    await load(t, server);
    const { page } = await open(t, server.port);
    await lives(page);
    await until(page, '#slow tbody tr:nth-child(3)');
    // What is shown follows what happens, when the machine comes to it.
    await until(page, '#streams', /127\.0\.0\.1:\d+.*zstd-8mb3\d.*MB.*watches/s);
    await until(page, '#commands', /record.*long.*failing/s);
    await until(page, '#trouble', /requests of failing\s*internal/);
    await until(page, '#watching', /^Not counted above: this page and others like it, on 1 connection,/);
    await until(page, '[data-title="Connections"] dd', /^2$/);
    t.is(await page.locator('#lanes tbody tr').count(), 2);
    t.notRegex(await text(page, '#commands'), /server\.stats/);
  });

  test('a command is tried by fields of its types, and one that may change state cannot be', async (t) => {
    const { port } = await serving(t, { commands: COMMANDS });
    const { page } = await open(t, port);
    await lives(page);
    t.true(await page.locator('#try-command option[value=changing]').isDisabled());
    await page.selectOption('#try-command', 'typed');
    await page.selectOption('[name="argument how"]', 'fancy');
    const size = page.locator('[name="argument size"]');
    for (const wrong of ['', '100']) {
      await size.fill(wrong);
      await page.click('#try-run');
      t.false(
        await size.evaluate((input) => (input as unknown as { validity: { valid: boolean } }).validity.valid),
      );
    }
    await size.fill('12');
    await page.click('#try-run');
    await page.waitForSelector('#try-output:not([hidden])');
    t.deepEqual(JSON.parse(await text(page, '#try-output')), { size: 12, how: 'fancy' });
    t.regex(await text(page, '#try-outcome'), /^Well\. 25 bytes in /);
    await page.selectOption('#try-command', 'failing');
    await page.click('#try-run');
    await until(page, '#try-outcome', /^Failed/);
    t.regex(await text(page, '#try-outcome'), /^Failed, internal: /);
  });

  test('all of it is reached by keyboard; paused, the server is asked for nothing', async (t) => {
    const { port, server } = await serving(t, { commands: COMMANDS });
    const { page } = await open(t, port, { reducedMotion: 'reduce' });
    await lives(page);
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab');
      seen.add(await page.evaluate<string>('document.activeElement.id || document.activeElement.className'));
    }
    for (const id of [
      'skip',
      'pause',
      'lanes',
      'streams',
      'commands',
      'slow',
      'trouble',
      'try-command',
      'try-run',
    ])
      t.true(seen.has(id), id);
    const running = async () =>
      (await server.stats()).commands.find(({ command }) => command === 'server.stats')?.running;
    t.is(await running(), 1);
    await page.focus('#pause');
    await page.keyboard.press('Enter');
    await until(page, '#state', 'paused');
    while ((await running()) !== 0);
    await page.keyboard.press('Enter');
    await until(page, '#state', 'serving');
  });

  test('for who wants less motion charts begin with a line all the same, and then stand still', async (t) => {
    const server = await serving(t, { workers: 1, commands: COMMANDS });
    await load(t, server);
    const { page } = await open(t, server.port, { reducedMotion: 'reduce', stopped: true });
    await lives(page);
    while (!(await page.evaluate(LINE_IS_DRAWN)));
    const drawn = await page.evaluate(CHART);
    const before = await text(page, 'figure .legend li');
    while ((await text(page, 'figure .legend li')) === before);
    t.is(await page.evaluate(CHART), drawn);
  });

  test('who may not see it is asked who they are, and goes on when the server knows', async (t) => {
    const { port } = await serving(t, {
      commands: COMMANDS,
      authorize: ({ command, authorization }) => command === undefined || authorization === 'Bearer good',
    });
    const { page } = await open(t, port);
    await page.waitForSelector('#who:not([hidden])');
    t.is(await text(page, '#state'), 'not authorized');
    t.deepEqual(await violations(page), []);
    await page.keyboard.type('Bearer bad\n');
    await until(page, '#who-why', 'does not take');
    await page.keyboard.type('Bearer good\n');
    await lives(page);
    t.true(await page.locator('#who').isHidden());
  });

  test('it says that the server is gone, and goes on when it is back', async (t) => {
    // One that nothing takes in between.
    const port = await freePort();
    const first = await serve({ commands: COMMANDS }, { port });
    t.teardown(() => first.server.close(0));
    const { page } = await open(t, port);
    await lives(page);
    await first.server.close(0);
    await until(page, '#state.lost', /^no figures: /);
    const second = await serve({ commands: COMMANDS }, { port });
    t.teardown(() => second.server.close(0));
    await lives(page);
    t.pass();
  });
} else test(`Chromium: ${NO_CHROMIUM}`, (t) => t.pass());
