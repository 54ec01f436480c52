// Pipes: the list, and one pipe with where its records stop.
import { h, put } from '../dom.js';
import { get, call, events, path, query, del } from '../api.js';
import { title, section, button, link, badge, stats, stat, notice, problem, empty, pre, pairs, table, field, form, commands, terminal, tabs, ask, confirmName, say } from '../ui.js';
import { count, span, time, ago, rate, json, shell, only, within } from '../format.js';
import { chart } from '../chart.js';

const kinds = { running: 'good', paused: 'warn', halted: 'bad', disabled: 'bad' };
const marks = { running: '●', paused: '❚❚', halted: '■', disabled: '■' };
export const stateBadge = (s) => badge(`${marks[s] || '?'} ${s}`, kinds[s] || 'dull');

export async function show(view) {
  const [name] = view.parts;
  if (name !== undefined) return view.q.get('edit') ? edit(view, name) : detail(view, name);
  if (view.q.get('create')) return edit(view);
  return list(view);
}

async function list(view) {
  const { q } = view;
  const body = h('div');
  const [same, tell] = terminal();
  let limit = Number(q.get('limit')) || 100;
  let before = new Map();
  let at = 0;
  const load = async () => {
    const asked = { limit: Math.min(limit, 1000), search: q.get('search'), state: q.get('state') };
    tell({ curl: { path: query('/klamm/v1/pipes', asked) }, klamm: only('pipe list', within('pipe', asked.search), asked.state && `state == '${asked.state}'`) });
    const page = await get(query('/klamm/v1/pipes', { ...asked, brief: true }), view.signal);
    const now = performance.now();
    const seconds = (now - at) / 1000;
    const rates = new Map(page.pipes.map((p) => {
      const b = before.get(p.pipe);
      return [p.pipe, b && seconds > 0 ? (p.counts.delivered - b.delivered) / seconds : null];
    }));
    before = new Map(page.pipes.map((p) => [p.pipe, p.counts]));
    at = now;
    put(body, pipeTable(page, rates, () => { limit += 100; view.set({ limit }); return load(); }, q));
  };
  const filter = (name) => (value) => { view.set({ [name]: value, limit: null }); limit = 100; load().catch((e) => put(body, problem(e))); };
  let typing;
  view.draw(
    title('Pipes', h('a.main.button', { href: '#/pipes?create=yes' }, 'Make a pipe')),
    h('div.filters',
      field('Name contains', { value: q.get('search'), type: 'search', oninput: (v) => { clearTimeout(typing); typing = setTimeout(() => filter('search')(v), 250); } }),
      field('State', { value: q.get('state'), options: [['', 'any'], 'running', 'paused', 'halted', 'disabled'], onchange: filter('state') })),
    body, same);
  await load();
  await view.sleep(5);
  view.every(5, load);
}

function pipeTable(page, rates, more, q) {
  const filtered = q.get('search') || q.get('state');
  return [table([
    { name: 'Pipe', of: (p) => p.pipe },
    { name: 'State', of: (p) => [stateBadge(p.state), p.reason && h('div.dim', p.reason.slice(0, 200))] },
    { name: 'From', of: (p) => p.topics.join(', ') },
    { name: 'To', of: (p) => p.target },
    { name: 'Lag', number: true, of: (p) => count(p.lag) },
    { name: 'Behind', number: true, of: (p) => (p.behind_seconds === null ? '–' : p.behind_seconds === 0 ? 'up to date' : span(p.behind_seconds)) },
    { name: 'Delivered', number: true, of: (p) => [count(p.counts.delivered), h('div.dim', rate(rates.get(p.pipe)))] },
    { name: 'Filtered', number: true, of: (p) => count(p.counts.filtered) },
    { name: 'Given up', number: true, of: (p) => (p.counts.dead_lettered ? link('#/letters/' + encodeURIComponent(p.pipe), count(p.counts.dead_lettered)) : '0') },
  ], page.pipes, {
    caption: `Pipes${page.process ? '; what was delivered, filtered and given up is counted by process ' + page.process + ' since the pipe began to run there' : '; what was delivered, filtered and given up is counted since klamm was started'}`,
    complete: !page.next, note: page.next ? `${count(page.pipes.length)} of ${count(page.total)}.` : undefined,
    more: page.next && page.pipes.length < 1000 ? more : null,
    href: (p) => '#/pipes/' + encodeURIComponent(p.pipe),
    none: filtered ? empty('No pipe has that name and state. ', link('#/pipes', 'Show all')) : empty('There is no pipe yet. A pipe takes records from topics to a webhook, a function, an object store or another topic. ', link('#/pipes?create=yes', 'Make one'), ', or follow ', link('#/start', 'Getting started'), '.'),
  }), page.next && page.pipes.length >= 1000 && h('p.dim', 'A thousand are shown at most; search for a name to find others.')];
}

