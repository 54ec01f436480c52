// Consumers and groups: who holds what, and how far it is behind; seek with a dry run.
import { h, put } from '../dom.js';
import { get, post, del, path, query } from '../api.js';
import { badge, button, commands, confirmName, empty, field, form, link, notice, problem, say, section, stat, stats, table, tabs, title } from '../ui.js';
import { ago, count, shell, span } from '../format.js';

export async function show(view) {
  const [group] = view.parts;
  await (group === undefined ? lists(view) : one(view, group));
}

const page = 100;
const to = (g) => '#/groups/' + encodeURIComponent(g);
const state = (s) => badge(s.toLowerCase().replaceAll('_', ' '), { STABLE: 'good', EMPTY: 'dull', DEAD: 'bad' }[s] || 'warn');
const topicLink = (t) => link('#/topics/' + encodeURIComponent(t), t);

async function lists(view) {
  view.draw(title('Consumers and groups'), tabs([
    ['groups', 'Groups', () => groups(view)],
    ['instances', 'REST consumers', () => instances(view)],
  ], view.q.get('tab') || 'groups', (tab) => view.set({ tab: tab === 'groups' ? null : tab })));
}

// paged is a list with a filter for the beginning of names that shows a page after the
// other. of gives the rows and the next place of an answer.
function paged(view, { label, api, of, draw, terminal }) {
  const box = h('div', h('p.dim', 'Loading…'));
  let rows = [];
  let turn = 0;
  const load = async (after) => {
    const mine = ++turn;
    const got = await get(query(api, { prefix: view.q.get('prefix'), after, limit: page }), view.signal);
    if (mine !== turn) return;
    rows = after === undefined ? of(got) : rows.concat(of(got));
    put(box, draw(rows, got.next === undefined, () => load(got.next)), commands(terminal(view.q.get('prefix'))));
  };
  const start = () => load().catch((e) => e.name !== 'AbortError' && put(box, problem(e)));
  let typing;
  const prefix = field(label, { value: view.q.get('prefix'), type: 'search', oninput: (v) => {
    view.set({ prefix: v });
    clearTimeout(typing);
    typing = setTimeout(start, 200);
  } });
  start();
  return h('div', h('div.filters', prefix, button('Look again', () => load())), box);
}

const groups = (view) => paged(view, {
  label: 'Group begins with', api: '/klamm/v1/groups', of: (a) => a.groups,
  draw: (rows, complete, more) => table([
    { name: 'Group', of: (g) => g.group },
    { name: 'State', of: (g) => state(g.state) },
    { name: 'Members', of: (g) => count(g.members), number: true },
    { name: 'Behind', of: (g) => (g.topics.length ? count(g.lag) : h('span.dim', 'nothing committed')), number: true },
    { name: 'Topics', of: (g) => (g.topics.length ? [g.topics.slice(0, 5).map((t, i) => [i ? ', ' : '', topicLink(t)]), g.topics.length > 5 && ` and ${g.topics.length - 5} more`] : h('span.dim', 'none')), wide: true },
  ], rows, { caption: 'Consumer groups', complete, more, href: (g) => to(g.group),
    none: view.q.get('prefix') ? empty('No group’s name begins so.') : empty('There are no consumer groups yet. A pipe makes one, and so does ', h('code', 'klamm consume -G GROUP TOPIC'), '.') }),
  terminal: (prefix) => ({ curl: { path: query('/klamm/v1/groups', { prefix, limit: page }) }, klamm: 'group list' + (prefix ? ' ' + shell(prefix) : '') }),
});

const instances = (view) => paged(view, {
  label: 'Group begins with', api: '/klamm/v1/instances', of: (a) => a.instances,
  draw: (rows, complete, more) => table([
    { name: 'Instance', of: (i) => i.instance },
    { name: 'Group', of: (i) => link(to(i.group), i.group) },
    { name: 'Made by', of: (i) => i.owner || '–' },
    { name: 'Reads', of: (i) => (i.pattern ? [badge('pattern'), ' ', i.pattern] : i.topics.length ? i.topics.map((t, n) => [n ? ', ' : '', topicLink(t)]) : i.by_hand ? badge('assigned by hand') : h('span.dim', 'nothing yet')) },
    { name: 'Holds', of: (i) => (i.partitions.length ? places(i.partitions) : h('span.dim', 'nothing')), wide: true },
    { name: 'Process', of: (i) => (i.alive ? [i.address || (i.here ? 'this one' : i.process), i.here && i.address ? ' (this one)' : ''] : badge(i.process ? 'gone; the next call moves it' : 'none; the next call finds one', 'warn')) },
    { name: 'Lives until', of: (i) => (i.expires ? [span(Math.max(0, (new Date(i.expires) - Date.now()) / 1000)), h('div.dim', `last called ${ago(i.used)}`)] : `${span(i.idle_seconds)} without a call`) },
  ], rows, { caption: 'Consumer instances, which take part in groups by HTTP', complete, more,
    none: empty('Nobody reads through REST consumers now. ', h('code', 'POST /consumers/{group}'), ' makes one.') }),
  terminal: (prefix) => ({ curl: { path: query('/klamm/v1/instances', { prefix, limit: page }) } }),
});

