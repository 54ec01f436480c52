// The rule sandbox: which clause of an event pattern fails, on an event, on the latest
// records of a topic, or on the last hour; and what a transform makes of an event.
import { h, put } from '../dom.js';
import { post } from '../api.js';
import { title, section, badge, stat, stats, notice, empty, pre, table, field, form, commands } from '../ui.js';
import { count, time, bytes, shell } from '../format.js';
import { pretty } from './pipes.js';

const samplePattern = '{\n  "source": ["shop"],\n  "detail": {"total": [{"numeric": [">", 100]}]}\n}';
const sampleEvent = '{\n  "source": "shop",\n  "detail-type": "order",\n  "detail": {"id": 7, "total": 80}\n}';

export async function show(view) {
  const { q } = view;
  const keep = (name) => (value) => view.set({ [name]: value });
  const pattern = field('Event pattern', { value: q.get('pattern') ? pretty(q.get('pattern')) : samplePattern, rows: 10, required: true, hint: 'On records of topics it sees topic, partition, offset, timestamp, key, headers and value.', onchange: keep('pattern') });
  const on = field('Try it on', { value: q.get('on') || 'event', options: [['event', 'an event'], ['topic', 'a topic'], ['bus', 'an event bus']], onchange: (v) => { view.set({ on: v }); shown(); } });
  const event = field('Event, also for the transform', { value: q.get('event') ? pretty(q.get('event')) : sampleEvent, rows: 10, onchange: keep('event') });
  const topic = field('Topic', { value: q.get('topic'), onchange: keep('topic') });
  const bus = field('Bus', { value: q.get('bus') || 'default', onchange: keep('bus') });
  const since = field('How far back', { value: q.get('since'), options: [['', 'the latest 1,000'], ['5m', '5 minutes'], ['1h', 'the last hour'], ['24h', 'a day']], onchange: keep('since') });
  const found = h('div', { role: 'status' });
  const terminal = h('div');
  const shown = () => {
    topic.hidden = on.input.value !== 'topic';
    bus.hidden = on.input.value !== 'bus';
    since.hidden = on.input.value === 'event';
  };
  shown();
  const ask = () => {
    const body = { pattern: parsed(pattern, 'The pattern') };
    if (on.input.value === 'event') body.event = parsed(event, 'The event');
    else {
      body[on.input.value] = (on.input.value === 'topic' ? topic : bus).input.value.trim();
      if (since.input.value) body.since = since.input.value;
    }
    return body;
  };
  const tell = (body) => put(terminal, commands({ curl: { method: 'POST', path: '/klamm/v1/rules/explain', body },
    klamm: body.event && `rule test --pattern ${shell(JSON.stringify(body.pattern))} --event ${shell(JSON.stringify(body.event))}` }));
  const result = h('div', { role: 'status' });
  const how = field('Language', { value: q.get('how') || 'template', options: [['template', 'template of a pipe'], ['jq', 'jq'], ['input_path', 'input path'], ['rule', 'input transformer of a rule']], onchange: (v) => { view.set({ how: v }); paths.hidden = v !== 'rule'; } });
  const text = field('Transform', { value: q.get('transform') || '{"order": <$.detail.id>, "total": <$.detail.total>}', rows: 5, onchange: keep('transform') });
  const paths = field('Paths by name, JSON', { value: q.get('paths') || '{"id": "$.detail.id"}', rows: 3, onchange: keep('paths') });
  paths.hidden = how.input.value !== 'rule';
  view.draw(title('Rule sandbox'), h('p.dim', 'Patterns and transforms are tried out here; nothing is changed and nothing is sent. A trial reads at most 20,000 records, 64 MiB and ten seconds.'),
    h('div.grid2',
      section('Does it match?', form([pattern, on, topic, bus, since, event], 'Try', async () => {
        const body = ask();
        put(found, h('p', 'Trying…'));
        try {
          const d = await post('/klamm/v1/rules/explain', body, view.signal);
          put(found, d.findings ? explanation(d) : trial(d));
        } catch (e) { put(found); throw e; }
        tell(body);
      }), found, terminal),
      section('What is delivered?', form([how, text, paths], 'Transform the event', async () => {
        put(result);
        const body = { event: parsed(event, 'The event') };
        if (how.input.value === 'rule') body.input = { template: text.input.value, paths: parsed(paths, 'The paths') };
        else body.transform = { [how.input.value]: text.input.value };
        const d = await post('/klamm/v1/transforms/try', body, view.signal);
        put(result, notice('good', h('strong', d.json ? 'It makes JSON' : 'It makes text'), `, ${bytes(d.size)}${d.cut ? '; its beginning is shown' : ''}.`), pre(pretty(d.result)),
          commands({ curl: { method: 'POST', path: '/klamm/v1/transforms/try', body },
            klamm: how.input.value === 'template' || how.input.value === 'jq' ? `transform test --${how.input.value} ${shell(text.input.value)} --event ${shell(JSON.stringify(body.event))}` : null }));
      }), h('p.dim', 'It sees the event on the left: of a pipe that is the document of a record (topic, partition, offset, timestamp, key, headers, value), or what its enrichment has answered; of a rule the event.'), result)));
  try { tell(ask()); } catch { /* a half-written pattern from the address */ }
}

