// Audit: refusals and administrative acts.
import { h, put } from '../dom.js';
import { get, query } from '../api.js';
import { title, badge, problem, empty, table, field, terminal, link } from '../ui.js';
import { count, shell, time } from '../format.js';

const kinds = { allow: ['✓ done', 'good'], deny: ['✕ refused', 'bad'], unauthenticated: ['✕ nobody', 'warn'] };

export async function show(view) {
  const { q } = view;
  const body = h('div');
  const [same, tell] = terminal();
  let lines = [];
  const filters = () => ({ from: q.get('from'), who: q.get('who'), act: q.get('act') });
  const load = async (after) => {
    const { from, who, act } = filters();
    tell({ curl: { path: query('/klamm/v1/audit', filters()) }, klamm: ['audit list', who && '--who ' + shell(who), act && '--act ' + shell(act), from && '--from ' + shell(from.replace(/^-/, ''))].filter(Boolean).join(' ') });
    const answer = await get(query('/klamm/v1/audit', { ...filters(), after }), view.signal);
    lines = after ? lines.concat(answer.lines) : answer.lines;
    const where = answer.source === 'topic' ? ['from the topic ', link('#/topics/' + encodeURIComponent(answer.topic), answer.topic)] : ['from the memory of this process, which has the last thousand. With ', h('code', 'audit: {topic: NAME}'), ' they are kept'];
    put(body, h('p.dim', 'Refusals and administrative acts, the latest first, ', where, '.'), table([
      { name: 'When', of: (l) => h('span.mono.nowrap', time(l.time)) },
      { name: 'Outcome', of: (l) => badge(...(kinds[l.decision] || [l.decision])) },
      { name: 'Who', of: (l) => [l.principal || 'nobody', h('div.dim', [l.scheme, l.source].filter(Boolean).join(' from '))] },
      { name: 'Act', of: (l) => [h('span.mono', l.action || `${l.method || ''} ${l.path || ''}`), l.resource && h('div.dim', l.resource)] },
      { name: 'Why', wide: true, of: (l) => [l.policy ? `${l.statement ? `statement ${l.statement} of ` : ''}${l.policy}${l.sid ? ` (${l.sid})` : ''}` : '', l.reason && h('div', l.reason)] },
      { name: 'Request', of: (l) => [l.action && l.path ? h('div.mono', `${l.method} ${l.path}`) : null, l.request_id && h('span.dim.mono', l.request_id)] },
    ], lines, { caption: 'Audit log', complete: answer.complete, note: answer.complete ? `All ${count(lines.length)}${answer.from ? ' since ' + time(answer.from) : ''}.` : `The last ${count(lines.length)}; there ${answer.next ? 'are' : 'may be'} more.`,
      more: answer.next ? () => load(answer.next) : null,
      none: Object.values(filters()).some(Boolean) ? empty('No line is like that. ', link('#/audit', 'Show all')) : empty('Nobody was refused, and nothing was changed yet.') }));
  };
  const filter = (name) => (v) => { view.set({ [name]: v.trim() }); load().catch((e) => put(body, problem(e))); };
  view.draw(title('Audit'), h('div.filters',
    field('Since', { value: q.get('from'), options: [['', 'as far back as it goes'], ['-15m', '15 minutes ago'], ['-1h', 'an hour ago'], ['-24h', 'a day ago'], ['-168h', 'a week ago']], onchange: filter('from') }),
    field('Who (part of a name or an address)', { value: q.get('who'), placeholder: 'alice', onchange: filter('who') }),
    field('Act (part of an action or a resource)', { value: q.get('act'), placeholder: 'DeleteTopic', onchange: filter('act') })),
  body, same);
  await load();
  view.every(10, () => (body.querySelectorAll('tbody tr').length > 100 || body.contains(document.activeElement) ? null : load()));
}
