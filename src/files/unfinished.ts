/**
 * The names of files that a pull has not finished, beside the places where they belong. They say whose they are: a pull
 * that was killed leaves its own behind, and the next one must tell these from those of a pull that is at work.
 */

import { lstatSync, readdirSync, readFileSync, readlinkSync, unlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import zlib from 'node:zlib';

/** `.millrace-MACHINE-PROCESS-START-RANDOM-NUMBER.part`, and what earlier versions wrote, which says of nobody. */
const NAME = /^\.millrace-(?:([0-9a-f]{8})-(\d{1,10})-(\d{1,20})-)?[0-9a-f]{12}-(?:\d{1,15}\.part|case)$/i;

/** Age from which on such a file of a process that cannot be asked for is nobody's any more, in milliseconds. */
const ABANDONED_MS = 24 * 3600 * 1000;

/** Whether a file of this name is the unfinished one of some pull. */
export function isUnfinished(name: string): boolean {
  return name.startsWith('.millrace-') && NAME.test(name);
}

/** The beginning of the names that one pull gives to its unfinished files: a number and `.part` have to follow. */
export function unfinishedPrefix(): string {
  // It tells pulls of one process from each other. That of node:crypto takes longer to load than all else here.
  const random = Math.floor(Math.random() * 2 ** 48)
    .toString(16)
    .padStart(12, '0');
  return `.millrace-${machine()}-${process.pid}-${look(process.pid)?.start ?? 0}-${random}-`;
}

/** Removes what pulls that are no more have left in `folder`, which ends in '/'. What cannot be removed stays. */
export function removeAbandoned(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return; // what is written there later says why
  }
  for (const name of names) {
    try {
      if (isUnfinished(name) && isAbandoned(folder + name, name)) unlinkSync(folder + name);
    } catch {
      // Somebody else has removed it, or it is not ours to remove.
    }
  }
}

function isAbandoned(path: string, name: string): boolean {
  const stats = lstatSync(path);
  if (!stats.isFile()) return false;
  const [, ownersMachine, owner, start] = NAME.exec(name) ?? [];
  if (ownersMachine !== machine()) return Date.now() - Math.max(stats.mtimeMs, stats.ctimeMs) > ABANDONED_MS;
  return !isAtWork(Number(owner), start);
}

/** Whether there is a process of this number that began then: numbers are given again. */
function isAtWork(pid: number, start: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  const now = look(pid);
  if (now === undefined || start === '0') return true;
  return now.start === start && !'ZX'.includes(now.state);
}

/** The state of a process, and when it began in ticks since the machine did; undefined where that is not to be known. */
function look(pid: number): { state: string; start: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name, which may hold anything; these are the third and the 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], start: fields[19] };
  } catch {
    return undefined;
  }
}

let machineName: string | undefined;

/** Tells this machine, its boot and its processes' numbers from others that may write into the same folder. */
function machine(): string {
  machineName ??= zlib.crc32(machineParts().join('\0')).toString(16).padStart(8, '0');
  return machineName;
}

function machineParts(): string[] {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1');
    return [hostname(), boot, readlinkSync('/proc/self/ns/pid')];
  } catch {
    return [hostname()];
  }
}