// places writes partitions as "orders 0–3, 7".
function places(all) {
  const by = new Map();
  for (const p of all) by.set(p.topic, [...(by.get(p.topic) || []), p.partition]);
  return [...by].map(([topic, partitions], n) => {
    partitions.sort((a, b) => a - b);
    const runs = [];
    for (const p of partitions) {
      const last = runs.at(-1);
      if (last && last[1] === p - 1) last[1] = p; else runs.push([p, p]);
    }
    return [n ? '; ' : '', topicLink(topic), ' ', runs.map(([a, b]) => (a === b ? a : `${a}–${b}`)).join(', ')];
  });
}

async function one(view, name) {
  const at = path`/klamm/v1/groups/${name}`;
  const top = h('div');
  const body = h('div');
  const remove = async () => {
    if (!await confirmName('Delete the group', name, `Group ${name} and its committed offsets are lost. Who joins it again begins as if it had never read.`)) return;
    await del(at);
    say(`Group ${name} is deleted.`);
    location.hash = '#/groups';
  };
  let shown = view.q.get('tab') || 'partitions';
  let g = await get(at, view.signal);
  const draw = () => {
    const ages = g.partitions.map((p) => p.lag_seconds).filter((s) => s !== null);
    put(top, stats(stat('State', state(g.state), g.type.toLowerCase()), stat('Members', count(g.members.length)), g.partitions.some((p) => p.committed !== null) ? stat('Behind', count(g.lag), 'records') : stat('Behind', '–', 'nothing is committed yet'),
      stat('Behind in time', ages.length ? span(Math.max(...ages)) : '–', 'age of the oldest unread record')));
    const tables = {
      partitions: () => table([
        { name: 'Topic', of: (p) => topicLink(p.topic) },
        { name: 'Partition', of: (p) => p.partition, number: true },
        { name: 'Committed', of: (p) => (p.committed === null ? '–' : link(`#/topics/${encodeURIComponent(p.topic)}?partition=${p.partition}&from=${p.committed}`, count(p.committed))), number: true },
        { name: 'End', of: (p) => (p.end === null ? '–' : count(p.end)), number: true },
        { name: 'Behind', of: (p) => (p.lag === null ? '–' : count(p.lag)), number: true },
        { name: 'In time', of: (p) => span(p.lag_seconds === null ? undefined : p.lag_seconds), number: true },
        { name: 'Held by', of: (p) => p.holder || h('span.dim', 'nobody') },
      ], g.partitions.slice(0, upTo), { caption: 'Partitions', complete: g.partitions.length <= upTo, more: async () => { upTo += page; draw(); }, none: 'The group has committed nothing, and has no members.' }),
      members: () => table([
        { name: 'Client', of: (m) => m.client_id || '–' },
        { name: 'Host', of: (m) => m.host || '–' },
        { name: 'Holds', of: (m) => (m.partitions.length ? places(m.partitions) : h('span.dim', 'nothing')), wide: true },
        { name: 'Member', of: (m) => h('span.mono', m.instance_id || m.id) },
      ], g.members.slice(0, upTo), { caption: 'Members', complete: g.members.length <= upTo, more: async () => { upTo += page; draw(); }, none: 'Nobody takes part in the group now.' }),
    };
    if (tables[shown]) put(body, tables[shown]());
  };
  let upTo = page;
  const tab = (id) => () => {
    shown = id;
    upTo = page;
    if (id === 'seek') put(body, seek(name, g)); else draw();
    return body;
  };
  view.draw(title(name, button('Delete', remove, { kind: 'danger' })), h('p', link('#/groups', 'All groups')), top,
    tabs([['partitions', 'Partitions', tab('partitions')], ['members', 'Members', tab('members')], ['seek', 'Go on elsewhere', tab('seek')]], shown, (id) => view.set({ tab: id === 'partitions' ? null : id })),
    commands({ curl: { path: at }, klamm: 'group show ' + shell(name) }));
  draw();
  await view.sleep(5);
  await view.every(5, async () => {
    g = await get(at, view.signal);
    draw();
  });
}

