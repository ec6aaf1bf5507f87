/** Figures as people read them. */

export { plural } from '../experiment/results/text.ts';
export { bytes, duration } from '../wire/quantities.ts';

/** What there is no figure for. */
export const NONE = '–';

/** `1.25`, `12.3`, `1 234`. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return NONE;
  if (value !== 0 && Math.abs(value) < 100 && !Number.isInteger(value)) return value.toPrecision(3);
  return Math.round(value).toLocaleString('en').replaceAll(',', '\u202f');
}

export function percent(share: number | undefined): string {
  return share === undefined || !Number.isFinite(share)
    ? NONE
    : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

/** How many bytes one on the wire stands for: `4.20×`. */
export function ratio(value: number | undefined): string {
  return value === undefined ? NONE : `${number(value)}×`;
}

export function milliseconds(ms: number): string {
  if (ms > 0 && ms < 0.01) return '< 0.01 ms';
  return ms >= 1000 ? `${number(ms / 1000)} s` : `${number(ms)} ms`;
}
