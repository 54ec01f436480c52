// Requests: why was this refused, by which rule, and where in the request.
import { h, put } from '../dom.js';
import { get, events, query } from '../api.js';
import { title, badge, problem, empty, table, field, terminal, pairs, button, pre, section, link } from '../ui.js';
import { count, span, time, bytes } from '../format.js';

const kind = (status) => (status === 0 || status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good');
const mark = (status) => (status === 0 ? '✕ cut' : status >= 500 ? `✕ ${status}` : status >= 400 ? `! ${status}` : `✓ ${status}`);

export async function show(view) {
  const { q } = view;
  const body = h('div');
  const [same, tell] = terminal();
  const chosen = h('div', { 'aria-live': 'polite' });
  const state = h('span.dim', { role: 'status' });
  let rows = [];
  let answer = {};
  let missed = 0;
  let dirty = false;
  const filters = () => ({ status: q.get('status'), principal: q.get('principal'), route: q.get('route'), topic: q.get('topic') });
  const pick = (r) => { view.set({ request: r.request_id }); put(chosen, detail(r)); chosen.scrollIntoView({ block: 'nearest' }); };
  const draw = () => {
    dirty = false;
    put(body, table([
      { name: 'When', of: (r) => h('span.mono.nowrap', time(r.time).slice(11)) },
      { name: 'Answer', of: (r) => badge(mark(r.status), kind(r.status)) },
      { name: 'Request', wide: true, of: (r) => [h('span.mono', `${r.method} ${r.path}`), h('div.dim', [r.principal, r.source].filter(Boolean).join(' from '))] },
      { name: 'Why', wide: true, of: (r) => why(r) },
      { name: 'Took', number: true, of: (r) => span(r.ms / 1000) },
      { name: 'More', of: (r) => button('Show', () => pick(r), { title: `Show ${r.method} ${r.path} of ${time(r.time)}` }) },
    ], rows, {
      caption: `Requests that were refused or have failed, and one of the others each second, of ${answer.process ? 'process ' + answer.process : 'this process'}; the latest first`,
      complete: answer.complete && !missed, note: note(),
      more: answer.next ? more : null,
      none: Object.values(filters()).some(Boolean) ? empty('No such request is remembered. ', link('#/requests', 'Show all')) : empty('No request has been refused yet. ', link('#/start', 'Getting started'), ' has some to make.'),
    }));
  };
  const note = () => `${answer.complete ? `All ${count(rows.length)}` : `The last ${count(rows.length)}`} of those that are remembered: at most ${count(answer.most)}${answer.skipped ? `; ${count(answer.skipped)} more were refused than could be remembered` : ''}${missed ? `; ${count(missed)} came too fast to be shown` : ''}. Those of klamm’s own API only where they were refused.`;
  const more = async () => {
    const next = await get(query('/klamm/v1/requests', { ...filters(), after: answer.next }), view.signal);
    rows = rows.concat(next.requests);
    answer = next;
    draw();
  };
  const load = async () => {
    tell({ curl: { path: query('/klamm/v1/requests', filters()) } });
    answer = await get(query('/klamm/v1/requests', filters()), view.signal);
    rows = answer.requests;
    draw();
    const asked = q.get('request') && rows.find((r) => r.request_id === q.get('request'));
    if (asked) put(chosen, detail(asked));
  };
  let following;
  const follow = async () => {
    following?.abort();
    following = new AbortController();
    const signal = AbortSignal.any([view.signal, following.signal]);
    while (!signal.aborted && q.get('live') !== 'no') {
      try {
        if (document.hidden) {
          await view.seen();
          await load();
        }
        put(state, 'live');
        await events(query('/klamm/v1/requests/tail', filters()), { signal: AbortSignal.any([signal, view.hides()]) }, ({ event, data }) => {
          if (event !== 'message' || !data.request_id) return;
          if (rows.length && data.number <= rows[0].number) return;
          rows.unshift(data);
          if (rows.length > 500) { rows.length = 500; answer.complete = false; }
          dirty = true;
        });
      } catch (e) {
        if (signal.aborted) return;
        if (e.name === 'AbortError') continue; // nobody looks
        put(state, 'not live: ' + e.message);
      }
      await view.sleep(2);
    }
    if (!signal.aborted) put(state, 'paused');
  };
  const filter = (name) => (v) => { view.set({ [name]: v.trim(), request: null }); put(chosen); load().then(follow).catch((e) => put(body, problem(e))); };
  view.draw(title('Requests', state, button(q.get('live') === 'no' ? 'Go on' : 'Pause', (e) => {
    const paused = q.get('live') !== 'no';
    view.set({ live: paused ? 'no' : null });
    put(e.target, paused ? 'Go on' : 'Pause');
    if (paused) { following?.abort(); put(state, 'paused'); } else load().then(follow);
  })),
  h('div.filters',
    field('Answer', { value: q.get('status'), options: [['', 'any'], ['failed', 'refused or failed'], ['4xx', '4xx refused'], ['5xx', '5xx failed'], ['401', '401 nobody'], ['403', '403 not allowed'], ['429', '429 too much']], onchange: filter('status') }),
    field('Principal', { value: q.get('principal'), placeholder: 'User:alice', onchange: filter('principal') }),
    field('Route or path', { value: q.get('route'), placeholder: '/topics', onchange: filter('route') }),
    field('Topic', { value: q.get('topic'), onchange: filter('topic') })),
  chosen, body, same);
  await load();
  follow();
  view.every(1, () => { if (dirty) draw(); });
}

// why tells in a line why a request was not served.
function why(r) {
  if (!r.reason && !r.kind) return r.status === 0 ? 'The connection was cut.' : h('span.dim', 'served');
  const at = r.violations && r.violations[0];
  return [r.limit ? [badge(r.limit, 'dull'), ' '] : null, at ? [h('span.mono', at.pointer), ' ', at.detail, r.violations.length > 1 ? ` (and ${r.violations.length - 1} more)` : ''] : r.reason || r.kind];
}

function detail(r) {
  return section(`${r.method} ${r.path}`,
    pairs([
      ['Answer', badge(mark(r.status), kind(r.status))],
      r.kind && ['Kind', h('span.mono', r.kind)],
      r.reason && ['Why', r.reason],
      r.limit && ['Limit or rule', r.limit],
      r.action && ['What was not allowed', [h('span.mono', r.action), r.resource ? [' on ', h('span.mono', r.resource)] : null]],
      r.action && ['Which statement', r.policy ? `${r.statement ? `statement ${r.statement} of ` : ''}${r.policy}${r.sid ? ` (${r.sid})` : ''}` : 'none allows it'],
      r.action && ['Ask further', link('#/access?' + new URLSearchParams({ as: r.principal || '', action: r.action, resource: r.resource || '' }), 'May this caller do that?')],
      ['When', time(r.time) + ', in ' + span(r.ms / 1000)],
      ['Who', [r.principal || 'nobody', r.scheme ? ` by ${r.scheme}` : '', r.key_id ? `, key ${r.key_id}` : '', r.source ? ` from ${r.source}` : '']],
      ['API', [r.api || '–', r.route ? ' ' : null, r.route && h('span.mono', r.route), r.stage ? `, stage ${r.stage}` : '']],
      r.topic && ['Topic', link('#/topics/' + encodeURIComponent(r.topic), r.topic)],
      ['Sent', bytes(r.bytes_sent)],
      ['Request id', h('span.mono', r.request_id)],
    ]),
    r.violations && [h('h3', 'Where it breaks the rules'), table([
      { name: 'Place', of: (v) => h('span.mono', v.pointer) }, { name: 'What is wrong', wide: true, of: (v) => v.detail },
    ], r.violations, { caption: 'The first five', complete: r.violations.length < 5 || undefined })],
    h('details', h('summary', 'As JSON'), pre(r)));
}
