/** What a fuzz target is, how it is run, and where inputs that failed are kept. */

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { Random } from './random.ts';

/**
 * Something that must hold for any bytes. An input is bytes and nothing else, so that one which failed can be kept in
 * a file and tried again; where a target needs chance in running it, the input's first bytes are its seed.
 */
export interface FuzzTarget {
  readonly name: string;
  /** An input that is likely to find something. */
  generate(random: Random): Uint8Array;
  /** Tries an input; returns how many frames, lines or payloads it held. @throws when what must hold does not. */
  run(input: Uint8Array): number | Promise<number>;
  /** What else the runs have measured, for people; undefined before the first. */
  remarks?(): Promise<string | undefined>;
  /** Frees what the runs have shared. @throws when that was harmed. */
  close?(): Promise<void>;
}

export interface FuzzFigures {
  inputs: number;
  frames: number;
}

/** A seed that no run has had; whoever takes it says which it was. */
export function randomSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

const REGRESSIONS = new URL('./regressions/', import.meta.url);

/** Tries inputs until `isOver`. @throws Error with the seed that leads to the failure; the input is kept. */
export async function fuzz(
  target: FuzzTarget,
  seed: number,
  isOver: (inputs: number) => boolean,
): Promise<FuzzFigures> {
  const figures = { inputs: 0, frames: 0 };
  for (; !isOver(figures.inputs); figures.inputs++) {
    // An input follows from its own seed, so a failure need not be led up to.
    const inputSeed = (seed + Math.imul(figures.inputs, 0x9e37_79b9)) >>> 0;
    const input = target.generate(new Random(inputSeed));
    // Closed contexts are freed by the event loop, which a row of promises alone never reaches.
    if (figures.inputs % 32 === 0) await turn();
    figures.frames += await attempt(target, input, `--target ${target.name} --seed ${inputSeed}`);
  }
  return figures;
}

async function attempt(target: FuzzTarget, input: Uint8Array, how: string): Promise<number> {
  const onStray = (error: unknown) => {
    // Nobody can go on from here; what can be done is to say which input it was.
    console.error(`uncaught after ${how}, input kept in ${keep(target, input)}`, error);
    process.exit(1);
  };
  process.on('uncaughtException', onStray);
  try {
    return await target.run(input);
  } catch (error) {
    throw new Error(`${how} failed, input kept in ${keep(target, input)}: ${error}`, { cause: error });
  } finally {
    process.off('uncaughtException', onStray);
  }
}

function keep(target: FuzzTarget, input: Uint8Array): string {
  const hash = createHash('sha256').update(input).digest('hex').slice(0, 12);
  const file = new URL(`${target.name}-${hash}.bin`, REGRESSIONS);
  mkdirSync(REGRESSIONS, { recursive: true });
  writeFileSync(file, input);
  return file.pathname;
}

/** Inputs that once failed, by the names of their files. */
export function regressions(target: FuzzTarget): Map<string, Uint8Array> {
  mkdirSync(REGRESSIONS, { recursive: true });
  const names = readdirSync(REGRESSIONS).filter(
    (name) => /^(.*)-[0-9a-f]{12}\.bin$/.exec(name)?.[1] === target.name,
  );
  return new Map(names.map((name) => [name, Uint8Array.from(readFileSync(new URL(name, REGRESSIONS)))]));
}