async function detail(view, name) {
  const at = path`/klamm/v1/pipes/${name}`;
  const top = h('div');
  let status = await get(at, view.signal);
  const header = () => put(top,
    title(name,
      status.state === 'running'
        ? button('Pause', () => pause(view, name, at))
        : button('Resume', async () => { await call('POST', at + '/resume', { body: {} }); say(`${name} runs again.`); view.again(); }, { kind: 'main' }),
      button('Seek', () => seek(view, name, at)),
      h('a.button', { href: `#/pipes/${encodeURIComponent(name)}?edit=yes` }, 'Edit'),
      h('a.button', { href: '#/deliveries?pipe=' + encodeURIComponent(name) }, 'Deliveries'),
      h('a.button', { href: '#/letters/' + encodeURIComponent(name) }, 'Dead letters'),
      h('a.button', { href: '#/replay?pipe=' + encodeURIComponent(name) }, 'Replay'),
      button('Delete', () => remove(name, at), { kind: 'danger' })),
    status.state === 'running' && status.reason && notice('warn', h('strong', 'It runs, but '), status.reason + '.'),
    status.state !== 'running' && notice(status.state === 'paused' ? 'warn' : 'bad', h('strong', `It is ${status.state}`), status.since ? ` since ${time(status.since)}` : '', status.reason ? ': ' + status.reason : '.'),
    stats(
      stat('State', stateBadge(status.state)),
      stat('Lag', count(status.lag), 'records not yet done with'),
      stat('Readers', `${count(status.consumers)} of ${count(status.consumers_wanted)}`, status.limited ? 'no more: the target is overloaded' : 'consumers, and how many are wanted'),
      stat('To', status.target, 'from ' + status.topics.join(', '))));
  header();
  view.draw(h('p', link('#/pipes', '← All pipes')), top, tabs([
    ['stages', 'Where records stop', () => stages(view, name, at)],
    ['trends', 'Trends', () => trends(view, name)],
    ['live', 'Live deliveries', (left) => live(view, name, left)],
    ['partitions', 'Partitions', () => partitions(status)],
    ['definition', 'Definition', () => definition(view, name, at)],
  ], view.q.get('tab') || 'stages', (tab) => view.set({ tab })),
  commands({ curl: { path: at }, klamm: 'pipe show ' + shell(name) }));
  view.every(5, async () => {
    try { status = await get(at, view.signal); header(); } catch (e) { if (e.name !== 'AbortError') put(top, title(name), problem(e)); }
  });
}

// stages shows where records stop.
function stages(view, name, at) {
  const box = h('div', h('p', 'Loading…'));
  const open = new Set();
  let before;
  const draw = (page) => {
    const rows = page.stages.map((s, i) => ({ ...s, rate: before ? (s.in - before.stages[i].in) / ((page.at - before.at) / 1000) : null }));
    before = page;
    put(box,
      h('p.dim', 'What each step has done since the pipe began to run', page.process ? ` in process ${page.process}` : ' here', '. Times are of the latest 64 records that were measured; of read, they are how old records were.'),
      table([
        { name: 'Step', of: (s) => h('strong', names[s.stage]) },
        { name: 'In', number: true, of: (s) => (s.used ? [count(s.in), h('div.dim', rate(s.rate))] : '') },
        { name: 'Out', number: true, of: (s) => (s.used ? count(s.out) : '') },
        { name: 'Stopped here', of: (s) => stopped(s) },
        { name: 'p50', number: true, of: (s) => millis(s.p50_ms) },
        { name: 'p95', number: true, of: (s) => millis(s.p95_ms) },
        { name: 'Latest records', wide: true, of: (s) => [sampleOf(s, 'stopped', open), sampleOf(s, 'passed', open)] },
      ], rows, { caption: 'Steps of the pipe', complete: true, note: 'All steps.' }));
  };
  view.every(5, async () => {
    if (!box.isConnected && before) return;
    try {
      const page = await get(at + '/stages', view.signal);
      page.at = performance.now();
      draw(page);
    } catch (e) { if (e.name !== 'AbortError') put(box, problem(e)); }
  });
  return box;
}