function parsed(f, what) {
  try { return JSON.parse(f.input.value); } catch (e) { throw new Error(`${what} is no JSON: ${e.message}`); }
}

const verdict = (ok) => (ok ? badge('✓ satisfied', 'good') : badge('✗ not satisfied', 'bad'));

// explanation shows each clause of a pattern, of one event.
function explanation(d) {
  return [
    d.matched ? notice('good', h('strong', 'It matches.')) : notice('bad', h('strong', 'It does not match.'), d.apart ? ' Each clause is satisfied by itself, but the values lie in different elements of one array.' : ''),
    clauses(d.findings),
  ];
}

const clauses = (findings) => table([
  { name: 'Clause', of: (f) => [h('code', f.path), f.branch && h('div.dim', f.branch)] },
  { name: 'Wanted', of: (f) => h('code', f.clause) },
  { name: 'The event has', wide: true, of: (f) => [f.values.length ? f.values.map((v) => h('div', h('code', v))) : h('span.dim', 'nothing there'), f.more ? h('div.dim', `and ${count(f.more)} more`) : null] },
  { name: '', of: (f) => (f.ignored ? badge('– cannot look into it', 'dull') : verdict(f.satisfied)) },
], findings, { caption: 'Clauses of the pattern', complete: true });

// trial shows how many records of a topic or bus match.
function trial(d) {
  const percent = d.scanned ? (100 * d.matched) / d.scanned : 0;
  if (!d.scanned) return empty('There is no record of that time.');
  const examples = (name, list) => list.length > 0 && [h('h3', name), [...list].reverse().map((e) => h('details', h('summary', `partition ${e.partition}, offset ${e.offset}, ${time(e.timestamp)}`), clauses(e.findings), pre(pretty(e.document)), e.size > 4096 && h('p.dim', `The first 4,096 of ${count(e.size)} bytes.`)))];
  return [
    stats(stat('Match', count(d.matched), `${percent.toFixed(percent && percent < 1 ? 2 : 0)} % of ${count(d.scanned)}`), stat('Do not', count(d.scanned - d.matched - d.invalid)), d.invalid ? stat('No JSON', count(d.invalid)) : null),
    h('p.complete', d.complete ? `All that was asked for was tried, in ${count(d.took_ms)} ms.` : 'There is more: only the latest records of each partition were tried.'),
    table([
      { name: 'Clause', of: (c) => [h('code', c.path), c.branch && h('div.dim', c.branch)] }, { name: 'Wanted', of: (c) => h('code', c.clause) },
      { name: 'Satisfied by', number: true, of: (c) => count(c.satisfied) },
      { name: '', of: (c) => (c.satisfied === 0 ? badge('✗ by none', 'bad') : c.satisfied === d.scanned ? badge('✓ by all', 'good') : badge(`${Math.round((100 * c.satisfied) / d.scanned)} %`, 'warn')) },
    ], d.clauses, { caption: 'How many records satisfy each clause by itself', complete: true }),
    examples('Records that match, the latest', d.matching), examples('Records that do not, the latest', d.others),
  ];
}
