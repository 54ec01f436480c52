// Schemas: subjects and versions of the embedded registry, what changed between two of
// them, and whether a new one would be compatible.
import { h, put } from '../dom.js';
import { call, del, get, path, query } from '../api.js';
import { badge, button, commands, confirmName, empty, field, form, link, notice, pairs, problem, say, section, table, tabs, terminal, title } from '../ui.js';
import { count, json, shell } from '../format.js';
import { laidOut, later } from '../records.js';

const media = { 'Content-Type': 'application/vnd.schemaregistry.v1+json' };
const levels = ['BACKWARD', 'BACKWARD_TRANSITIVE', 'FORWARD', 'FORWARD_TRANSITIVE', 'FULL', 'FULL_TRANSITIVE', 'NONE'];
const page = 100;
const to = (s) => '#/schemas/' + encodeURIComponent(s);

export async function show(view) {
  const [subject] = view.parts;
  try {
    await (subject === undefined ? list(view) : one(view, subject));
  } catch (e) {
    if (e.status !== 404 && e.status !== 501 || subject !== undefined && e.body?.error_code >= 40000) throw e;
    view.draw(title('Schemas'), notice('warn', h('strong', 'There is no embedded schema registry here. '),
      'It is on with ', h('code', 'schema_registry: {embedded: true}'), ' in the configuration. Where klamm uses a registry elsewhere, records are read and written with its schemas, and it is looked at there.'));
  }
}

const body = (schema, schemaType) => ({ schema, ...(schemaType && schemaType !== 'AVRO' ? { schemaType } : {}) });
const send = async (method, at, document, signal) => (await call(method, at, { body: JSON.stringify(document), headers: media, signal })).document;

async function list(view) {
  const global = get('/config', view.signal).catch(() => null);
  const box = h('div');
  const [same, tell] = terminal();
  let most = page;
  let turn = 0;
  const load = async () => {
    const mine = ++turn;
    const prefix = view.q.get('prefix') || '';
    tell({ curl: { path: query('/subjects', { subjectPrefix: prefix }) }, klamm: ['schema list', prefix && shell(prefix)].filter(Boolean).join(' ') });
    const found = await get(query('/subjects', { subjectPrefix: prefix, limit: most + 1 }), view.signal);
    if (mine !== turn) return; // a later one is on its way, or was faster
    const complete = found.length <= most;
    put(box, table([
      { name: 'Subject', of: (s) => s },
      { name: 'Of', of: (s) => { const m = /^(.+)-(key|value)$/.exec(s); return m ? [`${m[2]}s of `, link('#/topics/' + encodeURIComponent(m[1]), m[1])] : '–'; } },
    ], found.slice(0, most), { caption: 'Subjects', href: to, complete, more: complete ? undefined : () => { most += page; return load(); },
      none: prefix ? empty('No subject’s name begins so.') : empty('There are no schemas yet. Register one here, or let a serializer do it: its ', h('code', 'schema.registry.url'), ` is ${location.origin}.`) }));
  };
  let typing;
  const prefix = field('Subject begins with', { type: 'search', value: view.q.get('prefix'), oninput: (v) => {
    clearTimeout(typing);
    typing = setTimeout(() => { view.set({ prefix: v }); most = page; load().catch((e) => { if (e.name !== 'AbortError') put(box, problem(e)); }); }, 250);
  } });
  await load();
  const counts = await global;
  view.draw(title('Schemas'), counts && h('p.dim', `New versions have to be ${counts.compatibilityLevel} where a subject says nothing else.`), h('div.filters', prefix), box,
    h('details', h('summary', 'Register a schema'), registerForm(null)), same);
}

// registerForm registers a schema; under a subject of the form's own where none is given.
function registerForm(subject, type = 'AVRO', text = '') {
  const name = field('Subject', { value: subject || '', required: true, placeholder: 'TOPIC-value' });
  const kind = field('Format', { options: ['AVRO', 'JSON', 'PROTOBUF'], value: type });
  const schema = field('Schema', { rows: 10, value: text, required: true });
  return form([subject === null ? name : null, kind, schema], 'Register', async () => {
    const under = subject === null ? name.input.value.trim() : subject;
    const { id } = await send('POST', path`/subjects/${under}/versions`, body(schema.input.value, kind.input.value));
    say(`Registered under ${under}; its id is ${id}.`);
    if (location.hash.split('?')[0] === to(under)) dispatchEvent(new HashChangeEvent('hashchange')); else location.hash = to(under);
  });
}