const names = { read: 'Read', filter: 'Filter', enrich: 'Enrich', transform: 'Transform', deliver: 'Deliver' };
const millis = (ms) => (ms === undefined ? '' : ms < 1 ? Math.max(1, Math.round(ms * 1000)) + ' µs' : span(ms / 1000));

function stopped(s) {
  if (!s.used) return h('span.dim', 'The pipe has no such step.');
  const parts = [];
  if (s.dropped) parts.push(h('div', badge(count(s.dropped), s.stage === 'deliver' ? 'bad' : 'dull'), ' ', { filter: 'do not match', enrich: 'answered with nothing', deliver: 'given up' }[s.stage]));
  if (s.failed) parts.push(h('div', badge(count(s.failed), 'bad'), ' ', { read: 'cannot be decoded', enrich: 'not answered, with each attempt', transform: 'cannot be transformed', deliver: 'in failed attempts' }[s.stage]));
  if (s.held) parts.push(h('div', badge(count(s.held), 'warn'), ' on their way or waiting'));
  return parts.length ? parts : 'none';
}

function sampleOf(s, which, open) {
  const one = s[which];
  if (!one) return null;
  const id = s.stage + which;
  const what = which === 'passed' ? 'passed' : { filter: 'did not match', deliver: 'was not accepted', enrich: 'was not enriched' }[s.stage] || 'failed';
  return h('details', { open: open.has(id), ontoggle: (e) => (e.target.open ? open.add(id) : open.delete(id)) },
    h('summary', `${what} ${ago(one.at)}`, one.note && which === 'stopped' && s.stage !== 'filter' ? ': ' + one.note.slice(0, 120) : ''),
    pairs([
      ['Record', link(`#/topics/${encodeURIComponent(one.topic)}?from=${one.offset}&partition=${one.partition}&limit=1`, `${one.topic}/${one.partition} at ${one.offset}`)],
      ['Produced', time(one.timestamp)],
      one.note && ['Note', one.note],
      one.why && ['Why', one.why],
      one.key && ['Key', one.key],
    ]),
    one.withheld ? h('p.dim', 'Its topic is masked, or you may not read it: the record is not shown.') : [
      h('h3', valueTitle('Value', one.value_form, one.size)), one.value_form === 'null' ? h('p.dim', 'No value: a tombstone.') : pre(pretty(one.value)),
      one.result !== undefined && [h('h3', valueTitle('What came of it', one.result_form, one.result_size)), pre(pretty(one.result))],
    ]);
}

const valueTitle = (text, form, size) => `${text}, ${count(size)} bytes${form === 'base64' ? ', as base64' : ''}${size > 2048 ? '; the first 2,048' : ''}`;

export function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

