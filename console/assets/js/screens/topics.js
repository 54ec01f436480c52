// Topics and messages: the list, and of one topic its messages, partitions, settings and
// consumers.
import { h, put } from '../dom.js';
import { get, post, del, path, query } from '../api.js';
import { ask, badge, button, commands, confirmName, empty, field, form, link, notice, problem, say, section, stat, stats, table, tabs, terminal, title } from '../ui.js';
import { count, shell } from '../format.js';
import { exportButtons, later, recordTable, search } from '../records.js';

export async function show(view) {
  const [topic] = view.parts;
  await (topic === undefined ? list(view) : one(view, topic));
}

const page = 100;
const to = (t) => '#/topics/' + encodeURIComponent(t);

async function list(view) {
  const box = h('div');
  const [said, tell] = terminal();
  let rows = [];
  let next;
  const draw = () => put(box, table([
    { name: 'Topic', of: (t) => t.topic },
    { name: 'Partitions', of: (t) => count(t.partitions), number: true },
    { name: 'Replicas', of: (t) => count(t.replication), number: true },
    { name: 'State', of: (t) => (t.troubled ? badge(`${count(t.troubled)} partitions lack a replica`, 'bad') : badge('well', 'good')) },
    { name: '', of: (t) => [link(`#/tail/${encodeURIComponent(t.topic)}`, 'Tail'), ' · ', link(`#/produce?topic=${encodeURIComponent(t.topic)}`, 'Produce')] },
  ], rows, {
    caption: 'Topics', complete: next === undefined, href: (t) => to(t.topic), more: () => load(next),
    none: view.q.get('prefix') ? empty(`No topic's name begins with “${view.q.get('prefix')}”.`)
      : empty('There are no topics yet. ', link('#/start', 'Getting started'), ' shows how the first record makes one; or make a topic here.'),
  }));
  let turn = 0;
  const load = async (after) => {
    const mine = ++turn;
    const got = await get(query('/klamm/v1/topics', { prefix: view.q.get('prefix'), after, limit: page }), view.signal);
    if (mine !== turn) return; // another prefix was typed meanwhile
    rows = after === undefined ? got.topics : rows.concat(got.topics);
    next = got.next;
    const prefix = view.q.get('prefix');
    tell({ curl: { path: query('/klamm/v1/topics', { prefix, limit: page }) }, klamm: ['topic list', prefix && shell(prefix)].filter(Boolean).join(' ') });
    draw();
  };
  let typing;
  const prefix = field('Name begins with', { value: view.q.get('prefix'), type: 'search', oninput: (v) => {
    view.set({ prefix: v });
    clearTimeout(typing);
    typing = setTimeout(() => load().catch((e) => e.name !== 'AbortError' && put(box, problem(e))), 200);
  } });
  await load();
  view.draw(title('Topics', button('New topic', () => create(), { kind: 'main' })), h('div.filters', prefix), box, said);
}

// create asks for a new topic and makes it.
async function create() {
  const made = await ask('New topic', (done) => {
    const name = field('Name', { required: true, hint: 'Letters, digits, dots, dashes and underscores.' });
    const partitions = field('Partitions', { type: 'number', hint: 'Empty: as the brokers do by default.' });
    const replicas = field('Replicas', { type: 'number', hint: 'Empty: as the brokers do by default.' });
    const settings = field('Settings', { rows: 3, placeholder: 'retention.ms=86400000\ncleanup.policy=compact', hint: 'One NAME=VALUE a line.' });
    return form([name, partitions, replicas, settings], 'Make it', async () => {
      const body = { topic: name.input.value.trim(), settings: {} };
      if (partitions.input.value) body.partitions = Number(partitions.input.value);
      if (replicas.input.value) body.replication = Number(replicas.input.value);
      for (const line of settings.input.value.split('\n').filter((l) => l.trim())) {
        const at = line.indexOf('=');
        if (at < 1) throw new Error(`“${line}” is not NAME=VALUE.`);
        body.settings[line.slice(0, at).trim()] = line.slice(at + 1).trim();
      }
      await post('/klamm/v1/topics', body);
      done(body.topic);
    });
  });
  if (made === undefined) return;
  say(`Topic ${made} is there.`);
  location.hash = to(made);
}

