// Functions: the list, and one with its versions, configuration, a trial and its log.
import { h, put } from '../dom.js';
import { get, call, lines, events, path, query } from '../api.js';
import { title, section, link, badge, stat, stats, notice, problem, empty, pre, pairs, table, field, form, commands, terminal, tabs } from '../ui.js';
import { count, bytes, time, span, shell, only } from '../format.js';
import { pretty } from './pipes.js';

const at = '/2015-03-31/functions';

export async function show(view) {
  return view.parts[0] ? detail(view, view.parts[0]) : list(view);
}

const states = { Active: ['● active', 'good'], Pending: ['◐ pending', 'warn'], Inactive: ['❚❚ idle', 'dull'], Failed: ['■ failed', 'bad'] };
const stateOf = (f) => (f.State ? badge(...(states[f.State] || [f.State])) : badge('● active', 'good'));

async function list(view) {
  const { q } = view;
  const body = h('div');
  const [same, tell] = terminal();
  let most = Number(q.get('limit')) || 100;
  let turn = 0;
  const load = async () => {
    const mine = ++turn;
    const search = q.get('search') || '';
    tell({ curl: { path: query(at, { Search: search }) }, klamm: search ? 'function list ' + shell(search) : 'function list' });
    const tallies = tallied(view, search, most);
    const some = [];
    let marker;
    do { // fifty are the most that a page has
      const page = await get(query(at, { Search: search, Marker: marker }), view.signal);
      some.push(...page.Functions);
      marker = page.NextMarker;
    } while (marker && some.length < most);
    const { of, process } = await tallies;
    if (mine !== turn) return; // another one is on its way, or was faster
    put(body, table([
      { name: 'Function', of: (f) => f.FunctionName }, { name: 'State', of: stateOf },
      { name: 'Runtime', of: (f) => f.Runtime || (f.PackageType === 'Image' ? 'image' : 'elsewhere') }, { name: 'Handler', of: (f) => f.Handler || '' },
      { name: 'Memory', number: true, of: (f) => (f.MemorySize ? f.MemorySize + ' MB' : '–') }, { name: 'Timeout', number: true, of: (f) => (f.Timeout ? span(f.Timeout) : '–') },
      { name: 'Invocations', number: true, of: (f) => count(of(f).invocations) }, { name: 'Errors', number: true, of: (f) => count(of(f).errors) }, { name: 'No room', number: true, of: (f) => count(of(f).throttled) },
      { name: 'Half within', number: true, of: (f) => span(of(f).latency_p50) }, { name: '95 % within', number: true, of: (f) => span(of(f).latency_p95) },
      { name: 'Code', number: true, of: (f) => bytes(f.CodeSize) }, { name: 'Changed', of: (f) => time(f.LastModified) },
    ], some, {
      caption: 'Functions', complete: !marker, href: (f) => '#/functions/' + encodeURIComponent(f.FunctionName),
      more: marker ? () => { most += 100; view.set({ limit: most }); return load(); } : null,
      none: search ? empty('No function has that in its name.') : empty('There is no function yet. ', h('code', 'klamm function deploy NAME --directory build --runtime provided.al2023 --handler bootstrap'), ' makes one, and so do the AWS SDKs.'),
    }), process && some.length > 0 && here(process));
  };
  let typing;
  view.draw(title('Functions'), h('div.filters', field('Name contains', { type: 'search', value: q.get('search'), oninput: (v) => { clearTimeout(typing); typing = setTimeout(() => { most = 100; view.set({ search: v, limit: null }); load().catch((e) => put(body, problem(e))); }, 250); } })),
    body, same);
  await load();
}

// tallied asks what the first functions that have a text in their names have done here. Those who may not know see the
// functions without.
async function tallied(view, search, limit) {
  const tallies = await get(query('/klamm/v1/functions', { search, limit: Math.min(limit, 10_000) }), view.signal).catch((e) => { if (e.name === 'AbortError') throw e; return { functions: [] }; });
  const known = new Map(tallies.functions.map((t) => [t.function, t]));
  return { of: (f) => known.get(f.FunctionName) || {}, process: tallies.process };
}

const here = (process) => h('p.dim', `Invocations are counted, and their times taken of the last 500 of each function, by the process ${process} since it began.`);

