// Dead letters: the records that a pipe has given up, by reason; redrive and discard.
import { h, put } from '../dom.js';
import { get, call, lines, path, query } from '../api.js';
import { title, section, button, link, badge, stat, stats, problem, empty, pre, table, field, form, ask, terminal, confirm, confirmName, notice, say } from '../ui.js';
import { count, bytes, time, ago, shell } from '../format.js';
import { pipeField, search } from '../records.js';

export async function show(view) {
  const [name] = view.parts;
  return name === undefined ? choose(view) : letters(view, name);
}

// choose shows which pipes have given records up.
async function choose(view) {
  let limit = Number(view.q.get('limit')) || 100;
  const box = h('div');
  const [same, tell] = terminal();
  const go = pipeField('', { placeholder: 'its name', type: 'search' });
  const act = () => { if (go.input.value) location.hash = '#/letters/' + encodeURIComponent(go.input.value.trim()); };
  go.input.addEventListener('keydown', (e) => { if (e.key === 'Enter') act(); });
  const load = async () => {
    const asked = query('/klamm/v1/pipes', { sort: 'dead_lettered', limit, brief: true });
    tell({ curl: { path: asked }, klamm: 'dlq pipes --limit ' + limit });
    const page = await get(asked, view.signal);
    const shown = page.pipes.length;
    put(box, table([
      { name: 'Pipe', of: (p) => p.pipe }, { name: 'To', of: (p) => p.target },
      { name: 'Given up', number: true, of: (p) => count(p.counts.dead_lettered) },
    ], page.pipes, {
      caption: 'Pipes that have given records up since they began to run in this process, those that have given up most first', href: (p) => '#/letters/' + encodeURIComponent(p.pipe),
      complete: shown >= page.total, note: shown < page.total ? `${count(shown)} of ${count(page.total)}.` : undefined,
      more: shown < page.total && limit < 1000 ? () => { limit = Math.min(limit + 100, 1000); view.set({ limit }); return load(); } : null,
      none: empty('No pipe has given up a record since klamm began to run here. Letters from before are still there: name the pipe to see them.'),
    }));
  };
  await load();
  view.draw(title('Dead letters'), h('div.filters', go, button('Show its dead letters', act)), box, same);
}

async function letters(view, name) {
  const at = path`/klamm/v1/pipes/${name}/dead-letters`;
  const { q } = view;
  const body = h('div', h('p', 'Reading the dead letters…'));
  const work = h('div', { role: 'status' });
  const [same, tell] = terminal();
  let limit = Number(q.get('limit')) || 100;
  const load = async () => {
    const reason = q.get('reason');
    const asked = query(at, { limit, reason });
    tell({ curl: { path: asked }, klamm: `dlq list --pipe ${shell(name)} --limit ${limit}${reason ? ' --reason ' + shell(reason) : ''}` });
    const [groups, page] = await Promise.all([get(at + '/reasons', view.signal), get(asked, view.signal)]);
    put(body,
      stats(stat('Dead letters', count(groups.letters)), stat('Reasons', count(groups.groups.length) + (groups.others ? '+' : ''))),
      groups.letters > 0 && section('By reason', table([
        { name: 'Reason', wide: true, of: (g) => [g.status ? badge(String(g.status), 'bad') : '', ' ', g.reason || 'none said'] },
        { name: 'Letters', number: true, of: (g) => count(g.count) },
        { name: 'Newest', of: (g) => [time(g.newest), h('div.dim', ago(g.newest))] },
        { name: 'Oldest', of: (g) => time(g.oldest) },
        { name: '', of: (g) => h('div.acts', button('Show', () => { limit = 100; view.set({ reason: g.reason, limit: null }); return load(); }, { title: `Show the letters for ${whyOf(g)}` }),
          button('Redrive', () => redrive(view, name, at, work, load, g), { title: `Redrive the letters for ${whyOf(g)}` }), button('Discard', () => discard(name, at, load, g), { kind: 'danger', title: `Discard the letters for ${whyOf(g)}` })) },
      ], groups.groups, { caption: 'Reasons, the most frequent first', complete: !groups.others, note: groups.others ? `The first ${count(groups.groups.length)} reasons; ${count(groups.others)} letters have others.` : undefined })),
      groups.letters > 0 && section(q.get('reason') ? 'Letters for this reason' : 'Letters', q.get('reason') && h('p', h('code', q.get('reason')), ' ', button('Show all reasons', () => { view.set({ reason: null, limit: null }); limit = 100; return load(); })),
        table([
          { name: 'Given up', of: (l) => time(l.at) },
          { name: 'Record', of: (l) => link(`#/topics/${encodeURIComponent(l.topic)}?from=${l.offset}&partition=${l.partition}&limit=1`, placeOf(l)) },
          { name: 'Key', of: (l) => l.key || '' }, { name: 'Size', number: true, of: (l) => bytes(l.bytes) },
          { name: 'Attempts', number: true, of: (l) => count(l.attempts) },
          { name: 'Reason', wide: true, of: (l) => [l.status ? `${l.status} ` : '', l.reason, l.response && h('details', h('summary', 'Answer'), pre(l.response))] },
          { name: '', of: (l) => h('div.acts', button('Redrive', () => redriveIDs(view, name, at, work, load, [l.id]), { title: `Redrive ${placeOf(l)}` }),
            button('Fix', () => fix(view, name, at, work, load, page.topic, l), { title: `Change the value of ${placeOf(l)} and redrive it` }), button('Discard', () => discardIDs(name, at, load, [l.id]), { kind: 'danger', title: `Discard ${placeOf(l)}` })) },
        ], page.dead_letters, { caption: 'Dead letters, the oldest first', complete: !page.more, more: page.more && limit < 10000 ? () => { limit = Math.min(limit + 100, 10000); view.set({ limit }); return load(); } : null })),
      groups.letters === 0 && empty('There is no dead letter: everything that the pipe has read was delivered, filtered, redriven or discarded. ', link('#/pipes/' + encodeURIComponent(name), 'See where records stop'), '.'),
      groups.letters > 0 && notice('dull', h('strong', 'To fix a letter: '), 'a redrive delivers a record as it was. Where the record itself is wrong, ', h('em', 'Fix'), ' lets you change its value first. Where the pipe is wrong, edit the pipe and redrive.'));
  };
  view.draw(h('p', link('#/letters', '← All dead letters')),
    title('Dead letters of ' + name, button('Look again', load), button('Redrive all', () => redrive(view, name, at, work, load)), button('Discard all', () => discard(name, at, load), { kind: 'danger' })),
    work, body, same);
  try { await load(); } catch (e) { if (e.name !== 'AbortError') put(body, problem(e)); }
}