async function one(view, name) {
  const at = path`/klamm/v1/topics/${name}`;
  const t = await get(at, view.signal);
  const remove = async () => {
    if (!await confirmName('Delete the topic', name, `All ${count(t.records)} offsets of topic ${name} are lost, for everybody who reads it. There is no way back.`)) return;
    await del(at);
    say(`Topic ${name} is deleted.`);
    location.hash = '#/topics';
  };
  view.draw(
    title(name, h('a.button', { href: '#/tail/' + encodeURIComponent(name) }, 'Live tail'), h('a.button', { href: '#/produce?topic=' + encodeURIComponent(name) }, 'Produce'),
      button('Delete', remove, { kind: 'danger' })),
    h('p', link('#/topics', 'All topics')),
    stats(stat('Partitions', count(t.partitions.length)), stat('Replicas', count(t.replication)), stat('Offsets', count(t.records), 'between beginning and end'),
      stat('State', t.troubled ? badge(`${count(t.troubled)} lack a replica`, 'bad') : badge('well', 'good')), t.masked && stat('Values', badge('masked', 'warn'))),
    tabs([
      ['messages', 'Messages', () => messages(view, t)],
      ['partitions', 'Partitions', () => partitions(t)],
      ['settings', 'Settings', () => settings(t)],
      ['consumers', 'Consumers', () => later(() => consumers(view, name))],
    ], view.q.get('tab') || 'messages', (tab) => view.set({ tab: tab === 'messages' ? null : tab })));
}

function partitions(t) {
  return h('div', table([
    { name: 'Partition', of: (p) => p.partition, number: true },
    { name: 'Leader', of: (p) => (p.leader < 0 ? badge('none', 'bad') : p.leader), number: true },
    { name: 'Replicas', of: (p) => p.replicas.join(', ') },
    { name: 'In sync', of: (p) => (p.in_sync.length < p.replicas.length ? badge(`${p.in_sync.length} of ${p.replicas.length}`, 'bad') : p.in_sync.join(', ')) },
    { name: 'First offset', of: (p) => count(p.start), number: true },
    { name: 'Next offset', of: (p) => count(p.end), number: true },
    { name: 'Offsets', of: (p) => count(p.end - p.start), number: true },
  ], t.partitions, { caption: 'Partitions', complete: true }), commands({ curl: { path: path`/klamm/v1/topics/${t.topic}` }, klamm: 'topic show ' + shell(t.topic) }));
}

function settings(t) {
  return h('div', table([
    { name: 'Setting', of: (s) => h('span.mono', s.name) },
    { name: 'Value', of: (s) => (s.value === null ? h('span.dim', 'not shown') : h('span.mono', s.value)), wide: true },
    { name: 'Where from', of: (s) => (s.default ? 'default' : badge('set', 'good')) },
  ], [...t.settings].sort((a, b) => a.default - b.default), { caption: 'Settings, those that somebody has made first', complete: true, none: 'You may not see the settings of this topic.' }),
  commands({ curl: { path: path`/klamm/v1/topics/${t.topic}` }, klamm: `topic show ${shell(t.topic)} --all` }));
}

async function consumers(view, name) {
  const at = query('/klamm/v1/groups', { topic: name, limit: 1000 });
  const { groups, next } = await get(at, view.signal);
  return [table([
    { name: 'Group', of: (g) => g.group },
    { name: 'State', of: (g) => badge(g.state.toLowerCase().replaceAll('_', ' '), g.state === 'STABLE' ? 'good' : 'dull') },
    { name: 'Members', of: (g) => count(g.members), number: true },
    { name: 'Behind, of all its topics', of: (g) => count(g.lag), number: true },
  ], groups, { caption: 'Groups that have committed offsets here', href: (g) => '#/groups/' + encodeURIComponent(g.group), complete: !next,
    none: 'No group has committed an offset of this topic.' }),
  commands({ curl: { path: at } })];
}