async function detail(view, name) {
  const [{ Configuration: c, Tags: tags, Concurrency: reserved }, tallies] = await Promise.all([get(path`/2015-03-31/functions/${name}`, view.signal), tallied(view, name, 10_000)]);
  const done = tallies.of(c);
  view.draw(h('p', link('#/functions', '← All functions')), title(name),
    c.StateReason && notice(c.State === 'Failed' ? 'bad' : 'dull', c.StateReason),
    c.LastUpdateStatus === 'Failed' && notice('bad', h('strong', 'The last change failed'), ' ', c.LastUpdateStatusReason),
    stats(stat('State', stateOf(c)), stat('Runtime', c.Runtime || 'elsewhere'), stat('Memory', c.MemorySize ? c.MemorySize + ' MB' : '–'), stat('Timeout', c.Timeout ? span(c.Timeout) : '–'), stat('Version', c.Version || '–')),
    stats(stat('Invocations', count(done.invocations)), stat('Errors', count(done.errors)), stat('No room', count(done.throttled)), stat('Half within', span(done.latency_p50)), stat('95 % within', span(done.latency_p95))),
    tallies.process && here(tallies.process),
    tabs([
      ['invoke', 'Invoke', () => invoke(view, name)],
      ['log', 'Log', (left) => log(view, name, left)],
      ['configuration', 'Configuration', () => configuration(c, tags, reserved)],
      ['versions', 'Versions', () => versions(view, name)],
    ], view.q.get('tab') || 'invoke', (tab) => view.set({ tab })),
    commands({ curl: { path: path`/2015-03-31/functions/${name}` }, klamm: only('function list', `FunctionName == '${name}'`) + ' -o json' }));
}

function configuration(c, tags, reserved) {
  const environment = (c.Environment && c.Environment.Variables) || {};
  return section(null, pairs([
    ['ARN', h('code', c.FunctionArn)], c.Description && ['Description', c.Description], ['Handler', c.Handler], ['Role', c.Role],
    ['Architecture', (c.Architectures || []).join(', ')], ['Code', `${bytes(c.CodeSize)}, SHA-256 ${c.CodeSha256}`], ['Changed', time(c.LastModified)],
    ['Reserved concurrency', reserved ? count(reserved.ReservedConcurrentExecutions) : 'none'],
  ]),
  h('h3', 'Environment'), table([{ name: 'Name', of: ([k]) => k }, { name: 'Value', of: () => '••••••' }], Object.entries(environment), { caption: 'Variables; their values are not shown, since some are secrets', complete: true, none: empty('It has no variables of its own.') }),
  tags && Object.keys(tags).length > 0 && [h('h3', 'Tags'), table([{ name: 'Tag', of: ([k]) => k }, { name: 'Value', of: ([, v]) => v }], Object.entries(tags), { caption: 'Tags', complete: true })]);
}

function versions(view, name) {
  const box = h('div', h('p', 'Loading…'));
  get(path`/2015-03-31/functions/${name}/versions`, view.signal).then((d) => put(box, table([
    { name: 'Version', of: (v) => v.Version }, { name: 'Changed', of: (v) => time(v.LastModified) }, { name: 'Code', number: true, of: (v) => bytes(v.CodeSize) },
    { name: 'SHA-256 of the code', wide: true, of: (v) => h('code', v.CodeSha256) }, { name: 'Revision', of: (v) => v.RevisionId || '' },
  ], d.Versions, { caption: 'Versions', complete: !d.NextMarker, note: d.NextMarker ? undefined : 'All. klamm keeps the latest version of a function only.' }))).catch((e) => { if (e.name !== 'AbortError') put(box, problem(e)); });
  return box;
}

