// Access: may A do T on R, which statement says so, and who has which key.
import { h, put } from '../dom.js';
import { get, post, del, path, query, Problem } from '../api.js';
import { title, section, badge, problem, notice, empty, table, field, form, commands, terminal, pairs, button, pre, tabs, ask, confirmName, say, copyable } from '../ui.js';
import { count, time, ago, shell } from '../format.js';

const actions = ['kafka-cluster:ReadData', 'kafka-cluster:WriteData', 'kafka-cluster:DescribeTopic', 'kafka-cluster:CreateTopic', 'kafka-cluster:DeleteTopic', 'kafka-cluster:AlterTopic', 'kafka-cluster:DescribeGroup', 'kafka-cluster:AlterGroup', 'kafka-cluster:Connect', 'execute-api:Invoke', 'klamm:AdminRead', 'klamm:AdminWrite', 'events:PutEvents'];

export async function show(view) {
  const tab = view.parts[0] || 'explain';
  view.draw(title('Access'), tabs([
    ['explain', 'May they?', () => explain(view)],
    ['policies', 'Policies and rules', () => later((box) => policies(view, box))],
    ['keys', 'API keys', () => later((box) => keys(view, box))],
  ], tab, (id) => { const q = location.hash.split('?')[1]; history.replaceState(null, '', '#/access/' + id + (q ? '?' + q : '')); }));
}

function later(act) {
  const box = h('div', h('p.dim', 'Loading…'));
  act(box).catch((e) => { if (e.name !== 'AbortError') put(box, none(e)); });
  return box;
}

const none = (e) => (e instanceof Problem && e.status === 409 ? empty(e.message) : problem(e));

function explain(view) {
  const { q } = view;
  const as = field('Who', { value: q.get('as') || view.session.principal, required: true, placeholder: 'User:alice', name: 'as' });
  const groups = field('Groups', { value: q.get('groups'), placeholder: 'ops, ingest', hint: 'With commas; those that klamm knows need not be here.' });
  const action = field('Does what', { value: q.get('action') || actions[0], required: true, name: 'action' });
  action.input.setAttribute('list', 'actions');
  const resource = field('To what', { value: q.get('resource') || 'topic:orders', required: true, hint: 'topic:NAME, group:NAME, cluster or an ARN; for execute-api:Invoke, a method and a path, as in GET/topics.', name: 'resource' });
  const context = field('Context', { value: q.get('context'), placeholder: 'aws:SourceIp=192.0.2.7', hint: 'Conditions that policies ask for; several with semicolons.' });
  const said = h('div', { 'aria-live': 'polite' });
  const same = h('div');
  const question = () => {
    const p = new URLSearchParams({ as: as.input.value.trim(), action: action.input.value.trim(), resource: resource.input.value.trim() });
    for (const g of groups.input.value.split(',').map((s) => s.trim()).filter(Boolean)) p.append('group', g);
    for (const c of context.input.value.split(';').map((s) => s.trim()).filter(Boolean)) p.append('context', c);
    return p;
  };
  const go = async () => {
    const p = question();
    view.set({ as: p.get('as'), action: p.get('action'), resource: p.get('resource'), groups: groups.input.value, context: context.input.value });
    put(same, commands({ curl: { path: '/klamm/v1/access/explain?' + p },
      klamm: ['access explain --as', shell(p.get('as')), '--action', shell(p.get('action')), '--resource', shell(p.get('resource')), ...p.getAll('group').map((g) => '--group ' + shell(g)), ...p.getAll('context').map((c) => '--context ' + shell(c))].join(' ') }));
    put(said, verdict(await get('/klamm/v1/access/explain?' + p, view.signal), true));
  };
  const ready = ['as', 'action', 'resource'].every((n) => q.get(n));
  if (ready) go().catch((e) => put(said, problem(e)));
  return h('div', section(null, form([h('div.filters', as, action, resource), h('datalist', { id: 'actions' }, actions.map((a) => h('option', { value: a }))), h('div.filters', groups, context)], 'Ask', go)), said, same,
    !ready && h('p.dim', 'Nothing is done: klamm only says what it would decide, and by which statement.'));
}

