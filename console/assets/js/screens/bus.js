// Event buses: rules with their matches, targets with their state, events that nothing
// matched, archives and replays. Definitions come from the EventBridge API, counts from
// klamm's own.
import { h, put } from '../dom.js';
import { get, aws, path, query } from '../api.js';
import { title, section, button, link, badge, stat, stats, notice, problem, empty, pre, pairs, table, field, form, commands, terminal, tabs, ask, confirm, say } from '../ui.js';
import { count, bytes, time, ago, rate, shell, only, begins } from '../format.js';
import { stateBadge, pretty, local } from './pipes.js';

const headers = (operation) => ({ 'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': 'AWSEvents.' + operation });
const curlOf = (operation, body) => ({ method: 'POST', path: '/', body, headers: headers(operation) });
const moment = (seconds) => (seconds > 0 ? time(seconds * 1000) : '–');
const epoch = (value) => Math.floor(new Date(value).getTime() / 1000);

export async function show(view) {
  const [name, kind, which] = view.parts;
  if (name === undefined) return list(view);
  if (kind === 'rules' && which) return rule(view, name, which);
  return bus(view, name);
}

// pages reads a list of the EventBridge API, one page more each time.
async function pages(operation, ask, member, most, signal) {
  const all = [];
  let token;
  do {
    const page = await aws(operation, { ...ask, Limit: Math.min(100, most - all.length), ...(token && { NextToken: token }) }, signal);
    all.push(...(page[member] || []));
    token = page.NextToken;
  } while (token && all.length < most);
  return { all, more: !!token };
}

async function list(view) {
  const { q } = view;
  const body = h('div');
  const [same, tell] = terminal();
  let most = Number(q.get('limit')) || 100;
  let turn = 0;
  const load = async () => {
    const mine = ++turn;
    const prefix = q.get('search') ? { NamePrefix: q.get('search') } : {};
    const { all, more } = await pages('ListEventBuses', prefix, 'EventBuses', most, view.signal);
    if (mine !== turn) return; // another one is on its way, or was faster
    tell({ curl: curlOf('ListEventBuses', { ...prefix, Limit: 100 }), klamm: only('bus list', begins('Name', q.get('search'))) });
    put(body, table([
      { name: 'Bus', of: (b) => b.Name }, { name: 'Description', of: (b) => b.Description || '' },
      { name: 'Made', of: (b) => moment(b.CreationTime) }, { name: 'Changed', of: (b) => moment(b.LastModifiedTime) },
    ], all, { caption: 'Event buses', complete: !more, more: more ? () => { most += 100; view.set({ limit: most }); return load(); } : null, href: (b) => '#/bus/' + encodeURIComponent(b.Name), none: empty('No bus has a name that begins so.') }));
  };
  let typing;
  view.draw(title('Event buses'),
    h('div.filters', field('Name begins with', { type: 'search', value: q.get('search'), oninput: (v) => { clearTimeout(typing); typing = setTimeout(() => { most = 100; view.set({ search: v, limit: null }); load().catch((e) => { if (e.name !== 'AbortError') put(body, problem(e)); }); }, 250); } })),
    body, same);
  await load();
}

async function bus(view, name) {
  const top = h('div', h('p', 'Loading…'));
  const listeners = new Set();
  let look;
  let before;
  const refresh = async () => {
    try {
      const got = await get(path`/klamm/v1/buses/${name}`, view.signal);
      got.read = performance.now();
      before = look;
      look = got;
      const sum = (of, k) => of.reduce((n, r) => n + r[k], 0);
      const per = before && (look.read - before.read) / 1000;
      put(top,
        look.problem && notice('bad', h('strong', 'The bus cannot be read: '), look.problem),
        stats(
          stat('Matches', count(sum(look.rules, 'matched')), before ? rate((sum(look.rules, 'matched') - sum(before.rules, 'matched')) / per) : 'of rules'),
          stat('Matched by no rule', count(look.unmatched), before ? rate((look.unmatched - before.unmatched) / per) : 'events'),
          stat('Given up', count(sum(look.rules, 'failed')), 'calls of targets that failed for good'),
          stat('Targets', count(look.targets.filter((t) => t.rule).length), `${count(look.targets.filter((t) => t.down || t.reason).length)} in trouble`)),
        h('p.dim', 'Counted ', look.process ? `by process ${look.process}` : 'here', look.started ? ` since ${time(look.started)}` : ' since klamm was started', '; events lie in topic ', link('#/topics/' + encodeURIComponent(look.topic), look.topic), '.'));
      for (const f of listeners) f();
    } catch (e) { if (e.name !== 'AbortError') put(top, problem(e)); }
  };
  const live = (draw) => {
    const box = h('div', h('p', 'Loading…'));
    const act = () => { if (look) draw(box, look); };
    listeners.clear();
    listeners.add(act);
    act();
    return box;
  };
  view.draw(h('p', link('#/bus', '← All buses')), title('Bus ' + name), top,
    tabs([
      ['rules', 'Rules', () => rules(view, name, live)],
      ['unmatched', 'Unmatched events', () => h('div', live((box, l) => unmatched(box, l, name)), commands({ curl: { path: path`/klamm/v1/buses/${name}` }, klamm: `bus tail ${shell(name)} --follow` }))],
      ['put', 'Put an event', () => putEvent(view, name)],
      ['archives', 'Archives and replays', () => archives(view, name)],
    ], view.q.get('tab') || 'rules', (tab) => view.set({ tab })));
  view.every(5, refresh);
}

