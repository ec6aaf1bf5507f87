/** The live page in Chromium while its server is under load: how often its thread was busy for so long that one notices. */
import { existsSync } from 'node:fs';
import { type Browser, chromium, errors } from 'playwright-core';
import type { LoadShape } from './load.ts';
import type { Rig } from './proc.ts';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'];

/** Tasks of over 50 ms, in milliseconds: those until the page had its first figures, and those of `seconds` from then on. */
export interface LongTasks {
  readonly loading: readonly number[];
  readonly open: readonly number[];
}

/** Runs in the page, before anything of its own. */
const OBSERVE = `
  globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longTasks.push(Math.round(duration));
  }).observe({ type: 'longtask', buffered: true });
`;

/** Or why they could not be measured: no browser, or one that did not start, was not ready in its time or has ended. */
export async function longTasks(rig: Rig, load: LoadShape, seconds: number): Promise<LongTasks | string> {
  if (!existsSync(CHROMIUM)) return `there is no ${CHROMIUM}`;
  const reason = (error: Error) => error.message.split('\n')[0]!;
  const options = { executablePath: CHROMIUM, headless: true, args: FLAGS };
  const browser = await chromium.launch(options).catch(reason);
  if (typeof browser === 'string') return browser;
  try {
    return await measure(browser, rig, load, seconds);
  } catch (error) {
    if (error instanceof errors.TimeoutError || !browser.isConnected()) return reason(error as Error);
    throw error;
  } finally {
    await browser.close();
  }
}

async function measure(browser: Browser, rig: Rig, load: LoadShape, seconds: number): Promise<LongTasks> {
  const page = await browser.newPage();
  await page.addInitScript(OBSERVE);
  const tasks = () => page.evaluate<number[]>('longTasks');
  await page.goto(`http://127.0.0.1:${rig.port}/`);
  const loaded = page.locator('#lanes tbody th', { hasText: 'lane' }).first().waitFor();
  await Promise.all([loaded, rig.measure(load, 1, 0)]);
  const loading = await tasks();
  await rig.measure(load, seconds, 0);
  await page.locator('#state', { hasText: /^serving$/ }).waitFor();
  return { loading, open: (await tasks()).slice(loading.length) };
}
