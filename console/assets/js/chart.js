// Line charts of klamm's own short history, drawn as SVG, with a table behind them for
// who does not see them.
import { h, svg } from './dom.js';
import { time } from './format.js';

const width = 600;
const height = 140;
const left = 52;
const bottom = 18;

// chart draws lines over time. series: [{name, points: [[milliseconds, value|null], ...]}],
// at most six; write writes a value. options: {title, write, from, to}.
export function chart(series, { title, write = String, from, to } = {}) {
  const all = series.flatMap((s) => s.points);
  const shown = all.filter((p) => p[1] !== null);
  from ??= Math.min(...all.map((p) => p[0]));
  to ??= Math.max(...all.map((p) => p[0]));
  const most = nice(Math.max(0, ...shown.map((p) => p[1])));
  const x = (t) => left + (width - left - 6) * (to > from ? (t - from) / (to - from) : 1);
  const y = (v) => 8 + (height - 8 - bottom) * (1 - (most ? v / most : 0));
  const lines = series.map((s, i) => svg('path', { class: 'line l' + i, d: pathOf(s.points, x, y) }));
  const grid = [0, 0.5, 1].map((f) => [
    svg('line', { class: 'grid', x1: left, x2: width - 6, y1: y(most * f), y2: y(most * f) }),
    svg('text', { x: left - 6, y: y(most * f) + 4, 'text-anchor': 'end' }, write(most * f)),
  ]);
  const last = (s) => s.points.findLast((p) => p[1] !== null);
  return h('figure.chart',
    h('figcaption', h('strong', title), series.map((s, i) => h('span.key', { class: 'l' + i }, `${s.name} `, h('b', last(s) ? write(last(s)[1]) : '–')))),
    shown.length ? svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': words(title, series, write) }, grid, lines,
      svg('text', { x: left, y: height - 4 }, time(from).slice(11, 16)),
      svg('text', { x: width - 6, y: height - 4, 'text-anchor': 'end' }, time(to).slice(11, 16)))
      : h('p.empty', 'Nothing has been measured yet.'));
}

function pathOf(points, x, y) {
  let d = '';
  let on = false;
  for (const [t, v] of points) {
    if (v === null) { on = false; continue; } // a gap stays a gap
    d += `${on ? 'L' : 'M'}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
    on = true;
  }
  return d;
}

function words(title, series, write) {
  return `${title}: ` + series.map((s) => {
    const values = s.points.map((p) => p[1]).filter((v) => v !== null);
    return values.length ? `${s.name} between ${write(Math.min(...values))} and ${write(Math.max(...values))}, now ${write(values.at(-1))}` : `${s.name}: nothing`;
  }).join('; ');
}

// nice rounds up to 1, 2 or 5 times a power of ten.
function nice(v) {
  if (!v) return 1;
  const p = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 5, 10].map((n) => n * p).find((n) => n >= v);
}
