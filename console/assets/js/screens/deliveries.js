// Deliveries: what the delivery log knows of a pipe's, and one with its attempts.
import { h, put } from '../dom.js';
import { get, call, path, query } from '../api.js';
import { title, section, button, link, badge, problem, empty, pre, pairs, table, field, commands, confirm, notice, say } from '../ui.js';
import { count, span, time, ago, shell } from '../format.js';
import { svg } from '../dom.js';
import { outcome, pretty } from './pipes.js';
import { pipeField } from '../records.js';

export async function show(view) {
  return view.parts[0] ? detail(view, view.parts[0]) : list(view);
}

async function list(view) {
  const { q } = view;
  const body = h('div');
  const pipes = await get('/klamm/v1/pipes?limit=50&brief=true', view.signal);
  const named = q.get('pipe') || (pipes.pipes[0] && pipes.pipes[0].pipe);
  if (!named) {
    view.draw(title('Deliveries'), empty('There is no pipe, so nothing is delivered. ', link('#/pipes?create=yes', 'Make a pipe'), '.'));
    return;
  }
  let limit = Number(q.get('limit')) || 100;
  const ask = () => query('/klamm/v1/deliveries', { pipe: q.get('pipe') || named, outcome: q.get('outcome'), since: q.get('since'), limit });
  const load = async () => {
    try {
      const page = await get(ask(), view.signal);
      put(body, table([
        { name: 'Last attempt', of: (d) => time(d.at) },
        { name: 'Outcome', of: (d) => [outcome(d), d.next && h('div.dim', 'next ', time(d.next))] },
        { name: 'Record', of: (d) => `${d.topic}/${d.partition} at ${d.offset}${d.count > 1 ? ` to ${d.last_offset}` : ''}` },
        { name: 'Records', number: true, of: (d) => count(d.count || 1) },
        { name: 'Attempts', number: true, of: (d) => count(d.attempts) },
      ], page.deliveries, {
        caption: 'Deliveries, the newest first', complete: !page.more, href: (d) => '#/deliveries/' + encodeURIComponent(d.delivery_id),
        more: page.more && limit < 10000 ? () => { limit = Math.min(limit + 100, 10000); view.set({ limit }); return load(); } : null,
        none: empty('The log knows no such delivery of this pipe. By default it has those that needed another attempt only; ', h('code', 'delivery: {log: all}'), ' in the pipe logs all.'),
      }), commands({ curl: { path: ask() }, klamm: `delivery list --pipe ${shell(q.get('pipe') || named)} --limit ${limit}${q.get('outcome') ? ' --outcome ' + shell(q.get('outcome')) : ''} --since ${q.get('since') ? shell(q.get('since').replace(/^-/, '')) : '1970-01-01T00:00:00Z'}` }));
    } catch (e) { if (e.name !== 'AbortError') put(body, problem(e)); }
  };
  const filter = (name) => (value) => { limit = 100; view.set({ [name]: value, limit: null }); return load(); };
  const names = pipes.pipes.map((p) => p.pipe);
  const choice = names.includes(named) && !pipes.next
    ? field('Pipe', { value: named, options: names, onchange: filter('pipe') })
    : pipeField(named, { onchange: filter('pipe'), hint: pipes.next ? `There are ${count(pipes.total)}.` : null });
  view.draw(title('Deliveries'),
    h('div.filters', choice,
      field('Outcome', { value: q.get('outcome'), options: [['', 'any'], ['delivered', 'delivered'], ['failed', 'failed, again later'], ['dead_lettered', 'given up']], onchange: filter('outcome') }),
      field('Since', { value: q.get('since'), options: [['', 'as far as the log goes'], ['-15m', '15 minutes'], ['-1h', 'an hour'], ['-24h', 'a day'], ['-168h', 'a week']], onchange: filter('since') }),
      button('Look again', load)),
    body);
  await load();
}

const parts = [['dns_ms', 'name lookup', 'p0'], ['connect_ms', 'connect', 'p1'], ['tls_ms', 'TLS', 'p2'], ['wait_ms', 'wait for the answer', 'p3'], ['rest', 'send and read', 'p4']];

