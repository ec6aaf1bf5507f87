/** Numbers as people read them, in reports and on terminals. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB'];

/** Bytes in powers of 1 024: `1.5 MiB`. */
export function inBytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${short(value)} ${UNITS[unit]}`;
}

/** Three significant digits, thousands apart. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en').replaceAll(',', '\u202f');
  return `${Number(value.toPrecision(3))}`;
}

export function percent(value: number): string {
  return `${short(Math.abs(value) < 0.05 ? 0 : Number(value.toPrecision(2)))} %`;
}

/** Milliseconds with the unit that suits them. */
export function inTime(milliseconds: number): string {
  if (milliseconds >= 1000) return `${short(milliseconds / 1000)} s`;
  return milliseconds >= 1 ? `${short(milliseconds)} ms` : `${short(1000 * milliseconds)} µs`;
}

/** A link's speed: `10 Mbit/s`. */
export function inBits(bitsPerSecond: number): string {
  const units = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(bitsPerSecond) / 3)));
  return `${short(bitsPerSecond / 1000 ** unit)} ${units[unit]}`;
}

/** `1 file`, `2 files`, thousands apart. */
export function plural(count: number, one: string): string {
  return `${count < 1000 ? count : short(count)} ${one}${count === 1 ? '' : 's'}`;
}
