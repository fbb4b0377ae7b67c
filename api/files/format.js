// Numbers as people read them.

const known = (value) => value !== null && value !== undefined;

/** A whole number with its digits in groups. */
export const count = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "\u2013");

/** Something per second. */
export const rate = (value) => (known(value) ? `${value >= 100 ? count(value) : value.toFixed(1)}/s` : "\u2013");

/** Microseconds. */
export function micros(value) {
  if (!known(value)) return "\u2013";
  if (value < 1000) return `${count(value)} \u00b5s`;
  return value < 1e6 ? `${(value / 1000).toFixed(value < 1e4 ? 2 : 1)} ms` : `${(value / 1e6).toFixed(2)} s`;
}

/** Bytes. */
export function bytes(value) {
  if (!known(value)) return "\u2013";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A duration in milliseconds. */
export function span(value) {
  if (!known(value)) return "\u2013";
  if (value < 1000) return `${Math.round(value)} ms`;
  const seconds = value / 1000;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** A time of day, from milliseconds of the wall clock. */
export const clock = (ms) => new Date(ms).toTimeString().slice(0, 8);