async function detail(view, id) {
  const d = await get(path`/klamm/v1/deliveries/${id}`, view.signal);
  const again = button('Deliver once more', async () => {
    if (!await confirm('Deliver once more', 'The records of this delivery go to the target again, with the same delivery id, by the attempts and waits of the pipe.')) return;
    const p = (await call('POST', path`/klamm/v1/deliveries/${id}/retry`, { body: {} })).document;
    say(p.dead_lettered ? `${count(p.dead_lettered)} were given up again.` : `${count(p.delivered)} delivered.`, p.dead_lettered ? 'bad' : 'good');
    view.again();
  }, { kind: 'main' });
  const longest = Math.max(...d.attempts.map((a) => a.took_ms), 0.001);
  view.draw(h('p', link('#/deliveries?pipe=' + encodeURIComponent(d.pipe), '← Deliveries of ' + d.pipe)),
    title('Delivery', again),
    section(null, pairs([
      ['Id', h('code', d.delivery_id)], ['Pipe', link('#/pipes/' + encodeURIComponent(d.pipe), d.pipe)],
      ['Record', link(`#/topics/${encodeURIComponent(d.topic)}?from=${d.offset}&partition=${d.partition}&limit=1`, `${d.topic}/${d.partition} at ${d.offset}${d.count > 1 ? `, and ${count(d.count - 1)} more up to ${d.last_offset}` : ''}`)],
      ['Outcome', outcome(d)], ['Attempts', count(d.attempts.length) + ' are kept in the log'], d.next && ['Next attempt', time(d.next)],
      ['Request', h('span', 'The log keeps no bodies of requests: what is sent is made of the record by the pipe’s transform. The ', link('#/pipes/' + encodeURIComponent(d.pipe), 'pipe'), ' shows a sample, and the ', link('#/sandbox', 'sandbox'), ' tries it out.')],
    ])),
    section('Attempts', d.attempts.length > 1 && gaps(d.attempts),
      table([
        { name: 'No.', number: true, of: (a) => count(a.attempt) },
        { name: 'At', of: (a) => [time(a.at), h('div.dim', ago(a.at))] },
        { name: 'Outcome', of: (a) => (a.error ? badge('✗ ' + (a.status || 'no answer'), 'bad') : badge('✓ ' + (a.status || 'accepted'), 'good')) },
        { name: 'Time', of: (a) => timing(a, longest) },
        { name: 'Answer', wide: true, of: (a) => [a.error && h('div', a.error), a.response && h('details', h('summary', 'Answer, its beginning'), pre(pretty(a.response)))] },
        { name: 'Next', of: (a) => (a.next ? time(a.next) : '') },
      ], d.attempts, { caption: 'Attempts, the oldest first', complete: true, note: 'All that the log has kept.', none: empty('The log has kept none of its attempts.') })),
    !d.attempts.length && notice('dull', 'Which attempts are logged is what delivery.log of the pipe says.'),
    commands({ curl: { path: path`/klamm/v1/deliveries/${id}` }, klamm: 'delivery show ' + shell(id) }));
}

// gaps draws when the attempts were made.
function gaps(attempts) {
  const t = attempts.map((a) => new Date(a.at).getTime());
  const first = t[0];
  const whole = Math.max(t.at(-1) + attempts.at(-1).took_ms - first, 1);
  const words = `${attempts.length} attempts within ${span(whole / 1000)}`;
  return h('figure.chart', h('figcaption', h('strong', 'When'), h('span.dim', words)),
    svg('svg', { viewBox: '0 0 600 34', role: 'img', 'aria-label': words },
      svg('line', { class: 'grid', x1: 6, x2: 594, y1: 14, y2: 14 }),
      attempts.map((a, i) => svg('rect', { class: a.error ? 'mark bad' : 'mark good', x: 6 + (580 * (t[i] - first)) / whole, y: 4, width: Math.max(4, (580 * a.took_ms) / whole), height: 20, rx: 2 })),
      svg('text', { x: 6, y: 33 }, time(first).slice(11)), svg('text', { x: 594, y: 33, 'text-anchor': 'end' }, time(t.at(-1)).slice(11))));
}

// timing draws what an attempt has spent its time with.
function timing(a, longest) {
  const known = ['dns_ms', 'connect_ms', 'tls_ms', 'wait_ms'].reduce((n, k) => n + (a[k] || 0), 0);
  const all = { ...a, rest: Math.max(a.took_ms - known, 0) };
  const shown = parts.filter(([k]) => all[k] > 0);
  let x = 0;
  const words = shown.map(([k, name]) => `${name} ${span(all[k] / 1000)}`).join(', ');
  return h('div', h('div', span(a.took_ms / 1000)),
    svg('svg', { viewBox: '0 0 160 10', class: 'timing', role: 'img', 'aria-label': words }, shown.map(([k, , c]) => {
      const width = (160 * all[k]) / longest;
      const bar = svg('rect', { class: 'part ' + c, x, y: 0, width: Math.max(width, 0.5), height: 10 });
      x += width;
      return bar;
    })),
    h('div.dim', words));
}
