// Writes numbers, times and sizes for people.

export const count = (n) => (n === undefined || n === null ? '–' : Number(n).toLocaleString('en'));

export function bytes(n) {
  if (n === undefined || n === null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i && n < 10 ? n.toFixed(1) : Math.round(n)) + ' ' + units[i];
}

// span writes seconds: 0.004 is "4 ms", 75 is "1m15s".
export function span(seconds) {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return '–';
  if (seconds < 1) return Math.round(seconds * 1000) + ' ms';
  if (seconds < 60) return (seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)) + ' s';
  const parts = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]];
  const out = [];
  let rest = Math.round(seconds);
  for (const [unit, size] of parts) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n && out.length < 2) out.push(n + unit);
  }
  return out.join('');
}

// time writes a moment (Date, RFC 3339 or milliseconds) in the browser's time zone.
export function time(t) {
  const d = t instanceof Date ? t : new Date(t);
  if (!t || Number.isNaN(d.getTime()) || d.getUTCFullYear() < 1970) return '–'; // the year 1 is how klamm writes no time
  const two = (n) => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

// ago writes how long ago a moment was.
export function ago(t) {
  const ms = Date.now() - new Date(t).getTime();
  return Number.isNaN(ms) ? '–' : ms < 1000 ? 'now' : span(ms / 1000) + ' ago';
}

// rate writes a number a second.
export const rate = (n) => (n === undefined || n === null ? '–' : (n < 10 ? n.toFixed(1) : count(Math.round(n))) + '/s');

// json writes a value for reading.
export const json = (v) => (typeof v === 'string' ? v : JSON.stringify(v, null, 2));

// only gives a klamm command that lists what these tests say, in JMESPath; those that are empty
// say nothing. within and begins are two of them.
export const only = (command, ...tests) => { const all = tests.filter(Boolean); return all.length ? `${command} --query ${shell(`[?${all.join(' && ')}]`)}` : command; };
export const within = (member, text) => text && `contains(${member}, ${raw(text)})`;
export const begins = (member, text) => text && `starts_with(${member}, ${raw(text)})`;
const raw = (text) => `'${text.replaceAll("'", "\\'")}'`;

// shell quotes a word for a POSIX shell.
export const shell = (w) => (/^[A-Za-z0-9_\-.,:/=@%+]+$/.test(w) ? w : `'${String(w).replaceAll("'", `'\\''`)}'`);