// Which letters a button is for, to be told by it where there are many.
const placeOf = (l) => `${l.topic}/${l.partition} at ${l.offset}`;
const whyOf = (g) => `${g.status || ''} ${(g.reason || 'no reason').slice(0, 120)}`.trim();

// idsOf are the letters of a group, and whether they are all.
async function idsOf(at, group) {
  const page = await get(query(at, { limit: 10000, reason: group.reason }));
  return { ids: page.dead_letters.filter((l) => l.status === group.status).map((l) => l.id), more: page.more };
}

// redrive asks first, with how many letters there are now.
async function redrive(view, name, at, work, load, group) {
  if (!group) {
    const { letters: n } = await get(at + '/reasons');
    if (!n) return say('There is none.');
    if (await confirm(`Redrive ${count(n)} letters`, `All ${count(n)} dead letters of ${name} are delivered once more. What fails again becomes a letter again.`)) await run(view, at, work, load, {});
    return;
  }
  const { ids, more } = await idsOf(at, group);
  if (await confirm(`Redrive ${count(ids.length)} letters`, `${count(ids.length)} letters with the reason “${group.reason.slice(0, 200)}” are delivered once more${more ? '; there are more, do it again for those' : ''}. What fails again becomes a letter again.`)) await run(view, at, work, load, { letters: ids });
}

async function redriveIDs(view, name, at, work, load, ids) {
  if (await confirm('Redrive one letter', `The record is delivered to the target of ${name} once more.`)) await run(view, at, work, load, { letters: ids });
}

// fix redrives a letter with another value, which begins as the one it has.
async function fix(view, name, at, work, load, topic, letter) {
  const [partition, offset] = letter.id.split('-');
  let r = null;
  await search(topic, { partition, from: offset, until: String(Number(offset) + 1), limit: 1, cut: 1 << 20, decode: 'false' }, { record: (one) => { r = one; }, progress() {}, end() {} }, view.signal);
  if (!r) throw new Error('The letter is not in its topic any more.');
  if (r.value_cut || r.value_form === 'masked') throw new Error(r.value_cut ? 'The value is too long to be changed here.' : 'The value is masked: its topic says that it is not for everybody’s eyes.');
  const value = await ask('Fix a letter', (done) => {
    const text = field(r.value_form === 'binary' ? 'Value, as base64' : 'Value', { rows: 12, value: r.value ?? '' });
    return [form([h('p', `Delivered to the target of ${name} with this value, as ${letter.topic}, partition ${letter.partition}, offset ${letter.offset}. The record in the topic stays as it is.`), text], 'Redrive', async () => {
      if (r.value_form === 'binary') atob(text.input.value.trim());
      done(r.value_form === 'binary' ? { base64: text.input.value.trim() } : text.input.value);
    }), button('Cancel', () => done(undefined))];
  });
  if (value !== undefined) await run(view, at, work, load, { letters: [letter.id], value });
}

// run shows how far a redrive is.
async function run(view, at, work, load, body) {
  const stop = new AbortController();
  view.signal.addEventListener('abort', () => stop.abort());
  let last = {};
  const draw = (p, ended) => put(work, notice(ended ? (p.dead_lettered ? 'warn' : 'good') : 'dull', h('strong', ended || 'Redriving'), ` ${count(p.delivered || 0)} delivered, ${count(p.dead_lettered || 0)} given up again, of ${count(p.records || 0)}. `,
    !ended && button('Stop', () => stop.abort())));
  draw({});
  try {
    await lines('POST', at + '/redrive', { body, signal: stop.signal }, (l) => {
      if (l.error) throw new Error(l.error);
      last = l;
      draw(l);
    });
    draw(last, 'Done:');
  } catch (e) {
    if (e.name === 'AbortError') draw(last, 'Stopped:'); else put(work, problem(e));
  }
  if (!view.signal.aborted) await load();
}

async function discard(name, at, load, group) {
  const n = group ? group.count : (await get(at + '/reasons')).letters;
  if (!n) return say('There is none.');
  if (!await confirmName(`Discard ${count(n)} letters`, name, `${count(n)} dead letters of ${name}${group ? ` with the reason “${group.reason.slice(0, 200)}”` : ''} leave the list. They stay in the dead-letter topic until its retention removes them.`)) return;
  const body = group ? { letters: (await idsOf(at, group)).ids } : { all: true };
  const { discarded } = (await call('POST', at + '/discard', { body })).document;
  say(`${count(discarded)} discarded.`);
  await load();
}

async function discardIDs(name, at, load, ids) {
  if (!await confirmName('Discard one letter', name, 'It leaves the list, and stays in the dead-letter topic until its retention removes it.')) return;
  await call('POST', at + '/discard', { body: { letters: ids } });
  say('Discarded.');
  await load();
}
