/** What a figure was measured on. Names nothing of a person or a place: no host name, no path. */
import { availableParallelism, cpus, machine, platform, release, totalmem } from 'node:os';

export interface Machine {
  readonly date: string;
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly zstd: string;
  readonly zlib: string;
  readonly v8: string;
}

/** @param command as the user gave it, without the path of the runtime or of the script. */
export function describeMachine(command: string): Machine {
  const { node, zstd = 'none', zlib = 'none', v8 = '' } = process.versions as NodeJS.Dict<string>;
  return {
    date: new Date().toISOString(),
    command,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    system: `${platform()} ${release()} ${machine()}`,
    node: node ?? process.version,
    zstd,
    zlib,
    v8,
  };
}