// seek is the form for letting a group go on elsewhere: what it would do is shown first.
function seek(name, g) {
  const topics = [...new Set(g.partitions.map((p) => p.topic))];
  const topic = topics.length ? field('Topic', { options: topics }) : field('Topic', { required: true });
  const kind = field('Go on', { options: [['beginning', 'at the beginning'], ['end', 'at the end'], ['time', 'at a time'], ['offset', 'at an offset'], ['shift', 'so many offsets from here']], onchange: () => fit() });
  const when = field('Time', { type: 'datetime-local', value: new Date(Date.now() - new Date().getTimezoneOffset() * 60000 - 3600e3).toISOString().slice(0, 19) });
  when.input.step = 1;
  const offset = field('Offset', { type: 'number', value: '0' });
  const by = field('Offsets, such as -10 or 10', { type: 'number', value: '-1' });
  const partitions = field('Partitions', { placeholder: 'all; or such as 0, 3', pattern: '[0-9, ]*' });
  const fit = () => {
    when.hidden = kind.input.value !== 'time';
    offset.hidden = kind.input.value !== 'offset';
    by.hidden = kind.input.value !== 'shift';
  };
  fit();
  const out = h('div');
  const ask = () => {
    const where = { beginning: () => 'beginning', end: () => 'end', time: () => new Date(when.input.value).toISOString(), offset: () => String(Math.max(0, Number(offset.input.value))), shift: () => (Number(by.input.value) < 0 ? '' : '+') + Number(by.input.value) }[kind.input.value]();
    const chosen = partitions.input.value.split(',').map((p) => p.trim()).filter(Boolean).map(Number);
    return { topic: topic.input.value, to: where, ...(chosen.length ? { partitions: chosen } : {}) };
  };
  const at = path`/klamm/v1/groups/${name}/seek`;
  const line = (body, execute) => ({
    curl: { method: 'POST', path: at, body: execute ? { ...body, dry_run: false } : body },
    klamm: `group reset ${shell(name)} --topic ${shell(body.topic)} --to=${shell(body.to)}${body.partitions ? ' --partitions ' + body.partitions.join(',') : ''}${execute ? ' --execute' : ''}`,
  });
  const moves = (got) => table([
    { name: 'Topic', of: (m) => topicLink(m.topic) },
    { name: 'Partition', of: (m) => m.partition, number: true },
    { name: 'From', of: (m) => (m.from === null ? h('span.dim', 'nothing committed') : count(m.from)), number: true },
    { name: 'To', of: (m) => link(`#/topics/${encodeURIComponent(m.topic)}?partition=${m.partition}&from=${m.to}`, count(m.to)), number: true },
    { name: 'Behind then', of: (m) => count(m.lag), number: true },
    { name: '', of: (m) => (m.from === null ? '' : m.to < m.from ? badge(`${count(m.from - m.to)} again`, 'warn') : m.to > m.from ? badge(`${count(m.to - m.from)} passed over`, 'warn') : badge('as it is')) },
  ], got.moves, { caption: got.dry_run ? 'What would be moved' : 'What was moved', complete: true, none: 'There is nothing to move.' });
  const f = form([h('div.filters', topic, kind, when, offset, by, partitions)], 'Show what it would do', async () => {
    const body = ask();
    put(out);
    const got = await post(at, body);
    put(out, section('Dry run', moves(got), got.moves.length > 0 && h('div.acts', button('Move it', async () => {
      if (!await confirmName('Move the group', name, `Group ${name} goes on at these offsets. What is passed over is not read; what was read is read again.`)) return;
      try {
        const done = await post(at, { ...body, dry_run: false });
        say(`Group ${name} goes on elsewhere.`);
        put(out, section('Done', moves(done)));
      } catch (e) { put(out, problem(e)); }
    }, { kind: 'danger' })), commands(line(body, true))));
  });
  return h('div', section(null, g.members.length > 0 && notice('warn', `The group has ${g.members.length === 1 ? 'a member' : count(g.members.length) + ' members'}, and can be moved when there is none: until then each goes on where it is.`), f), out);
}
