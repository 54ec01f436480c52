// Replay: records of a span of time go to a pipe's target once more.
import { h, put } from '../dom.js';
import { get, lines, path } from '../api.js';
import { title, section, button, link, badge, notice, problem, empty, field, form, commands } from '../ui.js';
import { count, span, shell } from '../format.js';
import { local } from './pipes.js';
import { pipeField } from '../records.js';

export async function show(view) {
  const { q } = view;
  const page = await get('/klamm/v1/pipes?limit=50&brief=true', view.signal);
  if (!page.pipes.length) {
    view.draw(title('Replay'), empty('There is no pipe that could replay. ', link('#/pipes?create=yes', 'Make a pipe'), '. Events of a bus are replayed from its ', link('#/bus', 'archives'), '.'));
    return;
  }
  const names = page.pipes.map((p) => p.pipe);
  const named = q.get('pipe') || names[0];
  const keep = (name) => (value) => { view.set({ [name]: value }); put(counted); drawCommands(); };
  const pipe = names.includes(named) && !page.next ? field('Pipe', { value: named, options: names, onchange: keep('pipe') }) : pipeField(named, { onchange: keep('pipe'), hint: page.next ? `There are ${count(page.total)}.` : null });
  const from = field('From', { type: 'datetime-local', required: true, value: q.get('from') || local(new Date(Date.now() - 3600e3)), onchange: keep('from') });
  const to = field('To, not included', { type: 'datetime-local', required: true, value: q.get('to') || local(new Date()), onchange: keep('to') });
  const where = field('Only records that match, an event pattern', { value: q.get('where'), rows: 3, placeholder: '{"value": {"total": [{"numeric": [">", 100]}]}}', hint: 'Beside the pipe’s own filter. Empty: all.', onchange: keep('where') });
  const most = field('Records a second at most', { type: 'number', value: q.get('rate') || '100', hint: '0: as fast as the target takes them.', onchange: keep('rate') });
  for (const f of [from, to]) f.input.step = 1;
  const counted = h('div', { role: 'status' });
  const shownCommands = h('div');
  const ask = (dry) => {
    const body = { from: new Date(from.input.value).toISOString(), to: new Date(to.input.value).toISOString() };
    const rate = Number(most.input.value) || 0;
    if (rate) body.rate = rate;
    const text = where.input.value.trim();
    if (text) {
      try { body.where = JSON.parse(text); } catch (e) { throw new Error('The pattern is no JSON: ' + e.message); }
    }
    if (dry) body.dry_run = true;
    return body;
  };
  const at = () => path`/klamm/v1/pipes/${pipe.input.value}/replay`;
  const drawCommands = () => {
    let body;
    try { body = ask(true); } catch { return; }
    put(shownCommands, commands({ curl: { method: 'POST', path: at(), body }, klamm: `replay --pipe ${shell(pipe.input.value)} --from ${body.from.replace(/\.\d+/, '')} --to ${body.to.replace(/\.\d+/, '')}${body.where ? ' --where ' + shell(JSON.stringify(body.where)) : ''}${body.rate ? ' --rate ' + body.rate : ''} --dry-run` }));
  };
  view.draw(title('Replay'),
    section(null, h('p', 'Records of a span of time are delivered once more, by the filter, transform, order and target that the pipe has now. The pipe itself goes on; where it is stays as it is.'),
      form([h('div.grid2', h('div', pipe, from, to), h('div', where, most))], 'Count first', async () => {
        put(counted, notice('dull', 'Counting…'));
        let n = 0;
        const body = ask(true);
        await lines('POST', at(), { body, signal: view.signal }, (l) => { if (l.error) throw new Error(l.error); n = l.records ?? n; });
        put(counted, notice(n ? 'warn' : 'dull', h('strong', `${count(n)} records`), n ? [` would go to the target of ${pipe.input.value} once more${body.rate ? `, within ${span(n / body.rate)} or more` : ''}. `, button('Replay them', () => run(view, at(), ask(false), counted, n), { kind: 'main' })] : ' of that time match: there is nothing to replay.'));
      }), counted),
    shownCommands);
  drawCommands();
}

// run replays, and shows how far it is.
async function run(view, at, body, box, expected) {
  const stop = new AbortController();
  view.signal.addEventListener('abort', () => stop.abort());
  const bar = h('progress', { max: 1, 'aria-label': 'How far the replay is' });
  const text = h('p', 'Reading…');
  const began = performance.now();
  let last = {};
  put(box, section('Replaying', bar, text, button('Stop', () => stop.abort())));
  const say = (p) => {
    const seconds = (performance.now() - began) / 1000;
    const done = (p.delivered || 0) + (p.dead_lettered || 0);
    bar.value = expected ? Math.min(done / expected, 1) : 0;
    put(text, `${count(p.delivered || 0)} delivered, ${count(p.dead_lettered || 0)} given up, of ${count(expected)}; ${count(p.read || 0)} of ${count(p.total || 0)} records looked at; ${(done / Math.max(seconds, 0.1)).toFixed(1)} a second.`);
  };
  try {
    await lines('POST', at, { body, signal: stop.signal }, (l) => { if (l.error) throw new Error(l.error); last = l; say(l); });
    put(box, notice(last.dead_lettered ? 'warn' : 'good', h('strong', 'Done. '), badge('✓ ' + count(last.delivered || 0) + ' delivered', 'good'), ' ', last.dead_lettered ? link('#/letters/' + encodeURIComponent(at.split('/')[4]), `${count(last.dead_lettered)} given up`) : ''));
  } catch (e) {
    put(box, e.name === 'AbortError' ? notice('warn', h('strong', 'Stopped. '), `${count(last.delivered || 0)} were delivered; what was under way ends.`) : problem(e));
  }
}