// rules lists the rules of a bus with what they matched.
function rules(view, name, live) {
  const box = h('div');
  let found = { all: [], more: false };
  const [same, tell] = terminal();
  let most = 100;
  let counted = new Map();
  const draw = () => put(box, table([
    { name: 'Rule', of: (r) => [r.Name, r.Description && h('div.dim', r.Description)] },
    { name: 'State', of: (r) => (r.State === 'DISABLED' ? badge('❚❚ disabled', 'warn') : badge('● enabled', 'good')) },
    { name: 'When', wide: true, of: (r) => [r.ScheduleExpression && h('div', h('code', r.ScheduleExpression)), r.EventPattern && h('code', r.EventPattern.length > 160 ? r.EventPattern.slice(0, 160) + '…' : r.EventPattern)] },
    { name: 'Matched', number: true, of: (r) => of(r, 'matched') },
    { name: 'Delivered', number: true, of: (r) => of(r, 'succeeded') },
    { name: 'Retries', number: true, of: (r) => of(r, 'retries') },
    { name: 'Given up', number: true, of: (r) => of(r, 'failed') },
  ], found.all, {
    caption: 'Rules', complete: !found.more, href: (r) => `#/bus/${encodeURIComponent(name)}/rules/${encodeURIComponent(r.Name)}`,
    more: found.more ? () => { most += 100; return load(); } : null,
    none: view.q.get('rule') ? empty('No rule has a name that begins so.') : empty('There is no rule on this bus. Make one with the AWS command line or an SDK (', h('code', 'aws events put-rule'), '), and try its pattern in the ', link('#/sandbox?on=bus&bus=' + encodeURIComponent(name), 'sandbox'), ' first.'),
  }));
  const of = (r, k) => { const c = counted.get(r.Name); return c ? count(c[k]) + (c.shared ? ' *' : '') : '0'; };
  const load = async () => {
    const prefix = view.q.get('rule') ? { NamePrefix: view.q.get('rule') } : {};
    tell({ curl: curlOf('ListRules', { EventBusName: name, ...prefix, Limit: 100 }), klamm: only('rule list ' + shell(name), begins('Name', view.q.get('rule'))) });
    try {
      found = await pages('ListRules', { EventBusName: name, ...prefix }, 'Rules', most, view.signal);
      draw();
    } catch (e) { if (e.name !== 'AbortError') put(box, problem(e)); }
  };
  let typing;
  load();
  return h('div', h('div.filters', field('Name begins with', { type: 'search', value: view.q.get('rule'), oninput: (v) => { clearTimeout(typing); typing = setTimeout(() => { view.set({ rule: v }); load(); }, 250); } })),
    box, live((quiet, l) => { put(quiet); counted = new Map(l.rules.map((r) => [r.rule, r])); if (found.all.length) draw(); }),
    same);
}

function unmatched(box, l, name) {
  if (box.querySelector('details[open]')) return;
  put(box, l.withheld ? notice('warn', 'The topic of the bus is masked, or you may not read it: events are not shown.') : null,
    table([
      { name: 'Taken in', of: (s) => [time(s.at), h('div.dim', ago(s.at))] },
      { name: 'Source', of: (s) => member(s.event, 'source') }, { name: 'Detail type', of: (s) => member(s.event, 'detail-type') },
      { name: 'Event', wide: true, of: (s) => h('details', h('summary', `${bytes(s.size)}, offset ${s.offset} of partition ${s.partition}`), pre(pretty(s.event)),
        h('a.button', { href: '#/sandbox?' + new URLSearchParams({ on: 'event', event: s.event }) }, 'Try a pattern on it')) },
    ], [...l.samples].reverse(), { caption: 'Events that no rule matched, the newest first', note: `${count(l.unmatched)} since klamm was started; the latest ${count(l.samples.length)} samples, at most ten a second.`,
      none: empty(l.unmatched ? `${count(l.unmatched)} events matched no rule; none of them is kept.` : ['Every event has matched a rule so far, or none was put on ', name, ' since klamm was started.']) }));
}

function member(text, name) {
  try { return JSON.parse(text)[name] || ''; } catch { return ''; }
}

