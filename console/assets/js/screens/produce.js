// Produce: write a record, checked before it is sent.
import { h, put } from '../dom.js';
import { call, get, path } from '../api.js';
import { badge, button, commands, field, form, link, notice, problem, say, section, table, title } from '../ui.js';
import { shell, time } from '../format.js';
import { laidOut, search, topicField } from '../records.js';

const formats = [['JSON', 'JSON'], ['STRING', 'text'], ['BINARY', 'bytes, as base64'], ['AVRO', 'Avro, by the registry’s schema'], ['JSONSCHEMA', 'JSON Schema, of the registry'], ['PROTOBUF', 'Protobuf, by the registry’s schema'], ['none', 'none']];

export async function show(view) {
  const q = view.q;
  const like = q.get('like') ? await template(view) : null;
  const topic = topicField(q.get('topic'), { onchange: (v) => view.set({ topic: v, like: null }) });
  const partition = field('Partition', { type: 'number', value: q.get('partition'), placeholder: 'by the key', onchange: (v) => view.set({ partition: v }) });
  partition.input.min = 0;
  const keyFormat = field('Key is', { options: formats, value: q.get('key_format') || like?.keyFormat || 'STRING', onchange: (v) => { view.set({ key_format: v }); fit(); } });
  const key = field('Key (empty: none)', { rows: 1, value: like ? like.key : '' });
  const valueFormat = field('Value is', { options: formats.map(([v, label]) => [v, v === 'none' ? 'none: a tombstone' : label]), value: q.get('format') || like?.valueFormat || 'JSON', onchange: (v) => { view.set({ format: v }); fit(); } });
  const value = field('Value', { rows: 10, value: like ? like.value : '{"hello": "world"}' });
  const headers = field('Headers', { rows: 2, value: like ? like.headers : '', placeholder: 'source: shop', hint: 'One NAME: VALUE a line.' });
  const fit = () => { key.hidden = keyFormat.input.value === 'none'; value.hidden = valueFormat.input.value === 'none'; };
  fit();
  const out = h('div');
  const terminal = h('div');
  const sent = h('div');
  const history = [];

  const draft = (sending) => ({
    key: keyFormat.input.value === 'none' || key.input.value === '' ? null : part('key', keyFormat.input.value, key.input.value, sending),
    value: valueFormat.input.value === 'none' ? null : part('value', valueFormat.input.value, value.input.value, sending),
    headers: headersOf(headers.input.value),
    partition: partition.input.value === '' ? null : Number(partition.input.value),
  });
  const name = () => {
    const n = topic.input.value.trim();
    if (!n) throw new Error('Name the topic.');
    return n;
  };

  // check asks what the record would be refused for; it is false if for anything.
  const check = async (d) => {
    const { document: found } = await call('POST', path`/klamm/v1/topics/${name()}/records/check`, { body: bodyOf({ ...d, partition: null }), signal: view.signal });
    const by = found.by.map((b) => `${b.part} by ${b.rule ? 'the rules of the topic' + (b.warns ? ', which only warn' : '') : `version ${b.version} of subject ${b.subject} (${b.format})`}`).join('; ');
    if (found.valid) {
      put(out, notice('good', h('strong', 'It fits. '), by ? `Checked: ${by}.` : 'Nothing says what records of this topic must look like.'));
      return true;
    }
    put(out, notice('bad', h('strong', 'It would be refused. '), by && `Checked: ${by}.`), table([
      { name: 'Where', of: (v) => [badge(v.part), ' ', h('span.mono', v.part === 'header' ? v.name : v.pointer)] },
      { name: 'What is wrong', of: (v) => v.detail, wide: true },
      { name: 'Keyword', of: (v) => h('span.mono', v.keyword) },
    ], found.violations, { caption: 'What is wrong with it' }));
    return false;
  };

  let cluster = null;
  const target = async () => {
    cluster ??= (await get('/v3/clusters', view.signal)).data[0].cluster_id;
    return path`/v3/clusters/${cluster}/topics/${name()}/records`;
  };
  const send = async () => {
    const d = draft(true);
    put(out);
    let good = true;
    try { good = await check(draft(false)); } catch (e) { if (e.status !== 403 && e.status !== 503) throw e; } // then the record itself is refused, or is not
    if (!good) return;
    const { document: got } = await call('POST', await target(), { body: bodyOf(d), signal: view.signal });
    if (got.error_code !== 200) throw new Error(`${got.error_code}: ${got.message}`);
    history.unshift(got);
    say(`Written to partition ${got.partition_id} at offset ${got.offset}.`);
    put(sent, section('Written', table([
      { name: 'Place', of: (g) => link(`#/topics/${encodeURIComponent(g.topic_name)}?partition=${g.partition_id}&from=${g.offset}&limit=1`, `${g.topic_name}, partition ${g.partition_id}, offset ${g.offset}`) },
      { name: 'Time', of: (g) => time(g.timestamp) },
      { name: 'Value', of: (g) => (g.value ? [badge(g.value.type || 'none'), ` ${g.value.size} bytes`] : 'none') },
    ], history.slice(0, 20), { caption: 'What was written on this visit, the newest first', complete: history.length <= 20 })));
  };
  const guarded = (act) => async () => { try { await act(); } catch (e) { put(out, problem(e)); } };
  view.draw(title('Produce', q.get('topic') && h('a.button', { href: '#/topics/' + encodeURIComponent(q.get('topic')) }, 'Topic')),
    like && notice('dull', 'Filled from ', link(`#/topics/${encodeURIComponent(q.get('topic'))}?partition=${like.partition}&from=${like.offset}&limit=1`, `partition ${like.partition}, offset ${like.offset}`), like.note),
    section(null, form([h('div.filters', topic, partition, keyFormat, valueFormat), key, value, headers], 'Send', send),
      h('div.acts', button('Check only', guarded(async () => { await check(draft(false)); })),
        button('Lay the JSON out', guarded(async () => { value.input.value = laidOut(value.input.value); })),
        button('Show as curl', guarded(async () => { put(terminal, commandsOf(await target(), name(), draft(true), { keyFormat: keyFormat.input.value, valueFormat: valueFormat.input.value, key: key.input.value, value: value.input.value, headers: headers.input.value })); terminal.querySelector('details').open = true; })))),
    out, sent, terminal);
}

