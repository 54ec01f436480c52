// Charts of klamm's own short history. A process that keeps none of what is asked for
// has no charts, and nothing else is the matter.
import { h, put } from './dom.js';
import { get, query, Problem } from './api.js';
import { chart } from './chart.js';
import { span as seconds, count, bytes } from './format.js';

const short = (v) => (v >= 10 || v === 0 ? count(Math.round(v)) : v.toFixed(v < 1 ? 2 : 1));

// How the values of a chart are written.
export const writes = { rate: (v) => short(v) + '/s', seconds, count: short, bytes };

// trends draws charts and draws them anew from time to time. charts: [{title, write,
// series: [[name, label], ...]}]; options: {pipe, span: '1h'|'24h'}. It returns the element
// and what refreshes it.
export function trends(charts, { pipe, span = '1h', signal } = {}) {
  const box = h('div.grid2');
  const note = h('p.complete');
  const names = [...new Set(charts.flatMap((c) => c.series.map(([n]) => n)))];
  const refresh = async () => {
    let answer;
    try {
      answer = await get(query('/klamm/v1/history', { series: names.join(','), pipe, span }), signal);
    } catch (e) {
      if (e instanceof Problem && e.status === 404) { put(note, 'No history is kept of this.'); return; }
      throw e;
    }
    const from = new Date(answer.from).getTime();
    const of = new Map(answer.series.map((s) => [s.name, s.points.map((v, i) => [from + i * answer.step * 1000, v])]));
    put(box, charts.map((c) => chart(c.series.map(([name, label]) => ({ name: label, points: of.get(name) || [] })), { title: c.title, write: c.write, from, to: from + (answer.series[0].points.length - 1) * answer.step * 1000 })));
    put(note, `One point each ${answer.step === 5 ? 'five seconds' : 'minute'}, of ${answer.process ? `process ${answer.process}` : 'this process'} alone`,
      answer.complete ? '.' : `; it has not been running for ${span === '1h' ? 'an hour' : 'a day'} yet.`);
  };
  return [h('div', box, note), refresh];
}

// spans is the choice between an hour and a day, kept in the address.
export function spanOf(view) { return view.q.get('span') === '24h' ? '24h' : '1h'; }