// putEvent puts an event on the bus.
function putEvent(view, name) {
  const source = field('Source', { value: view.q.get('source') || 'my.app', required: true });
  const type = field('Detail type', { value: view.q.get('type') || 'test', required: true });
  const detail = field('Detail, a JSON object', { value: '{"n": 1}', rows: 8, required: true });
  const resources = field('Resources, one a line', { rows: 2 });
  const said = h('div', { role: 'status' });
  const entry = () => ({ EventBusName: name, Source: source.input.value, DetailType: type.input.value, Detail: detail.input.value,
    ...(resources.input.value.trim() && { Resources: resources.input.value.split('\n').map((l) => l.trim()).filter(Boolean) }) });
  return h('div', form([h('div.grid2', h('div', source, type), h('div', resources)), detail], 'Put it on the bus', async () => {
    const [e] = (await aws('PutEvents', { Entries: [entry()] }, view.signal)).Entries;
    put(said, e.ErrorCode ? notice('bad', h('strong', e.ErrorCode), ' ', e.ErrorMessage) : notice('good', h('strong', 'It is on the bus'), ', as ', h('code', e.EventId), '.'));
  }), said, commands({ curl: curlOf('PutEvents', { Entries: [entry()] }), klamm: `bus put ${shell(name)} --source ${shell(source.input.value)} --detail-type ${shell(type.input.value)} --detail ${shell(detail.input.value)}` }));
}

async function rule(view, name, which) {
  const r = await aws('DescribeRule', { Name: which, EventBusName: name }, view.signal);
  const { Targets: targets } = await aws('ListTargetsByRule', { Rule: which, EventBusName: name }, view.signal);
  const numbers = h('div');
  const states = h('div');
  const enabled = r.State !== 'DISABLED';
  const load = async () => {
    try {
      const l = await get(query(path`/klamm/v1/buses/${name}`, { rules: which }), view.signal);
      const c = l.rules[0] || { matched: 0, invocations_created: 0, succeeded: 0, retries: 0, failed: 0, dead_lettered: 0, throttled: 0 };
      put(numbers, stats(stat('Matched', count(c.matched)), stat('Delivered', count(c.succeeded)), stat('Retries', count(c.retries)), stat('Given up', count(c.failed), c.dead_lettered ? `${count(c.dead_lettered)} in a dead-letter topic` : ''), stat('Throttled', count(c.throttled))),
        c.shared && h('p.dim', 'There are so many rules that this one is counted together with others.'));
      const by = new Map(l.targets.filter((t) => t.rule === which).map((t) => [t.target_id, t]));
      put(states, table([
        { name: 'Id', of: (t) => t.Id },
        { name: 'State', of: (t) => { const s = by.get(t.Id); return s ? [s.down ? badge('■ down', 'bad') : stateBadge(s.state), s.reason && h('div.dim', s.reason)] : h('span.dim', 'not running here'); } },
        { name: 'Target', wide: true, of: (t) => h('code', t.Arn) },
        { name: 'Waiting', number: true, of: (t) => count(by.get(t.Id)?.held || 0) },
        { name: 'Gets', wide: true, of: (t) => (t.Input ? ['always ', h('code', t.Input)] : t.InputPath ? h('code', t.InputPath) : t.InputTransformer ? h('details', h('summary', 'an input transformer'), pre(t.InputTransformer)) : 'the event') },
      ], targets || [], { caption: 'Targets', complete: true, none: empty('The rule has no target: it matches, and nothing follows. ', h('code', 'aws events put-targets'), ' gives it one.') }));
    } catch (e) { if (e.name !== 'AbortError') put(numbers, problem(e)); }
  };
  view.draw(h('p', link('#/bus/' + encodeURIComponent(name), '← Bus ' + name)),
    title('Rule ' + which,
      button(enabled ? 'Disable' : 'Enable', async () => {
        if (enabled && !await confirm('Disable ' + which, 'Events that come meanwhile are not for its targets.')) return;
        await aws(enabled ? 'DisableRule' : 'EnableRule', { Name: which, EventBusName: name });
        view.again();
      }),
      r.EventPattern && h('a.button', { href: '#/sandbox?' + new URLSearchParams({ on: 'bus', bus: name, since: '1h', pattern: r.EventPattern }) }, 'Try it on the last hour')),
    section(null, pairs([['State', enabled ? badge('● enabled', 'good') : badge('❚❚ disabled', 'warn')], r.Description && ['Description', r.Description], r.ScheduleExpression && ['Schedule', h('code', r.ScheduleExpression)], ['ARN', h('code', r.Arn)]]), r.EventPattern && [h('h3', 'Pattern'), pre(pretty(r.EventPattern))]),
    numbers, section('Targets', states),
    commands({ curl: curlOf('DescribeRule', { Name: which, EventBusName: name }), klamm: `bus explain ${shell(name)} --event @event.json --rule ${shell(which)}` }));
  view.every(5, load);
}

