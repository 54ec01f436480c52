// Getting started: from nothing to a delivered record, with commands to copy.
import { h, put } from '../dom.js';
import { get, path, query, Problem } from '../api.js';
import { title, section, badge, notice, field, copyable, link } from '../ui.js';
import { count, shell } from '../format.js';

export async function show(view) {
  const first = view.q.get('topic') || 'greetings';
  const topic = field('Topic', { value: first, hint: 'It is made by the first record, where the brokers allow that.', onchange: () => redraw() });
  const target = field('Your endpoint', { type: 'url', value: view.q.get('url') || 'http://127.0.0.1:9000/', hint: 'Where records are delivered to. The receiver below listens there.', onchange: () => redraw() });
  const boxes = h('div');
  const record = h('p', { role: 'status' });
  const delivery = h('p', { role: 'status' });
  let names;
  const redraw = () => {
    const name = topic.input.value.trim() || 'greetings';
    const pipe = name + '-webhook';
    view.set({ topic: name === 'greetings' ? null : name, url: target.input.value === 'http://127.0.0.1:9000/' ? null : target.input.value });
    names = { topic: name, pipe };
    const here = location.origin;
    const signed = view.session.principal === 'User:ANONYMOUS' ? '' : '-H "X-Api-Key: $KLAMM_KEY" ';
    const definition = JSON.stringify({ name: pipe, topics: [name], start: 'earliest', target: { webhook: { url: target.input.value } } });
    put(boxes,
      signed && notice('dull', 'Put your key into the shell first, as in ', h('code', 'export KLAMM_KEY=...'), ', or use the credentials that you have otherwise.'),
      section('1 · Write a record', h('p', 'The body is the record, byte for byte.'),
        copyable(`curl ${signed}-d '{"hello":"world"}' ${shell(`${here}/topics/${encodeURIComponent(name)}`)}`, 'write'), record),
      section('2 · Read it back', h('p', 'Each record as it is, the oldest first; with ', h('code', 'Ctrl-C'), ' you leave. Or look at it ', link(`#/topics/${encodeURIComponent(name)}`, 'in the console'), '.'),
        copyable(`curl -N ${signed}${shell(`${here}/stream/${encodeURIComponent(name)}?from=earliest`)}`, 'read')),
      section('3 · Have it delivered', h('p', 'Begin to listen in another terminal, then make a pipe from the topic to there.'),
        copyable(receiver(target.input.value), 'listen'),
        copyable(`curl -X POST ${signed}-H 'Content-Type: application/json' -d ${shell(definition)} ${shell(here + '/klamm/v1/pipes')}`, 'pipe'), delivery));
    put(record, waiting('waiting for your first record'));
    put(delivery, waiting('waiting for your first delivery'));
    seen = {};
    look().catch(() => {});
  };
  let seen = {};
  const look = async () => {
    const { topic: t, pipe } = names;
    if (!seen.record) {
      // Lists are asked first: what is not in them need not be answered 404 again and again.
      const { topics } = await get(query('/klamm/v1/topics', { topic: t }), view.signal);
      const now = topics.length && await maybe(get(path`/klamm/v1/topics/${t}`, view.signal));
      if (names.topic === t && now && now.records > 0) {
        seen.record = true;
        put(record, badge('✓ done', 'good'), ` ${t} has ${count(now.records)} ${now.records === 1 ? 'record' : 'records'}. `, link(`#/topics/${encodeURIComponent(t)}`, 'Look at them'));
      }
    }
    if (seen.delivery) return;
    const { pipes } = await get(query('/klamm/v1/pipes', { search: pipe, limit: 1000, brief: true }), view.signal);
    const p = pipes.some((x) => x.pipe === pipe) && await maybe(get(path`/klamm/v1/pipes/${pipe}`, view.signal));
    if (names.topic !== t || !p) return;
    const done = p.partitions.some((x) => x.committed > 0);
    if (done) {
      seen.delivery = true;
      put(delivery, badge('✓ done', 'good'), ' The first record was delivered. ', link('#/pipes/' + encodeURIComponent(pipe), `Look at ${pipe}`));
    } else {
      put(delivery, waiting(`${pipe} is there; waiting for its first delivery`), ' ', link('#/pipes/' + encodeURIComponent(pipe), 'See what it does'));
    }
  };
  view.draw(title('Getting started'), h('p', 'Three boxes to copy, for a terminal on your machine. They work against this klamm.'), h('div.filters', topic, target), boxes,
    h('p.complete', 'These are all the steps. What comes next: ', link('#/produce', 'write records by a form'), ', ', link('#/sandbox', 'filter with a pattern'), ', ', link('#/bus', 'event buses'), '.'));
  redraw();
  view.every(2, look);
}

const waiting = (text) => [badge('… waiting', 'warn'), ' ' + text];

const maybe = (of) => of.catch((e) => { if (e instanceof Problem && e.status === 404) return null; throw e; });

// receiver is a program of a few lines that shows what is delivered to a URL of this
// machine.
function receiver(url) {
  let port = 9000;
  try { port = Number(new URL(url).port) || 80; } catch { /* the field says what is wrong with it */ }
  return `python3 -c '
from http.server import *
class H(BaseHTTPRequestHandler):
    def do_POST(s):
        print(s.headers["Klamm-Topic"], s.rfile.read(int(s.headers["Content-Length"])), flush=True)
        s.send_response(204); s.end_headers()
HTTPServer(("127.0.0.1", ${port}), H).serve_forever()'`;
}
