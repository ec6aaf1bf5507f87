/**
 * What keeps ending workers is kept from doing so: after some deaths it is held for a while, then tried, one call at a
 * time, and held for twice as long when that ends a worker, too. Arithmetic and state, without timers.
 */

/** What can end a worker: the code of a command, or the encoder or decoder of a profile. */
export interface Suspect {
  readonly kind: 'command' | 'encoder' | 'decoder';
  readonly name: string;
}

/** When what keeps ending workers is held, and for how long: `firstMs`, then twice as long each time, up to `mostMs`. */
export interface QuarantineOptions {
  /** Deaths of workers within `withinMs` after which what they died of is held: 1 … 1 000; default 3. */
  readonly deaths?: number;
  /** Milliseconds for which a death counts; default 60 000. */
  readonly withinMs?: number;
  /** Milliseconds for which it is held at first; default 1 000. */
  readonly firstMs?: number;
  /** Milliseconds for which it is held at most; default 60 000. */
  readonly mostMs?: number;
}

const DEFAULT_QUARANTINE = { deaths: 3, withinMs: 60_000, firstMs: 1000, mostMs: 60_000 };

/** Leave to run. Whoever has it says how it went, once. */
export interface Pass {
  /** Nobody else has leave meanwhile, and how it goes decides for all. */
  readonly isTrial: boolean;
  /** `well`: it came to an end of its own, and its worker lives. False: that was not to be seen. */
  end(well: boolean): void;
}

/** Figures of what has ended workers. */
export interface QuarantineRow extends Suspect {
  /** Workers that died of it for certain, or while it ran. */
  readonly deaths: number;
  /** Requests, or streams, that were not let in. */
  readonly refused: number;
  /** `free`: it runs; `held`: it fails at once; `trial`: one at a time. */
  readonly state: 'free' | 'held' | 'trial';
  /** Milliseconds until it is tried. */
  readonly heldMs: number;
}

class Case {
  readonly suspect: Suspect;
  deaths = 0;
  refused = 0;
  /** Times of the deaths that it is guilty of, newest last; no more than count. */
  guilty: number[] = [];
  /** Its share in deaths that others may be guilty of, and when the last one was. */
  shared = 0;
  sharedAtMs = 0;
  held = false;
  untilMs = 0;
  pauseMs = 0;
  freedAtMs = Number.NEGATIVE_INFINITY;
  trial: Pass | undefined;
  trialSinceMs = 0;
  /** What all get while it is free. */
  readonly open: Pass;

  constructor(suspect: Suspect) {
    this.suspect = suspect;
    this.open = {
      isTrial: false,
      end: (well) => {
        if (well) this.shared = 0;
      },
    };
  }
}

export class Quarantine {
  readonly #options: Required<QuarantineOptions>;
  /** By number, from 1 on. */
  readonly #cases: Case[] = [];
  readonly #numbers = new Map<Suspect['kind'], Map<string, number>>();

  constructor(options: QuarantineOptions = {}) {
    this.#options = { ...DEFAULT_QUARANTINE, ...options };
  }

  /** The number under which a lane knows it. */
  numberOf(kind: Suspect['kind'], name: string): number {
    let numbers = this.#numbers.get(kind);
    if (numbers === undefined) {
      numbers = new Map();
      this.#numbers.set(kind, numbers);
    }
    const known = numbers.get(name);
    if (known !== undefined) return known;
    const number = this.#cases.push(new Case({ kind, name }));
    numbers.set(name, number);
    return number;
  }

  suspect(number: number): Suspect | undefined {
    return this.#cases[number - 1]?.suspect;
  }

  /** Leave to run now; undefined: it is held. */
  admit(number: number): Pass | undefined {
    const file = this.#cases[number - 1];
    if (!file.held) return file.open;
    const nowMs = performance.now();
    // A trial that has lived for so long has shown what it should, even where it never ends.
    if (file.trial !== undefined && nowMs - file.trialSinceMs >= file.pauseMs) {
      this.#free(file);
      return file.open;
    }
    if (nowMs < file.untilMs || file.trial !== undefined) {
      file.refused++;
      return undefined;
    }
    file.trialSinceMs = nowMs;
    file.trial = { isTrial: true, end: (well) => this.#endTrial(file, trial, well) };
    const { trial } = file;
    return trial;
  }

  /** A worker died. `certain`: of what is in `numbers`; else of something that ran, which these did. */
  blame(numbers: readonly number[], certain: boolean): void {
    for (const number of numbers)
      this.#blame(this.#cases[number - 1], certain ? 1 : 1 / numbers.length, certain);
  }

  get rows(): QuarantineRow[] {
    const nowMs = performance.now();
    return this.#cases
      .filter(({ deaths }) => deaths > 0)
      .map(({ suspect, deaths, refused, held, untilMs }) => {
        const heldMs = held ? Math.max(0, Math.ceil(untilMs - nowMs)) : 0;
        return { ...suspect, deaths, refused, state: !held ? 'free' : heldMs > 0 ? 'held' : 'trial', heldMs };
      });
  }

  #blame(file: Case, share: number, certain: boolean): void {
    const { deaths, withinMs, firstMs, mostMs } = this.#options;
    const nowMs = performance.now();
    file.deaths++;
    if (file.held) {
      // What was under way when it was held says nothing of the trial.
      if (certain && file.trial !== undefined) file.pauseMs = Math.min(2 * file.pauseMs, mostMs);
      this.#hold(file, nowMs);
      return;
    }
    if (certain) file.guilty = [...file.guilty, nowMs].slice(-deaths);
    else {
      if (nowMs - file.sharedAtMs > withinMs) file.shared = 0;
      file.shared += share;
      file.sharedAtMs = nowMs;
    }
    const guilty = file.guilty.filter((atMs) => nowMs - atMs <= withinMs).length;
    const relapsed = nowMs - file.freedAtMs <= mostMs;
    if (guilty + file.shared < (relapsed ? 1 : deaths)) return;
    file.held = true;
    file.pauseMs = relapsed ? Math.min(2 * file.pauseMs, mostMs) : firstMs;
    this.#hold(file, nowMs);
  }

  #hold(file: Case, nowMs: number): void {
    file.trial = undefined;
    file.untilMs = nowMs + file.pauseMs;
  }

  #endTrial(file: Case, trial: Pass, well: boolean): void {
    if (file.trial !== trial) return;
    // Who cancels trials must not get one after the other.
    if (well) this.#free(file);
    else this.#hold(file, performance.now());
  }

  #free(file: Case): void {
    file.held = false;
    file.trial = undefined;
    file.guilty = [];
    file.shared = 0;
    file.freedAtMs = performance.now();
  }
}
