/** Compiles limit.c and runs it: inside Node, against our encoder, and as a program against the system's libzstd. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand, runModule } from '../src/experiment/process/run.ts';
import type { LimitRounds, LimitTask } from './limit-child.ts';
import type { Payloads } from './payloads.ts';
import { Scratch } from './scratch.ts';

/** The compiled C, in a directory of its own that goes with it. */
export class CompiledLimit implements Disposable {
  readonly #scratch: Scratch;
  /** Why there is no program for the system's libzstd; undefined: there is one. */
  readonly noProgram: string | undefined;

  private constructor(scratch: Scratch, noProgram: string | undefined) {
    this.#scratch = scratch;
    this.noProgram = noProgram;
  }

  /** The reason when it cannot be compiled here. */
  static async compile(): Promise<CompiledLimit | string> {
    const scratch = new Scratch();
    const source = join(import.meta.dirname, 'limit.c');
    const compiler = process.env.CC ?? 'cc';
    const compile = (...args: string[]) => runCommand(compiler, ['-O2', source, ...args]);
    try {
      await compile('-shared', '-fPIC', '-o', join(scratch.path, 'limit.so'));
    } catch (error) {
      scratch[Symbol.dispose]();
      return `no C compiler that works: ${(error as Error).message.split('\n')[0]}`;
    }
    const link = (library: string) => compile('-DPROGRAM', '-o', join(scratch.path, 'limit'), library);
    // Without its development package the library has no name that -lzstd would find.
    const noProgram = await link('-lzstd')
      .catch(() => link('-l:libzstd.so.1'))
      .then(
        () => undefined,
        () => 'no libzstd to link with',
      );
    return new CompiledLimit(scratch, noProgram);
  }

  async insideNode(task: Omit<LimitTask, 'library'>): Promise<LimitRounds> {
    const file = join(import.meta.dirname, 'limit-child.ts');
    const library = join(this.#scratch.path, 'limit.so');
    const options = { flags: ['--experimental-ffi'] };
    return JSON.parse(await runModule(file, [JSON.stringify({ ...task, library })], options));
  }

  /** Microseconds of CPU per chunk, one per round, with the system's libzstd; call only if there is a program. */
  async system(payloads: Payloads, level: number, rounds: number) {
    const file = join(this.#scratch.path, 'chunks');
    const chunks = Array.from({ length: payloads.count }, (_, i) => payloads.get(i));
    const head = Uint32Array.of(chunks.length, ...chunks.map(({ length }) => length));
    writeFileSync(file, Buffer.concat([Buffer.from(head.buffer), ...chunks]));
    const output = await runCommand(join(this.#scratch.path, 'limit'), [file, `${level}`, `${rounds}`]);
    const [version = '', ...lines] = output.trim().split('\n');
    return {
      version,
      c: lines.map((line) => Number(line.split(' ')[0]) / 1000 / chunks.length),
      cBytes: Number(lines[0]?.split(' ')[1]),
    };
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}
