// Records on the screen: rows that open, JSON that is laid out, files to take away.
import { h, put } from './dom.js';
import { get, lines, query, path } from './api.js';
import { badge, button, field, link, pairs, say } from './ui.js';
import { bytes, time } from './format.js';

// search looks for records (GET /klamm/v1/topics/{topic}/records). Keys and values come
// as texts. on is {record(r), progress({scanned, of, found}), end({complete, next})}.
export async function search(topic, parameters, on, signal) {
  await lines('GET', query(path`/klamm/v1/topics/${topic}/records`, { ...parameters, as: 'text' }), { signal }, (line) => {
    if (line.record) on.record(line.record);
    else if (line.progress) on.progress(line.progress);
    else if (line.end) on.end(line.end);
    else if (line.error) throw new Error(line.error);
  });
}

// laidOut writes JSON over several lines without reading its numbers, which may have
// more digits than a browser's numbers do. Text that is no JSON comes back as it is.
export function laidOut(text) {
  try { JSON.parse(text); } catch { return text; }
  let out = '';
  let depth = 0;
  const line = () => '\n' + '  '.repeat(Math.min(depth, 100));
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s"[\]{}:,]+/g)) {
    switch (token) {
      case '{': case '[': depth++; out += token + line(); break;
      case '}': case ']':
        depth--;
        out = /[[{]\s*$/.test(out.slice(-210)) ? out.trimEnd() + token : out + line() + token;
        break;
      case ',': out += token + line(); break;
      case ':': out += ': '; break;
      default: out += token;
    }
  }
  return out;
}

const short = (text, most) => (text.length > most ? text.slice(0, most) + '…' : text);

// brief is a key or value as it stands in a row.
export function brief(r, part, most = 160) {
  const value = r[part];
  switch (r[part + '_form']) {
    case 'null': return h('span.dim', 'null');
    case 'masked': return badge('masked', 'warn');
    case 'binary': return [badge('base64'), ' ', h('span.mono', short(value, most))];
    case 'text': if (value === '') return h('span.dim', 'empty');
  }
  return h('span.mono', short(value, most));
}

// whole is a key or value as it stands in an open record.
function whole(r, part) {
  const form = r[part + '_form'];
  const schema = r[part + '_schema'];
  const notes = [
    schema ? `schema ${schema.id}, ${schema.type}` : { json: 'JSON', text: 'text', binary: 'bytes, as base64', null: 'none', masked: 'masked' }[form],
    r[part + '_cut'] && 'only its beginning is shown',
  ].filter(Boolean).join('; ');
  const title = part === 'key' ? 'Key' : 'Value';
  const text = form === 'json' && !r[part + '_cut'] ? laidOut(r[part]) : r[part];
  return [
    h('h3', title, ' ', h('span.dim', `(${notes})`)),
    form === 'null' || form === 'masked' ? null : h('pre', { tabindex: 0, 'aria-label': `${title} of ${r.partition}/${r.offset}` }, text),
  ];
}

// address is where a record is shown.
export const address = (r) => `#/topics/${encodeURIComponent(r.topic)}?partition=${r.partition}&from=${r.offset}&limit=1`;

// opened is all there is of a record.
export function opened(r) {
  const copy = (label, value) => button(label, async () => { await navigator.clipboard.writeText(value); say('Copied.'); });
  return h('div.record',
    pairs([
      ['Place', [link(address(r), `partition ${r.partition}, offset ${r.offset}`)]],
      ['Time', `${time(r.timestamp)} (${new Date(r.timestamp).toISOString()})`],
      ['Size', bytes(r.size)],
    ]),
    r.headers.length ? [h('h3', 'Headers'), h('dl.pairs', r.headers.map((x) => [h('dt', x.name), h('dd', headerText(x.value))]))] : null,
    whole(r, 'key'), whole(r, 'value'),
    h('div.acts',
      r.value !== null && copy('Copy the value', r.value), r.key !== null && copy('Copy the key', r.key), copy('Copy all', lineOf(r)),
      h('a.button', { href: `#/produce?topic=${encodeURIComponent(r.topic)}&like=${r.partition}-${r.offset}` }, 'Use as a template')));
}

const headerText = (v) => (v === null ? 'null' : typeof v === 'object' ? `${v.base64} (base64)` : v);

// recordTable is a table that grows: rows open when they are clicked. Its rows are added
// by grow(...records) and taken away by clear() and trim(most).
export function recordTable(caption, { newest = false } = {}) {
  const body = h('tbody');
  const columns = ['Time', 'Partition', 'Offset', 'Key', 'Value', 'Size'];
  const el = h('div.scroll', { tabindex: 0, role: 'region', 'aria-label': caption },
    h('table.records', { class: newest ? 'even' : null }, h('caption', caption), h('thead', h('tr', columns.map((c) => h('th', { scope: 'col' }, c)))), body));
  el.body = body;
  el.grow = (...records) => {
    const rows = records.map(row);
    if (newest) body.prepend(...rows.reverse()); else body.append(...rows);
  };
  el.clear = () => put(body);
  el.trim = (most) => { while (body.children.length > most) body.lastElementChild.remove(); };
  return el;
}

function row(r) {
  const open = h('button.open', { type: 'button', 'aria-expanded': 'false', 'aria-label': `${time(r.timestamp)}, record ${r.partition}/${r.offset}` }, time(r.timestamp));
  const tr = h('tr', { class: 'foldable' }, h('td', open), h('td.number', r.partition), h('td.number', r.offset), h('td', brief(r, 'key', 80)), h('td.wide', brief(r, 'value')), h('td.number', bytes(r.size)));
  let below = null;
  tr.addEventListener('click', (e) => {
    if (String(getSelection()) && e.target !== open) return; // somebody is selecting text
    if (below) { below.remove(); below = null; } else {
      below = h('tr.unfolded', h('td', { colspan: 6 }, opened(r)));
      tr.after(below);
    }
    open.setAttribute('aria-expanded', String(!!below));
  });
  return tr;
}

// lineOf is a record as a line of JSON; values that are JSON stay digit for digit.
export function lineOf(r) {
  const part = (name) => (r[name] === null ? 'null' : r[name + '_form'] === 'json' && !r[name + '_cut'] ? r[name].trim() : r[name + '_form'] === 'binary' ? JSON.stringify({ base64: r[name] }) : JSON.stringify(r[name]));
  const { topic, partition, offset, timestamp, headers } = r;
  return `{"topic":${JSON.stringify(topic)},"partition":${partition},"offset":${offset},"timestamp":${timestamp},"key":${part('key')},"value":${part('value')},"headers":${JSON.stringify(headers)}}`;
}

// cell is a field of a CSV file; what a spreadsheet would take for a formula is made text.
function cell(v) {
  const text = v === null || v === undefined ? '' : String(v);
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? "'" + text : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export const csvOf = (records) => ['topic,partition,offset,timestamp,key,value,headers',
  ...records.map((r) => [r.topic, r.partition, r.offset, new Date(r.timestamp).toISOString(), r.key, r.value, JSON.stringify(r.headers)].map(cell).join(','))].join('\r\n') + '\r\n';

// save offers text as a file.
export function save(name, kind, text) {
  const a = h('a', { download: name });
  a.href = URL.createObjectURL(new Blob([text], { type: kind }));
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

// exports are buttons that save what of() gives at the moment.
export const exportButtons = (name, of) => [
  button('Save as NDJSON', () => save(name + '.ndjson', 'application/x-ndjson', of().map((r) => lineOf(r) + '\n').join(''))),
  button('Save as CSV', () => save(name + '.csv', 'text/csv', csvOf(of()))),
];

// later is a place that is filled when build has come to an end.
export function later(build, shown = problemText) {
  const box = h('div', h('p.dim', 'Loading…'));
  (async () => {
    try { put(box, await build()); } catch (e) { if (e.name !== 'AbortError') put(box, shown(e)); }
  })();
  return box;
}
const problemText = (e) => h('div.notice.bad', { role: 'alert' }, h('strong', e.status ? `${e.status} ${e.title || ''} ` : 'Failed: '), e.message);


// topicField is a field for the name of a topic, which proposes those that there are.
export const topicField = (value, options = {}) => proposing(field('Topic', { value, required: true, ...options }),
  async (prefix) => (await get(query('/klamm/v1/topics', { prefix, limit: 20 }))).topics.map((t) => t.topic));

// pipeField is the same for the name of a pipe.
export const pipeField = (value, options = {}) => proposing(field('Pipe', { value, required: true, ...options }),
  async (search) => (await get(query('/klamm/v1/pipes', { search, limit: 20, brief: true }))).pipes.map((p) => p.pipe));

// proposing has a field propose names for what is typed.
function proposing(e, names) {
  const known = h('datalist', { id: e.input.id + 'l' });
  e.input.setAttribute('list', known.id);
  e.append(known);
  let last;
  const propose = async () => {
    const typed = e.input.value;
    if (typed === last) return;
    last = typed;
    try {
      const got = await names(typed);
      if (last === typed) put(known, got.map((value) => h('option', { value })));
    } catch { /* a name can be typed without proposals */ }
  };
  let typing;
  e.input.addEventListener('focus', propose);
  e.input.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(propose, 200); });
  return e;
}

// streamed is a record of a stream (docs/push.md), given as text, in the form of a search:
// its key and value stay digit for digit.
export function streamed(text) {
  const raw = members(text);
  const r = { topic: JSON.parse(raw.topic), partition: Number(raw.partition), offset: Number(raw.offset), timestamp: Number(raw.timestamp), headers: JSON.parse(raw.headers), size: undefined };
  for (const part of ['key', 'value']) {
    const v = raw[part];
    const packed = /^\{"base64":"([A-Za-z0-9+/=]*)"\}$/.exec(v);
    r[part + '_form'] = v === 'null' ? 'null' : packed ? 'binary' : v[0] === '"' ? 'text' : 'json';
    r[part] = v === 'null' ? null : packed ? packed[1] : v[0] === '"' ? JSON.parse(v) : v;
  }
  if (raw.masked) r.value_form = 'masked';
  return r;
}

// members splits a JSON object into the texts of its members.
function members(text) {
  const out = {};
  let depth = 0;
  let name = null;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '"': {
        const start = i;
        for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++;
        if (depth === 1 && name === null) name = JSON.parse(text.slice(start, i + 1));
        break;
      }
      case '{': case '[': depth++; break;
      case '}': case ']':
        depth--;
        if (depth === 0 && name !== null) out[name] = text.slice(from, i).trim();
        break;
      case ':': if (depth === 1) from = i + 1; break;
      case ',': if (depth === 1) { out[name] = text.slice(from, i).trim(); name = null; } break;
    }
  }
  return out;
}
