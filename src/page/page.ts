/** The live page: what a server is at, read by the same client that anybody's page has. */

import { connectPool } from '../browser.ts';
import type { LiveFigures } from '../server/live-figures.ts';
import { Attempt } from './attempt.ts';
import { Feed } from './feed.ts';
import { momentOf } from './moments.ts';
import { element, Panels, setText } from './panels.ts';
import { duration } from './show.ts';

const pool = connectPool('./', { circuitFailures: 1_000_000, maxBackoffMs: 5000 });
const panels = new Panels();
const state = element('state');
const pause = element<HTMLButtonElement>('pause');
const who = element<HTMLFormElement>('who');
const word = element<HTMLInputElement>('who-word');
let newest: LiveFigures | undefined;
let isPaused = false;

const feed = new Feed(pool, {
  figures(figures) {
    const moment = newest && momentOf(newest, figures);
    if (newest === undefined) attempt.load();
    newest = figures;
    const { id, uptimeSeconds } = figures.process;
    tell(figures.state, false);
    setText(element('process'), `pid ${id}, up ${duration(uptimeSeconds)}`);
    if (moment !== undefined) panels.show(moment);
  },
  failed({ message }, isForbidden) {
    newest = undefined;
    panels.gap();
    tell(isForbidden ? 'not authorized' : `no figures: ${message}`, true);
    if (isForbidden) askWho();
  },
});
const attempt = new Attempt(pool, () => feed.authorization);

function tell(what: string, isLost: boolean): void {
  setText(state, what);
  state.classList.toggle('lost', isLost);
}

function askWho(): void {
  const isAgain = feed.authorization !== undefined;
  setText(
    element('who-why'),
    isAgain ? 'The server does not take that.' : 'The server shows its figures only to who may see them.',
  );
  who.hidden = false;
  word.focus();
}

/** Nothing is asked, and so nothing gathered, while nobody looks. */
function follow(): void {
  if (!isPaused && document.visibilityState === 'visible') return feed.start();
  feed.stop();
  newest = undefined;
  panels.gap();
  if (isPaused) tell('paused', false);
}

who.addEventListener('submit', (event) => {
  event.preventDefault();
  feed.authorization = word.value;
  word.value = '';
  who.hidden = true;
  feed.start();
});
pause.addEventListener('click', () => {
  isPaused = !isPaused;
  pause.ariaPressed = String(isPaused);
  follow();
});
document.addEventListener('visibilitychange', follow);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => panels.recolour());
follow();