// fromOf says in the words of the API where to begin, and kindOf which way of the form
// that is.
const kindOf = (from) => (!from || from.startsWith('end-') ? 'newest' : from === 'beginning' ? 'beginning' : /^\d+$/.test(from) ? 'offset' : from.startsWith('v1:') ? 'places' : 'time');
const local = (iso) => { const d = new Date(iso); return Number.isNaN(d.getTime()) ? '' : new Date(d.getTime() - d.getTimezoneOffset() * 60000).toISOString().slice(0, 19); };

function messages(view, t) {
  const q = view.q;
  const kind = field('Begin with', { value: kindOf(q.get('from')), options: [['newest', 'the newest'], ['beginning', 'the oldest'], ['time', 'a time'], ['offset', 'an offset']], onchange: () => fit() });
  const at = field('Time', { type: 'datetime-local', value: kindOf(q.get('from')) === 'time' ? local(q.get('from')) : local(Date.now() - 3600e3) });
  at.input.step = 1;
  const until = field('Until (may be empty)', { type: 'datetime-local', value: q.get('until') && kindOf(q.get('until')) === 'time' ? local(q.get('until')) : '' });
  until.input.step = 1;
  const offset = field('Offset', { type: 'number', value: kindOf(q.get('from')) === 'offset' ? q.get('from') : '0' });
  const last = (q.get('from') || '').startsWith('end-') ? q.get('from').slice(4) : '';
  const depths = ['1000', '10000', '100000', '1000000'];
  if (last && !depths.includes(last)) depths.push(last);
  const depth = field('Look at the last', { value: last, options: [['', 'as many as are shown'], ...depths.map((n) => [n, count(n) + ' of each partition'])] });
  const partition = field('Partition', { value: q.get('partition') || '', options: [['', 'all'], ...t.partitions.slice(0, 1000).map((p) => [p.partition, p.partition])] });
  const key = field('Key', { value: q.get('key'), placeholder: 'exactly, or with * and ?' });
  const limit = field('At most', { value: q.get('limit') || '100', options: ['1', '20', '100', '500', '2000', '10000'].includes(q.get('limit') || '100') ? ['1', '20', '100', '500', '2000', '10000'] : [q.get('limit'), '100', '10000'] });
  const pattern = field('Event pattern', { value: q.get('pattern'), rows: 2, placeholder: '{"value": {"amount": [{"numeric": [">", 100]}]}}', hint: 'Sees topic, partition, offset, timestamp, key, headers and value.' });
  const fit = () => {
    at.hidden = kind.input.value !== 'time';
    until.hidden = kind.input.value !== 'time';
    offset.hidden = kind.input.value !== 'offset';
    depth.hidden = kind.input.value !== 'newest';
  };
  fit();

  const result = h('div');
  const terminal = h('div');
  let unmask = false;
  let running = null;
  const parameters = () => {
    const from = { newest: depth.input.value === '' ? null : 'end-' + depth.input.value, beginning: 'beginning', time: at.input.value ? new Date(at.input.value).toISOString() : 'beginning', offset: offset.input.value || '0' }[kind.input.value];
    return {
      from, until: kind.input.value === 'time' && until.input.value ? new Date(until.input.value).toISOString() : null,
      partition: partition.input.value, key: key.input.value, pattern: pattern.input.value.trim(), limit: limit.input.value === '100' ? null : limit.input.value,
    };
  };
  const start = async () => {
    const p = parameters();
    view.set(p);
    put(terminal, commands(terminalOf(t.topic, p, kind.input.value, unmask)));
    await run(p, kind.input.value === 'newest');
  };

  // run searches and shows what is found; more goes on with what was found before.
  const run = async (p, newest, before) => {
    if (running) running.abort();
    const mine = running = new AbortController();
    const stop = () => mine.abort();
    view.signal.addEventListener('abort', stop, { once: true });
    const found = before ? before.found : [];
    const bar = h('progress', { max: 1, value: 0, 'aria-label': 'How far the search has come' });
    const said = h('span', { role: 'status' }, 'Searching…');
    const head = h('div.progress', bar, said, button('Cancel', stop));
    const shown = before ? before.shown : recordTable(`Messages of ${t.topic}`);
    const foot = h('div');
    put(result, head, shown, foot);
    let end = null;
    let drawn = before ? before.drawn : 0;
    let upTo = drawn + page;
    const draw = () => {
      const next = found.slice(drawn, Math.min(found.length, upTo));
      shown.grow(...next);
      drawn += next.length;
    };
    let due = false;
    const soon = () => {
      if (due) return;
      due = true;
      setTimeout(() => { due = false; draw(); }, 100);
    };
    const footer = () => {
      const rest = found.length - drawn;
      const words = mine.signal.aborted ? `Cancelled after ${count(found.length)} messages.`
        : end.complete && !rest ? `${found.length ? `All ${count(found.length)}` : 'Nothing'} in what was looked at (${count(end.scanned)} offsets).`
          : `${count(drawn)} of ${end.complete ? '' : 'the first '}${count(found.length)} messages${end.complete ? '' : ' found; there may be more'}. ${count(end.scanned)} offsets were looked at.`;
      put(foot, h('p.complete', { role: 'status' }, words, ' ',
        rest > 0 && button('Show more', () => { upTo = drawn + page; draw(); footer(); }),
        !rest && end && end.next && button(newest ? 'Look at older ones' : 'Look further', () => run({ ...p, ...(newest ? { until: end.next } : { from: end.next }) }, newest, { found, shown, drawn }))),
      !t.masked && !unmask && found.some((r) => r.value_form === 'masked') && notice('warn', h('strong', 'Some values are masked. '), 'They are dead letters of topics whose values are not for everybody’s eyes. ',
        button('Show values', async () => { unmask = true; await start(); }), ' That is noted in the audit log.'),
      found.length > 0 && h('div.acts', exportButtons(t.topic, () => found)),
      !found.length && empty(p.key || p.pattern ? 'Nothing was found. Look at more of the topic, or with a wider filter.' : ['There are no messages here. ', link(`#/produce?topic=${encodeURIComponent(t.topic)}`, 'Produce one'), '.']));
    };
    try {
      await search(t.topic, { ...p, unmask }, {
        record: (r) => { found.push(r); if (drawn < upTo) soon(); },
        progress: (s) => { bar.max = s.of || 1; bar.value = s.scanned; put(said, `Looked at ${count(s.scanned)} of ${count(s.of)} offsets, found ${count(s.found)}`); },
        end: (e) => { end = e; },
      }, mine.signal);
      if (!end) throw new Error('The search broke off.');
    } catch (e) {
      if (view.signal.aborted || mine !== running) return;
      if (e.name !== 'AbortError') { put(result, problem(e), found.length ? shown : null); return; }
      end = { complete: false, scanned: 0 };
    }
    if (mine !== running) return;
    head.remove();
    draw();
    footer();
  };

  const f = form([h('div.filters', kind, depth, at, until, offset, partition, key, limit), pattern], 'Search', start);
  start();
  return h('div',
    t.masked && notice('warn', h('strong', 'Values are masked. '), 'The configuration says that the values of this topic are not for everybody’s eyes. ',
      button('Show values', async (e) => { unmask = true; e.currentTarget.hidden = true; await start(); }), ' That is noted in the audit log.'),
    section(null, f), result, terminal);
}

function terminalOf(topic, p, kind, unmask) {
  const where = { newest: `-o -${p.limit || 100}`, beginning: '-o beginning', time: `-o s@${Date.parse(p.from)}` + (p.until ? ` -o e@${Date.parse(p.until)}` : ''), offset: '-o ' + p.from }[kind];
  const exact = !p.key && !p.pattern && !p.from?.startsWith('end-');
  return {
    curl: { path: query(path`/klamm/v1/topics/${topic}/records`, { ...p, unmask }) },
    klamm: exact ? `consume -t ${shell(topic)} ${where} -e${p.partition ? ' -p ' + p.partition : ''}${kind === 'newest' ? '' : ' -c ' + (p.limit || 100)} -J` : undefined,
  };
}