// trends draws the pipe's own short history.
function trends(view, name) {
  const box = h('div', h('p', 'Loading…'));
  const wide = view.q.get('span') === '24h' ? '24h' : '1h';
  const load = async () => {
    if (!box.isConnected && box.dataset.drawn) return;
    let got;
    try {
      got = await get(query('/klamm/v1/history', { pipe: name, span: wide }), view.signal);
    } catch (e) {
      if (e.name === 'AbortError') return;
      put(box, e.status === 404 ? empty('klamm keeps no history of this pipe: it keeps that of the busiest only.') : problem(e));
      return;
    }
    box.dataset.drawn = 'yes';
    const from = new Date(got.from).getTime();
    const step = got.step * 1000;
    const series = Object.fromEntries(got.series.map((s) => [s.name, s.points.map((v, i) => [from + i * step, v])]));
    const draw = (heading, write, of) => {
      const lines = of.filter(([n]) => series[n]).map(([n, label]) => ({ name: label, points: series[n] }));
      return lines.length ? chart(lines, { title: heading, write }) : null;
    };
    put(box,
      h('div.grid2',
        draw('Records a second', rate, [['read', 'read'], ['delivered', 'delivered'], ['failed', 'failed attempts']]),
        draw('Lag, records', count, [['lag', 'lag']]),
        draw('Time of an attempt', span, [['latency_p95', 'p95']])),
      h('p.dim', got.complete === false ? 'klamm has not run for all of this time, or has not kept all of it.' : 'All of it is there.'));
  };
  view.every(wide === '1h' ? 5 : 60, load);
  return h('div', h('div.filters', field('Span', { value: wide, options: [['1h', 'an hour, every 5 s'], ['24h', 'a day, every minute']], onchange: (v) => { view.set({ span: v === '1h' ? null : v }); view.again(); } })), box);
}

// live shows attempts as they are logged.
function live(view, name, left) {
  const box = h('div');
  const rows = [];
  let fresh = 0;
  let on = true;
  const signal = AbortSignal.any([view.signal, left]);
  const state = h('span.dim', { role: 'status' }, 'Waiting for the next attempt…');
  const toggle = h('button', { type: 'button', onclick: () => { on = !on; toggle.textContent = on ? 'Hold' : 'Go on'; } }, 'Hold');
  let dirty = false;
  const draw = () => {
    dirty = false;
    if (!on) return;
    put(box, table([
      { name: 'At', of: (l) => time(l.attempt.at) },
      { name: 'Delivery', of: (l) => link('#/deliveries/' + encodeURIComponent(l.delivery_id), `${l.topic}/${l.partition} at ${l.offset}`) },
      { name: 'Records', number: true, of: (l) => count(l.count || 1) },
      { name: 'Attempt', number: true, of: (l) => count(l.attempt.attempt) },
      { name: 'Outcome', of: (l) => outcome(l) },
      { name: 'Took', number: true, of: (l) => span(l.attempt.took_ms / 1000) },
      { name: 'Said', wide: true, of: (l) => (l.attempt.error || l.attempt.response || '').slice(0, 200) },
    ], rows, { caption: 'Attempts, the newest first', note: `${count(fresh)} since you are looking; the latest ${count(rows.length)} are shown.`, none: empty('No attempt since you are looking. Which attempts are logged is what delivery.log of the pipe says; the default is those that fail.') }));
  };
  draw();
  (async () => {
    for (let wait = 1; !signal.aborted; wait = Math.min(wait * 2, 30)) {
      try {
        await events(query('/klamm/v1/deliveries/tail', { pipe: name }), { signal }, (e) => {
          if (e.event !== 'message' || !e.data.attempt) return;
          wait = 1;
          fresh++;
          rows.unshift(e.data);
          rows.length = Math.min(rows.length, 100);
          put(state, `The last one ${ago(e.data.attempt.at)}.`);
          if (!dirty) { dirty = true; setTimeout(draw, 250); }
        });
      } catch (e) {
        if (e.name === 'AbortError') return;
        put(state, 'The stream broke off: ', e.message, '. Trying again.');
      }
      await view.sleep(wait);
    }
  })();
  return h('div', h('div.acts', toggle, state), box);
}

// outcome shows what became of a delivery.
export function outcome(d) {
  const [text, kind] = { delivered: ['✓ delivered', 'good'], failed: ['↻ failed, again later', 'warn'], dead_lettered: ['✗ given up', 'bad'] }[d.outcome] || [d.outcome, 'dull'];
  return [badge(text, kind), d.status ? ` ${d.status}` : ''];
}

const partitions = (status) => table([
  { name: 'Partition', of: (p) => `${p.topic}/${p.partition}` },
  { name: 'Committed', number: true, of: (p) => (p.committed < 0 ? 'nothing yet' : count(p.committed)) },
  { name: 'Log', number: true, of: (p) => `${count(p.start)} – ${count(p.end)}` },
  { name: 'Lag', number: true, of: (p) => count(p.lag) },
  { name: 'Read by', of: (p) => p.member || 'nobody' },
], status.partitions, { caption: 'Partitions that the pipe reads', complete: true, none: empty('The topics of the pipe do not exist yet: produce to them first.') });