async function one(view, subject) {
  const base = path`/subjects/${subject}`;
  const versions = (await get(base + '/versions', view.signal)).sort((a, b) => b - a);
  const latest = versions[0];
  const wanted = Number(view.q.get('version'));
  const version = versions.includes(wanted) ? wanted : latest;
  const fetched = new Map();
  const of = async (v) => {
    if (!fetched.has(v)) fetched.set(v, await get(`${base}/versions/${v}`, view.signal));
    return fetched.get(v);
  };
  const shown = await of(version);
  const type = shown.schemaType || 'AVRO';
  const topic = /^(.+)-(?:key|value)$/.exec(subject)?.[1];
  const remove = async () => {
    if (!await confirmName('Delete the subject', subject, `The subject and its ${count(versions.length)} versions are no longer listed, and nobody can write with them by name. Records that were written stay readable.`)) return;
    await del(base);
    say(`Subject ${subject} is deleted.`);
    location.hash = '#/schemas';
  };
  view.draw(
    title(subject, topic && h('a.button', { href: '#/topics/' + encodeURIComponent(topic) }, 'Topic'), button('Delete', remove, { kind: 'danger' })),
    h('p', link('#/schemas', 'All subjects')),
    h('div.filters', field('Version', { value: version, options: versions.slice(0, 1000).map((v) => [v, v === latest ? `${v}, the newest` : v]), onchange: (v) => { view.set({ version: v }); view.again(); } })),
    section(null, pairs([['Id', shown.id], ['Format', badge(type)], ['Versions', `${count(versions.length)}: ${versions.slice(0, 20).join(', ')}${versions.length > 20 ? ', …' : ''}`],
      shown.references?.length && ['Refers to', shown.references.map((r, i) => [i ? ', ' : '', link(to(r.subject) + '?version=' + r.version, `${r.name} (${r.subject}, version ${r.version})`)])]])),
    tabs([
      ['schema', 'Schema', () => h('div', h('pre', { tabindex: 0, 'aria-label': 'Schema' }, laidOut(shown.schema)), commands({ curl: { path: `${base}/versions/${version}` } }))],
      ['diff', 'What changed', () => compared(view, of, versions, version)],
      ['check', 'Try a new version', () => trial(view, subject, base, type, shown.schema)],
      ['level', 'Compatibility', () => later(() => level(view, subject))],
      ['register', 'Register', () => section(null, registerForm(subject, type, laidOut(shown.schema)))],
    ], view.q.get('tab') || 'schema', (tab) => view.set({ tab: tab === 'schema' ? null : tab })));
}

function compared(view, of, versions, version) {
  const others = versions.filter((v) => v !== version);
  if (!others.length) return empty('There is only this version.');
  const before = versions[versions.indexOf(version) + 1];
  const asked = Number(view.q.get('with'));
  const out = h('div');
  const draw = async (other) => {
    try {
      const [a, b] = await Promise.all([of(Math.min(other, version)), of(Math.max(other, version))]);
      put(out, difference(laidOut(a.schema).split('\n'), laidOut(b.schema).split('\n'), a.version, b.version));
    } catch (e) { if (e.name !== 'AbortError') put(out, problem(e)); }
  };
  const other = others.includes(asked) ? asked : before ?? others[0];
  const pick = field('Compared with version', { value: other, options: others.slice(0, 1000), onchange: (v) => { view.set({ with: v }); draw(Number(v)); } });
  draw(other);
  return h('div', h('div.filters', pick), out);
}

const mostLines = 3000;

// difference shows the lines of two texts: those of the older one that are gone with a
// minus, those that are new with a plus.
function difference(a, b, from, upTo) {
  if (a.length > mostLines || b.length > mostLines) return notice('warn', `A schema has more than ${count(mostLines)} lines, which are not compared here.`);
  const w = b.length + 1;
  const common = new Uint16Array((a.length + 1) * w); // of what follows both lines
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) common[i * w + j] = a[i] === b[j] ? common[(i + 1) * w + j + 1] + 1 : Math.max(common[(i + 1) * w + j], common[i * w + j + 1]);
  }
  const rows = [];
  let i = 0;
  let j = 0;
  const counts = { added: 0, gone: 0 };
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { rows.push(['same', '  ', a[i++]]); j++; }
    else if (j >= b.length || i < a.length && common[(i + 1) * w + j] >= common[i * w + j + 1]) { rows.push(['gone', '- ', a[i++]]); counts.gone++; }
    else { rows.push(['added', '+ ', b[j++]]); counts.added++; }
  }
  return [h('p.dim', `From version ${from} to version ${upTo}: ${count(counts.added)} lines added, ${count(counts.gone)} removed.`),
    h('pre.diff', { tabindex: 0, 'aria-label': `What changed from version ${from} to version ${upTo}` }, rows.map(([kind, mark, text]) => h('span', { class: kind }, mark + text + '\n')))];
}

function trial(view, subject, base, type, text) {
  const schema = field('Schema', { rows: 12, value: laidOut(text) });
  const against = field('Against', { options: [['latest', 'the newest version'], ['', 'the versions that the level asks for']] });
  const out = h('div');
  const at = () => path`/compatibility/subjects/${subject}/versions` + (against.input.value ? '/latest' : '') + '?verbose=true';
  const f = form([schema, against], 'Would it be compatible?', async () => {
    put(out);
    const d = body(schema.input.value, type);
    const got = await send('POST', at(), d, view.signal);
    put(out, got.is_compatible ? notice('good', h('strong', 'Compatible. '), 'It can be registered as the next version.')
      : [notice('bad', h('strong', 'Not compatible. '), 'It cannot be registered as long as the level is what it is.'),
        got.messages?.length ? h('ul', got.messages.map((m) => h('li', typeof m === 'string' ? m : json(m)))) : null],
    commands({ curl: { method: 'POST', path: at(), body: d, headers: media } }));
  });
  return h('div', section(null, f), out);
}

async function level(view, subject) {
  const at = path`/config/${subject}`;
  const [counts, global] = await Promise.all([get(at + '?defaultToGlobal=true', view.signal), get('/config', view.signal)]);
  const pick = field('Level of this subject', { options: [...levels, ['', `as for all (${global.compatibilityLevel})`]], value: counts.compatibilityLevel,
    hint: 'BACKWARD: who has the new schema can read what was written with the old one. FORWARD: the other way round. FULL: both. TRANSITIVE: with all versions.' });
  return [section(null, pairs([['What counts', badge(counts.compatibilityLevel)], ['For all subjects', badge(global.compatibilityLevel)]]), form([pick], 'Set', async () => {
    if (pick.input.value) await send('PUT', at, { compatibility: pick.input.value });
    else await del(at).catch((e) => { if (e.status !== 404) throw e; });
    say(`The level of ${subject} is set.`);
    view.again();
  })), commands({ curl: { path: at + '?defaultToGlobal=true' } })];
}
