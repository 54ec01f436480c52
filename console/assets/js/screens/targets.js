// Targets: what klamm delivers to, how that goes, and what the breakers think.
import { h, put } from '../dom.js';
import { get, query } from '../api.js';
import { title, link, badge, problem, empty, table, field, terminal } from '../ui.js';
import { count, shell, span } from '../format.js';

const states = { closed: ['● up', 'good'], open: ['■ down', 'bad'], probing: ['◐ probing', 'warn'] };

export async function show(view) {
  const { q } = view;
  const body = h('div');
  const [same, tell] = terminal();
  let limit = Number(q.get('limit')) || 100;
  const load = async () => {
    const asked = query('/klamm/v1/targets', { limit, search: q.get('search'), state: q.get('state') });
    tell({ curl: { path: asked }, klamm: ['target list', q.get('search') && shell(q.get('search')), q.get('state') && '--state ' + shell(q.get('state'))].filter(Boolean).join(' ') });
    try {
      const page = await get(asked, view.signal);
      put(body, table([
        { name: 'Target', of: (t) => [h('strong', t.endpoint || 'klamm itself'), h('div.dim', t.kinds.join(', '))] },
        { name: 'State', of: (t) => [badge(...(states[t.state] || [t.state])), t.next_probe && h('div.dim', probe(t.next_probe)), t.pipes_down && t.pipes_count > 1 ? h('div.dim', `for ${count(t.pipes_down)} of ${count(t.pipes_count)} pipes`) : null] },
        { name: 'Success', number: true, of: (t) => (t.attempts ? [success(t), h('div.dim', `of ${count(t.attempts)}`)] : '–') },
        { name: 'p50', number: true, of: (t) => (t.p50_ms === undefined ? '–' : span(t.p50_ms / 1000)) },
        { name: 'p95', number: true, of: (t) => (t.p95_ms === undefined ? '–' : span(t.p95_ms / 1000)) },
        { name: 'In flight', number: true, of: (t) => [`${count(t.in_flight)} of ${count(t.allowed)}`, t.allowed < t.most && h('div', badge(`slowed down from ${count(t.most)}`, 'warn'))] },
        { name: 'Waiting', number: true, of: (t) => count(t.held) },
        { name: 'Pipes', of: (t) => [t.pipes.map((p, i) => [i ? ', ' : '', p.startsWith('klamm.rule.') || p.startsWith('klamm.archive.') ? p : link('#/pipes/' + encodeURIComponent(p), p)]), t.pipes_count > t.pipes.length && ` and ${count(t.pipes_count - t.pipes.length)} more`, t.ailing_addresses ? h('div.dim', `${count(t.ailing_addresses)} of its addresses fail`) : null] },
      ], page.targets, {
        caption: `What ${page.process ? 'process ' + page.process : 'klamm'} delivers to; success and times are of the latest 64 attempts of each pipe`, complete: !page.next,
        more: page.next && limit < 10000 ? () => { limit += 100; view.set({ limit }); return load(); } : null,
        none: q.get('search') || q.get('state') ? empty('No target has that name and state. ', link('#/targets', 'Show all')) : empty('Nothing is delivered to yet. ', link('#/pipes?create=yes', 'Make a pipe'), ', or a rule on an ', link('#/bus', 'event bus'), '.'),
      }));
    } catch (e) { if (e.name !== 'AbortError') put(body, problem(e)); }
  };
  const filter = (name) => (v) => { limit = 100; view.set({ [name]: v, limit: null }); return load(); };
  let typing;
  view.draw(title('Targets'),
    h('div.filters', field('Name contains', { type: 'search', value: q.get('search'), oninput: (v) => { clearTimeout(typing); typing = setTimeout(() => filter('search')(v), 250); } }),
      field('State', { value: q.get('state'), options: [['', 'any'], ['down', 'down or probing'], ['closed', 'up']], onchange: filter('state') })),
    body, same);
  view.every(5, load);
}

const success = (t) => {
  const percent = (100 * t.succeeded) / t.attempts;
  return badge(`${percent === 100 ? '100' : percent.toFixed(1)} %`, percent >= 99 ? 'good' : percent >= 90 ? 'warn' : 'bad');
};

function probe(at) {
  const s = (new Date(at).getTime() - Date.now()) / 1000;
  return s > 0 ? `next probe in ${span(s)}` : 'a probe is due';
}