// definition shows how the pipe is defined, and how it was before.
function definition(view, name, at) {
  const box = h('div', h('p', 'Loading…'));
  (async () => {
    try {
      const d = await get(at + '/definition', view.signal);
      if (d.origin === 'file') return put(box, notice('dull', 'It is defined in the configuration file, and changed there. Definitions of the file are not shown: they may hold what is not for everybody.'));
      const b = d.before;
      put(box, d.problem && notice('bad', h('strong', 'It is not carried out'), ' ', d.problem), d.shadowed && notice('warn', 'The configuration file has a pipe of that name, which counts instead.'),
        pairs([['Origin', d.origin === 'aws' ? 'EventBridge Pipes API' : 'klamm’s API'], ['Version', count(d.version)], ['Changed', `${time(d.changed)} by ${d.by || 'nobody known'}`], ['Made', time(d.created)]]),
        h('h3', `Version ${d.version}`), pre(d.definition),
        b && h('details', h('summary', `Version ${b.version}, of ${time(b.changed)} by ${b.by || 'nobody known'}`), differences(b.body, d.definition),
          d.origin === 'catalog' && button('Edit from this version', () => { sessionStorage.setItem('klamm-pipe-draft', json(b.body)); location.hash = `#/pipes/${encodeURIComponent(name)}?edit=yes&draft=yes`; })));
    } catch (e) { if (e.name !== 'AbortError') put(box, e.status === 501 ? notice('dull', e.message) : problem(e)); }
  })();
  return box;
}

// differences shows what changed from one document to another, line by line.
export function differences(from, to) {
  const a = json(from).split('\n');
  const b = json(to).split('\n');
  const keep = new Set(b);
  const had = new Set(a);
  return h('pre', { tabindex: 0 }, a.map((l) => (keep.has(l) ? '  ' : '- ') + l + '\n'), b.filter((l) => !had.has(l)).map((l) => '+ ' + l + '\n'));
}

const pause = (view, name, at) => ask('Pause ' + name, (done) => {
  const why = field('Reason, for those who come after you', { name: 'reason' });
  return form([h('p', 'What is being delivered ends first. It stays paused over restarts, until somebody resumes it.'), why], 'Pause', async () => {
    await call('POST', at + '/pause', { body: { reason: why.input.value } });
    say(`${name} is paused.`);
    done(true);
    view.again();
  });
});

// seek moves a pipe, after it has shown what that would do.
const seek = (view, name, at) => ask('Seek ' + name, (done) => {
  const to = field('To', { options: [['earliest', 'the beginning of the topics'], ['latest', 'their end'], ['time', 'a time'], ['offsets', 'offsets']], onchange: () => shown() });
  const when = field('Time', { type: 'datetime-local', value: local(new Date(Date.now() - 3600e3)) });
  const offsets = field('Offsets', { placeholder: 'orders/0=17,orders/1=4' });
  const preview = h('div', { role: 'status' });
  const shown = () => { when.hidden = to.input.value !== 'time'; offsets.hidden = to.input.value !== 'offsets'; put(preview); };
  shown();
  const target = () => ({ time: () => new Date(when.input.value).toISOString(), offsets: () => offsets.input.value }[to.input.value] || (() => to.input.value))();
  return form([h('p', 'Records that are passed over are not delivered; those before where it goes are delivered again. The pipe must be paused.'), to, when, offsets, preview], 'Show what would happen', async () => {
    const where = target();
    const { moves } = (await call('POST', at + '/seek', { body: { to: where, dry_run: true } })).document;
    const again = moves.reduce((n, m) => n + Math.max(m.records, 0), 0);
    const over = moves.reduce((n, m) => n + Math.max(-m.records, 0), 0);
    put(preview, table([
      { name: 'Partition', of: (m) => `${m.topic}/${m.partition}` }, { name: 'From', number: true, of: (m) => (m.from < 0 ? 'nothing' : count(m.from)) },
      { name: 'To', number: true, of: (m) => count(m.to) }, { name: 'Records', number: true, of: (m) => (m.records < 0 ? `${count(-m.records)} passed over` : `${count(m.records)} again`) },
    ], moves.slice(0, 20), { caption: 'What would happen', complete: moves.length <= 20 }),
    h('p', `${count(again)} records are delivered again, ${count(over)} are passed over.`),
    button('Seek now', async () => {
      if (!await confirmName('Seek now', name, `${count(again)} records are delivered again, and ${count(over)} are passed over, which nobody delivers then.`)) return;
      await call('POST', at + '/seek', { body: { to: where } });
      say(`${name} goes on from there.`);
      done(true);
      view.again();
    }, { kind: 'danger' }));
  });
});