// part is a key or value as v3 takes it, in JSON; numbers stay digit for digit. What is to
// be written with a schema has no type where it is sent: the schema has one.
function part(what, type, text, sending) {
  if (type === 'STRING') return `{"type":"STRING","data":${JSON.stringify(text)}}`;
  if (type === 'BINARY') {
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text.trim())) throw new Error(`The ${what} is not base64.`);
    return `{"type":"BINARY","data":${JSON.stringify(text.trim())}}`;
  }
  try { JSON.parse(text); } catch (e) { throw new Error(`The ${what} is not JSON: ${e.message}`); }
  if (type !== 'JSON' && sending) return `{"subject_name_strategy":"TOPIC_NAME","data":${text.trim()}}`; // the newest schema of the subject
  return `{"type":"${type}","data":${text.trim()}}`;
}

function headersOf(text) {
  return text.split('\n').filter((l) => l.trim()).map((line) => {
    const at = line.indexOf(':');
    if (at < 1) throw new Error(`“${line}” is not NAME: VALUE.`);
    const bytes = new TextEncoder().encode(line.slice(at + 1).trim());
    return { name: line.slice(0, at).trim(), value: btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join('')) };
  });
}

function bodyOf(d) {
  const members = [];
  if (d.partition !== null) members.push(`"partition_id":${d.partition}`);
  if (d.headers.length) members.push(`"headers":${JSON.stringify(d.headers)}`);
  if (d.key !== null) members.push(`"key":${d.key}`);
  if (d.value !== null) members.push(`"value":${d.value}`);
  return `{${members.join(',')}}`;
}

function commandsOf(api, topic, d, typed) {
  const plain = ['STRING', 'JSON'].includes(typed.valueFormat) && !typed.value.trim().includes('\n') && typed.value.trim() && (d.key === null || typed.keyFormat === 'STRING');
  return commands({
    curl: { method: 'POST', path: api, body: bodyOf(d) },
    klamm: plain ? `produce -t ${shell(topic)}${d.partition === null ? '' : ' -p ' + d.partition}${d.key === null ? '' : ' -k ' + shell(typed.key)}${typed.headers.split('\n').filter((l) => l.trim()).map((l) => ' -H ' + shell(l.replace(/\s*:\s*/, '=').trim())).join('')} <<< ${shell(typed.value.trim())}` : undefined,
  });
}

// template fetches the record that the address names, to fill the form with.
async function template(view) {
  const found = /^(\d+)-(\d+)$/.exec(view.q.get('like'));
  if (!found || !view.q.get('topic')) return null;
  const [, partition, offset] = found;
  let r = null;
  await search(view.q.get('topic'), { partition, from: offset, until: String(Number(offset) + 1), limit: 1, cut: 1 << 20 }, { record: (one) => { r = one; }, progress() {}, end() {} }, view.signal);
  if (!r) return { partition, offset, key: '', value: '', headers: '', note: ', which is not there any more.' };
  const format = (name) => {
    const schema = r[name + '_schema'];
    if (schema) return { AVRO: 'AVRO', JSON: 'JSONSCHEMA', PROTOBUF: 'PROTOBUF' }[schema.type];
    return { json: 'JSON', text: 'STRING', binary: 'BINARY', null: 'none', masked: 'JSON' }[r[name + '_form']];
  };
  return {
    partition, offset, keyFormat: r.key === null ? 'STRING' : format('key'), key: r.key || '', valueFormat: format('value'),
    value: r.value === null ? '' : r.value_form === 'json' ? laidOut(r.value) : r.value,
    headers: r.headers.filter((x) => typeof x.value === 'string').map((x) => `${x.name}: ${x.value}`).join('\n'),
    note: r.value_form === 'masked' ? '; its value is masked.' : r.value_cut ? '; its value is longer than what is shown.' : '.',
  };
}