function verdict(e, whole) {
  const yes = e.decision === 'allow';
  return h(whole ? 'section.card' : 'div', 
    h('p', badge(yes ? '✓ allowed' : e.decision === 'explicit deny' ? '✕ denied' : '✕ not allowed', yes ? 'good' : 'bad'), ' ', h('strong', e.as), yes ? ' may ' : ' may not ', h('span.mono', e.action), ' on ', h('span.mono', e.resource)),
    pairs([
      ['Decision', e.decision],
      ['By', e.policy ? `${e.statement ? `statement ${e.statement} of ` : ''}${e.policy}${e.sid ? ` (${e.sid})` : ''}` : 'no statement'],
      e.kind && ['Kind', e.kind], e.reason && ['Why', e.reason],
      e.groups && e.groups.length ? ['Groups', e.groups.join(', ')] : null,
    ]),
    e.needs && e.needs.length ? [h('h3', 'Such a call needs beside it'), e.needs.map((n) => verdict(n, false))] : null);
}

// rows is how many entries of a list are asked for at once.
const rows = 100;

// listed fills a box with a list that the server gives page by page: a search field, and what
// draw makes of the answer; same says how to have it from a terminal. It returns what loads the
// list again.
async function listed(view, box, at, name, label, draw, same) {
  const body = h('div');
  const [shown, tell] = terminal();
  let most = rows;
  let turn = 0;
  const load = async () => {
    const mine = ++turn;
    tell(same(view.q.get(name)));
    const page = await get(query(at, { search: view.q.get(name), limit: most }), view.signal);
    if (mine !== turn) return; // a later one is on its way, or was faster
    put(body, draw(page, { complete: !page.next, note: page.next ? `The first ${count(most)} of ${count(page.total)} are shown.` : undefined, more: page.next ? () => { most += rows; return load(); } : undefined }));
  };
  let typing;
  const search = field(label, { type: 'search', value: view.q.get(name), oninput: (v) => {
    clearTimeout(typing);
    typing = setTimeout(() => { view.set({ [name]: v }); most = rows; load().catch((e) => { if (e.name !== 'AbortError') put(body, none(e)); }); }, 250);
  } });
  await load();
  put(box, h('div.filters', search), body, shown);
  return load;
}

async function policies(view, box) {
  const shown = h('div');
  await listed(view, box, '/klamm/v1/policies', 'policy', 'Name or caller contains', ({ policies: all }, page) => [table([
    { name: 'Name', of: (p) => p.name },
    { name: 'Kind', of: (p) => p.kind },
    { name: 'Attached to', wide: true, of: (p) => (p.attach && p.attach.length ? p.attach.join(', ') : p.rule && p.rule.who ? p.rule.who.join(', ') : '–') },
    { name: 'From', of: (p) => (p.in_file ? 'the configuration file' : ['made here', p.changed ? h('div.dim', `${ago(p.changed)}${p.changed_by ? ' by ' + p.changed_by : ''}`) : null]) },
    { name: 'State', of: (p) => (p.shadowed ? badge('shadowed by the file', 'warn') : 'counts') },
    { name: 'Document', of: (p) => button('Show', () => put(shown, section(p.name, pre(p.document || p.rule))), { title: `Show ${p.name}` }) },
  ], all, { caption: 'Policies and rules that decide', ...page, none: view.q.get('policy') ? empty('None has that in its name or in what it is attached to.') : empty('There are neither policies nor rules. ', h('code', 'klamm policy put'), ' makes one.') }), shown,
  ], (search) => ({ curl: { path: query('/klamm/v1/policies', { search }) }, klamm: search ? 'policy list ' + shell(search) : 'policy list' }));
}