// local writes a moment for an input of the kind datetime-local.
export function local(d) {
  return new Date(d.getTime() - d.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

async function remove(name, at) {
  if (!await confirmName('Delete ' + name, name, 'The pipe ends, and its definition is gone. Its committed offsets and dead letters stay.')) return;
  await del(at);
  say(`${name} is deleted.`);
  location.hash = '#/pipes';
}

const example = `name: orders-to-hook
topics: [orders]
filter: {value: {total: [{numeric: [">", 100]}]}}
target:
  webhook: {url: "https://example.com/hook"}
`;

// edit makes a pipe, or changes one: a text, a dry run, and then the deed.
async function edit(view, name) {
  let version;
  let text = example;
  if (name) {
    const d = await get(path`/klamm/v1/pipes/${name}/definition`, view.signal);
    if (d.origin !== 'catalog') {
      view.draw(title('Edit ' + name), notice('warn', d.origin === 'file' ? 'This pipe is defined in the configuration file, and is changed there.' : 'This pipe was made through the EventBridge Pipes API, and is changed there (UpdatePipe).'), h('p', link('#/pipes/' + encodeURIComponent(name), '← Back to the pipe')));
      return;
    }
    version = d.version;
    text = json(d.definition);
  }
  if (view.q.get('draft')) text = sessionStorage.getItem('klamm-pipe-draft') || text;
  const definition = field('Definition, JSON or YAML', { value: text, rows: 22, hint: 'The words are those of pipes in the configuration file.' });
  const found = h('div', { role: 'status' });
  const where = (dry) => query(name ? path`/klamm/v1/pipes/${name}` : '/klamm/v1/pipes', { dry_run: dry && 'true' });
  const send = (dry) => call(name ? 'PUT' : 'POST', where(dry), { body: definition.input.value, headers: { 'Content-Type': 'application/yaml', ...(version ? { 'If-Match': `"${version}"` } : {}) } });
  const check = async () => {
    try {
      const d = (await send(true)).document;
      put(found, notice('good', h('strong', { create: 'It can be made', replace: 'It can be changed', none: 'Nothing would change' }[d.change] || d.change), '.'), d.before && [h('h3', 'What would change'), differences(d.before, d.definition)]);
    } catch (e) { put(found, findings(e)); }
  };
  const store = async () => {
    try {
      const d = (await send(false)).document;
      say(`${d.pipe} is stored as version ${d.version}.`);
      location.hash = '#/pipes/' + encodeURIComponent(d.pipe);
    } catch (e) { put(found, findings(e)); }
  };
  view.draw(title(name ? 'Edit ' + name : 'Make a pipe'), h('p', link(name ? '#/pipes/' + encodeURIComponent(name) : '#/pipes', '← Back')),
    section(null, definition, h('div.acts', button('Check', check), button(name ? 'Store' : 'Make it', store, { kind: 'main' })), found),
    commands({ curl: { method: name ? 'PUT' : 'POST', path: where(true), body: text, headers: { 'Content-Type': 'application/yaml' } }, klamm: 'pipe create --definition @pipe.yaml --dry-run' }));
}

// findings shows what is wrong with a definition, one line for each.
function findings(e) {
  const lines = String(e.message).split(/\n|; (?=[a-z_.[\]0-9]+: )/);
  if (e.status !== 400 || lines.length < 2) return problem(e);
  return notice('bad', h('strong', 'It cannot be made like that'), h('ul', lines.map((l) => h('li', l))));
}