// invoke calls the function and shows what it answers and writes.
function invoke(view, name) {
  const payload = field('Payload, JSON', { value: view.q.get('payload') || '{}', rows: 8, onchange: (v) => view.set({ payload: v }) });
  const kind = field('Wait for the answer', { type: 'checkbox', value: true });
  const said = h('div', { role: 'status' });
  const where = path`/2015-03-31/functions/${name}/invocations`;
  return h('div', form([payload, kind], 'Invoke', async () => {
    try { JSON.parse(payload.input.value); } catch (e) { throw new Error('The payload is no JSON: ' + e.message); }
    put(said, h('p', 'It runs…'));
    const began = performance.now();
    const wait = kind.input.checked;
    let a;
    try {
      a = await call('POST', where, { body: payload.input.value, signal: view.signal, headers: { 'X-Amz-Invocation-Type': wait ? 'RequestResponse' : 'Event', ...(wait && { 'X-Amz-Log-Type': 'Tail' }) } });
    } catch (e) { put(said); throw e; }
    const failed = a.headers.get('X-Amz-Function-Error');
    const tail = a.headers.get('X-Amz-Log-Result');
    put(said, failed ? notice('bad', h('strong', 'The function failed'), ` (${failed}), after ${span((performance.now() - began) / 1000)}.`)
      : notice('good', h('strong', wait ? 'It has answered' : 'It was taken'), ` within ${span((performance.now() - began) / 1000)}${a.headers.get('X-Amz-Executed-Version') ? ', version ' + a.headers.get('X-Amz-Executed-Version') : ''}.`),
    a.text && [h('h3', 'Answer'), pre(pretty(a.text))],
    tail && [h('h3', 'The end of what it wrote'), pre(new TextDecoder().decode(Uint8Array.from(atob(tail), (ch) => ch.charCodeAt(0))))]);
  }), said, commands({ heading: 'Invoke it from a terminal', curl: { method: 'POST', path: where, body: payload.input.value }, klamm: `function invoke ${shell(name)} --data ${shell(payload.input.value)}` }));
}

// log shows what the function has written, on every klamm that runs it, and goes on.
function log(view, name, left) {
  const signal = AbortSignal.any([view.signal, left]);
  const topic = 'klamm.log..aws.lambda.' + name;
  const out = h('pre', { tabindex: 0, 'aria-label': 'Log of the function' });
  const state = h('p.dim', { role: 'status' }, 'Loading…');
  let rows = [];
  let on = true;
  let dirty = false;
  let skipped = 0;
  const toggle = h('button', { type: 'button', onclick: () => { on = !on; toggle.textContent = on ? 'Hold' : 'Go on'; if (on) draw(); } }, 'Hold');
  const draw = () => {
    dirty = false;
    if (!on) return;
    const down = out.scrollTop + out.clientHeight >= out.scrollHeight - 8;
    put(out, rows.map((r) => `${time(r.at)}  ${r.text}\n`));
    if (down) out.scrollTop = out.scrollHeight;
  };
  const take = (at, text) => {
    rows.push({ at, text });
    if (rows.length > 500) { skipped += rows.length - 500; rows = rows.slice(-500); }
    if (!dirty) { dirty = true; setTimeout(draw, 200); }
  };
  const text = (v) => (typeof v === 'string' ? v : JSON.stringify(v));
  (async () => {
    let from = new Date().toISOString();
    try {
      await lines('GET', query(path`/klamm/v1/topics/${topic}/records`, { from: 'end-100', limit: 100 }), { signal, headers: { Accept: 'application/x-ndjson' } }, (l) => { if (l.record) rows.push({ at: l.record.timestamp, text: text(l.record.value) }); });
      rows.sort((a, b) => a.at - b.at);
      draw();
      put(state, rows.length ? `The latest ${count(rows.length)} lines; what comes is added.` : 'It has written nothing yet; what comes is added.');
    } catch (e) {
      if (e.name === 'AbortError') return;
      put(state, e.status === 404 ? 'It has written nothing yet: its log begins with its first line.' : e.message);
    }
    for (let wait = 2; !signal.aborted; wait = Math.min(wait * 2, 30)) {
      try {
        await events(query(path`/stream/${topic}`, { from }), { signal }, (e) => {
          if (e.event !== 'record') return;
          wait = 2;
          from = new Date(e.data.timestamp + 1).toISOString();
          take(e.data.timestamp, text(e.data.value));
          put(state, `${count(rows.length)} lines${skipped ? `; ${count(skipped)} older ones were dropped here` : ''}.`);
        });
      } catch (e) { if (e.name === 'AbortError') return; }
      await view.sleep(wait);
    }
  })();
  return h('div', h('div.acts', toggle, link('#/topics/' + encodeURIComponent(topic), 'Its topic')), state, out, commands({ heading: 'Its log in a terminal', curl: { path: query(path`/stream/${topic}`, { from: 'earliest' }) }, klamm: `function logs ${shell(name)} --follow` }));
}
