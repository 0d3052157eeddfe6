/** Figures as people read them. */

const grouped = new Intl.NumberFormat("en-US");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clockFine = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

/** `1,234,567`; a dash for what nobody knows. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : grouped.format(value);
}

/** At most three digits and a letter: `950`, `1.2k`, `34M`. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size < 1000) return size >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
  for (const [unit, letter] of UNITS) {
    if (size >= unit) return `${trimmed(value / unit, size / unit < 10 ? 1 : 0)}${letter}`;
  }
  return String(value);
}

const UNITS = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
] as const;

/** `512 B`, `1.5 KiB`, `3 MiB`. */
export function size(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return "–";
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(value) < 1024) return `${unit === "B" ? Math.round(value) : trimmed(value, 1)} ${unit}`;
    value /= 1024;
  }
  return `${trimmed(value, 1)} TiB`;
}

/** How long: `340 ms`, `12 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function duration(milliseconds: number | null | undefined): string {
  if (milliseconds === null || milliseconds === undefined) return "–";
  const seconds = milliseconds / 1000;
  if (seconds < 1) return milliseconds < 10 ? `${trimmed(milliseconds, 2)} ms` : `${Math.round(milliseconds)} ms`;
  if (seconds < 10) return `${trimmed(seconds, 1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 ? `${days} d` : `${days} d ${hours % 24} h`;
}

/** The time of day, with the date where that is another one than today's. */
export function moment(time: number | null | undefined, now = Date.now()): string {
  if (time === null || time === undefined) return "–";
  const at = new Date(time);
  if (at.toDateString() === new Date(now).toDateString()) return clock.format(at);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock.format(at)}`;
}

/** The time of day to the millisecond. */
export function instant(time: number): string {
  return clockFine.format(new Date(time));
}

/** `1 message`, `2 messages`. */
export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `3 min ago`. */
export function ago(time: number | null | undefined, now: number): string {
  return time === null || time === undefined ? "–" : `${duration(Math.max(0, now - time))} ago`;
}

function trimmed(value: number, digits: number): string {
  return value.toFixed(digits).replace(/\.0+$/, "");
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}