async function keys(view, box) {
  const list = h('div');
  put(box, h('p', button('Make a key', async () => { if (await make()) await again(); }, { kind: 'main' })), list);
  const again = await listed(view, list, '/klamm/v1/keys', 'key', 'Name, id or caller contains', ({ keys: all }, page) => [table([
    { name: 'Name', of: (k) => [k.name, k.description && h('div.dim', k.description)] },
    { name: 'Id', of: (k) => h('span.mono', k.id) },
    { name: 'Stands for', of: (k) => [k.principal, k.groups && k.groups.length ? h('div.dim', k.groups.join(', ')) : null] },
    { name: 'State', of: (k) => state(k) },
    { name: 'Made', of: (k) => [k.in_file ? 'in the configuration file' : time(k.created), k.created_by && h('div.dim', 'by ' + k.created_by)] },
    { name: 'Last used', of: (k) => (k.last_used ? ago(k.last_used) : '–') },
    { name: 'Do', of: (k) => (k.in_file ? h('span.dim', 'change the file') : h('div.acts',
      button('Rotate', async () => { if (await rotate(k)) await again(); }, { title: `Make a second key of the name ${k.name}` }),
      button('Revoke', async () => { if (await revoke(k)) await again(); }, { kind: 'danger', title: `Revoke key ${k.id} of ${k.name}` }))) },
  ], all, { caption: 'API keys; their secrets are shown once, when they are made', ...page, none: view.q.get('key') ? empty('None has that in its name, its id or what it stands for.') : empty('There are no API keys yet.') }),
  ], (search) => ({ curl: { path: query('/klamm/v1/keys', { search }) }, klamm: search ? 'key list ' + shell(search) : 'key list' }));
}

function state(k) {
  const now = Date.now();
  if (!k.enabled) return badge('✕ disabled', 'bad');
  if (k.not_after && new Date(k.not_after) < now) return badge('✕ over', 'bad');
  if (k.not_before && new Date(k.not_before) > now) return badge('… not yet', 'warn');
  return [badge('✓ taken', 'good'), k.not_after ? h('div.dim', 'until ' + time(k.not_after)) : null];
}

const make = () => ask('Make a key', (done) => {
  const name = field('Name', { required: true });
  const who = field('Stands for', { placeholder: 'User:NAME', hint: 'The default is User: and the name.' });
  const groups = field('Groups', { hint: 'With commas.' });
  const until = field('Ends', { type: 'datetime-local', hint: 'Empty: never.' });
  const box = h('div');
  put(box, form([name, who, groups, until], 'Make a key', async () => {
    const body = { name: name.input.value.trim() };
    if (who.input.value.trim()) body.principal = who.input.value.trim();
    const list = groups.input.value.split(',').map((s) => s.trim()).filter(Boolean);
    if (list.length) body.groups = list;
    if (until.input.value) body.not_after = new Date(until.input.value).toISOString();
    put(box, secretOf(await post('/klamm/v1/keys', body), done));
  }), h('div.acts', button('Cancel', () => done(undefined))));
  return box;
});

// secretOf shows a new key's secret, once.
const secretOf = (k, done) => [notice('good', h('strong', `${k.name} is made.`), ' Copy its secret now: it is not shown again.'), copyable(k.key, 'key'), h('div.acts', button('I have copied it', () => done(true), { kind: 'main' }))];

const rotate = (k) => ask(`Rotate ${k.name}`, (done) => {
  const box = h('div');
  put(box, h('p', 'A second key of this name is made. Both are taken until you revoke the old one.'), h('div.acts',
    button('Make the second key', async () => { put(box, secretOf(await post(path`/klamm/v1/keys/${k.name}/rotate`, {}), done)); }, { kind: 'main' }), button('Cancel', () => done(undefined))));
  return box;
});

async function revoke(k) {
  if (!await confirmName('Revoke', k.name, `Nobody gets in with key ${k.id} any more. Open streams end within a minute.`)) return false;
  await del(path`/klamm/v1/keys/${k.id}`);
  say(`${k.name} is revoked.`);
  return true;
}