// archives shows what is kept of a bus, and what was put on it again.
function archives(view, name) {
  const box = h('div', h('p', 'Loading…'));
  const load = async () => {
    try {
      const arn = (await aws('DescribeEventBus', { Name: name }, view.signal)).Arn;
      const found = await pages('ListArchives', { EventSourceArn: arn }, 'Archives', 200, view.signal);
      const again = await pages('ListReplays', {}, 'Replays', 200, view.signal);
      const mine = new Set(found.all.map((a) => arn.replace(/:event-bus\/.*/, ':archive/' + a.ArchiveName)));
      const replays = again.all.filter((r) => mine.has(r.EventSourceArn));
      put(box,
        section('Archives', table([
          { name: 'Archive', of: (a) => a.ArchiveName }, { name: 'State', of: (a) => badge(a.State === 'ENABLED' ? '● enabled' : a.State.toLowerCase(), a.State === 'ENABLED' ? 'good' : 'warn') },
          { name: 'Events', number: true, of: (a) => count(a.EventCount) }, { name: 'Size', number: true, of: (a) => bytes(a.SizeBytes) },
          { name: 'Kept', of: (a) => (a.RetentionDays ? a.RetentionDays + ' days' : 'for ever') }, { name: 'Made', of: (a) => moment(a.CreationTime) },
          { name: '', of: (a) => button('Replay', () => replay(view, name, arn, a, load)) },
        ], found.all, { caption: 'Archives of this bus', complete: !found.more, none: empty('Nothing of this bus is archived. ', button('Make an archive', () => archive(name, arn, load))) }),
        found.all.length > 0 && h('div.acts', button('Make an archive', () => archive(name, arn, load)))),
        section('Replays', table([
          { name: 'Replay', of: (r) => r.ReplayName }, { name: 'State', of: (r) => [badge(r.State.toLowerCase(), { COMPLETED: 'good', FAILED: 'bad' }[r.State] || 'dull'), r.StateReason && h('div.dim', r.StateReason)] },
          { name: 'Events of', of: (r) => `${moment(r.EventStartTime)} to ${moment(r.EventEndTime)}` }, { name: 'Has come to', of: (r) => moment(r.EventLastReplayedTime) },
          { name: 'Began', of: (r) => moment(r.ReplayStartTime) },
          { name: '', of: (r) => ['STARTING', 'RUNNING'].includes(r.State) && button('Cancel', async () => { await aws('CancelReplay', { ReplayName: r.ReplayName }); await load(); }, { kind: 'danger' }) },
        ], replays, { caption: 'Replays of these archives', complete: !again.more, none: empty('Nothing was replayed from these archives.') })),
        commands({ curl: curlOf('ListArchives', { EventSourceArn: arn }) }));
    } catch (e) { if (e.name !== 'AbortError') put(box, problem(e)); }
  };
  view.every(10, load);
  return box;
}

async function archive(name, arn, load) {
  await ask('Make an archive', (done) => {
    const called = field('Name', { required: true, value: name.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 40) + '-archive' });
    const days = field('Days that events are kept', { type: 'number', value: '30', hint: '0: for ever.' });
    const pattern = field('Only events that match', { rows: 3, hint: 'An event pattern; empty: all.' });
    return form([h('p', 'It keeps events that are put from now on.'), called, days, pattern], 'Make it', async () => {
      await aws('CreateArchive', { ArchiveName: called.input.value, EventSourceArn: arn, RetentionDays: Number(days.input.value) || 0, ...(pattern.input.value.trim() && { EventPattern: pattern.input.value }) });
      say('It keeps events from now on.');
      done(true);
      await load();
    });
  });
}

async function replay(view, name, arn, a, load) {
  await ask('Replay ' + a.ArchiveName, (done) => {
    const from = field('Events from', { type: 'datetime-local', required: true, value: local(new Date(Date.now() - 3600e3)) });
    const to = field('To', { type: 'datetime-local', required: true, value: local(new Date()) });
    const called = field('Name of the replay', { required: true, value: `${a.ArchiveName.slice(0, 40)}-${Date.now().toString(36)}` });
    for (const f of [from, to]) f.input.step = 1;
    return form([h('p', `The archive has ${count(a.EventCount)} events. Those of this time are put on ${name} once more, and go to all rules that match them.`), from, to, called], 'Replay', async () => {
      await aws('StartReplay', { ReplayName: called.input.value, EventSourceArn: arn.replace(/:event-bus\/.*/, ':archive/' + a.ArchiveName), EventStartTime: epoch(from.input.value), EventEndTime: epoch(to.input.value), Destination: { Arn: arn } });
      say('The replay has begun.');
      done(true);
      await load();
    });
  });
}
