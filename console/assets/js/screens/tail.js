// Live tail: the records of a topic as they come. Whatever comes is counted; of what is
// too much for a screen a part is drawn.
import { h, put } from '../dom.js';
import { events, get, path, query, Problem } from '../api.js';
import { badge, button, commands, empty, field, form, link, notice, problem, section, stat, stats, title } from '../ui.js';
import { count, rate, shell } from '../format.js';
import { exportButtons, recordTable, streamed, topicField } from '../records.js';

const drawEvery = 0.1; // seconds
const drawAtLeast = 1; // seconds, where the page is late
const mostADraw = 20; // rows
const mostRows = 500;

export async function show(view) {
  const [name] = view.parts;
  const q = view.q;
  const topic = topicField(name);
  const from = field('Begin with', { value: q.get('from') || '', options: [['', 'what comes'], ['earliest', 'the oldest']] });
  const partition = field('Partition', { type: 'number', value: q.get('partition'), placeholder: 'all' });
  partition.input.min = 0;
  const key = field('Key', { value: q.get('key'), placeholder: 'exactly, or with * and ?' });
  const pattern = field('Event pattern', { value: q.get('pattern'), rows: 2, placeholder: '{"value": {"amount": [{"numeric": [">", 100]}]}}', hint: 'Sees topic, partition, offset, timestamp, key, headers and value.' });
  const body = h('div');
  view.draw(title('Live tail', name && h('a.button', { href: '#/topics/' + encodeURIComponent(name) }, 'Topic')),
    section(null, form([h('div.filters', topic, from, partition, key), pattern], 'Follow', async () => {
      const to = query('#/tail/' + encodeURIComponent(topic.input.value.trim()), { from: from.input.value, partition: partition.input.value, key: key.input.value, pattern: pattern.input.value.trim() });
      if (location.hash === to) view.again(); else location.hash = to;
    })), body);
  if (!name) {
    put(body, empty('Choose a topic: its records are shown here as they come.'));
    return;
  }
  const { masked } = await get(path`/klamm/v1/topics/${name}`, view.signal);
  await follow(view, name, masked, body);
}

async function follow(view, name, masked, body) {
  const q = view.q;
  const parameters = { from: q.get('from'), partition: q.get('partition'), filter: q.get('key') && 'key:' + q.get('key'), pattern: q.get('pattern'), mask: 'true' };
  const rows = recordTable(`The newest records of ${name}, at most ${mostRows}`, { newest: true });
  const numbers = h('div');
  const told = h('div');
  const waiting = empty('Waiting for the next record. ', link('#/produce?topic=' + encodeURIComponent(name), 'Produce one'), '.');
  const n = { came: 0, drawn: 0, skipped: 0, before: 0, rate: 0 };
  let queue = []; // texts that are not drawn yet, at most mostRows
  let kept = []; // records that are drawn, the newest first
  let paused = false;

  const pause = button('Pause', () => {
    paused = !paused;
    pause.textContent = paused ? 'Go on' : 'Pause';
    tell();
  });
  const clear = button('Clear', () => { rows.clear(); kept = []; });
  const tell = () => put(numbers, stats(
    stat('State', paused ? badge('paused', 'warn') : badge(state, state === 'following' ? 'good' : 'warn')),
    stat('Rate', rate(n.rate)), stat('Came', count(n.came)), stat('On the screen', count(kept.length)),
    stat('Not drawn', count(n.skipped), n.skipped ? `too much for a screen: the newest ${mostADraw} are drawn at a time` : 'everything that came was shown')));
  let state = 'connecting';
  const place = h('div', waiting);
  put(body, masked && notice('warn', h('strong', 'Values are masked. '), 'The messages of the topic can be shown unmasked, which is noted in the audit log: ', link('#/topics/' + encodeURIComponent(name), 'Topic')),
    h('div.acts', pause, clear, exportButtons(name, () => kept)), numbers, told, place,
    commands({ curl: { path: query(path`/stream/${name}`, parameters), headers: { Accept: 'text/event-stream' } }, klamm: q.get('key') || q.get('pattern') ? undefined : `consume -t ${shell(name)} -o ${q.get('from') ? 'beginning' : 'end'}${q.get('partition') ? ' -p ' + q.get('partition') : ''} -J` }));
  tell();

  const draw = () => {
    if (paused || document.hidden || !queue.length) return;
    const fresh = queue.slice(-mostADraw);
    n.skipped += queue.length - fresh.length;
    queue = [];
    const records = fresh.map(streamed);
    if (!kept.length) put(place, rows);
    n.drawn += records.length;
    rows.grow(...records);
    rows.trim(mostRows);
    kept = [...records.toReversed(), ...kept].slice(0, mostRows);
  };
  // A page that is late with its own clock is drawn less often, so that it goes on
  // answering to clicks.
  const ticking = (async () => {
    let pause = drawEvery;
    let toldAt = performance.now();
    while (!view.signal.aborted) {
      const begun = performance.now();
      draw();
      if (begun - toldAt >= 1000) {
        n.rate = (n.came - n.before) * 1000 / (begun - toldAt);
        n.before = n.came;
        toldAt = begun;
        tell();
      }
      await view.sleep(pause);
      const late = (performance.now() - begun) / 1000 - pause;
      pause = Math.min(drawAtLeast, Math.max(drawEvery, late > drawEvery ? pause * 2 : pause * 0.8));
    }
  })();

  let lastEventID;
  while (!view.signal.aborted) {
    try {
      state = 'following';
      tell();
      await events(query(path`/stream/${name}`, parameters), { signal: view.signal, lastEventID, raw: true }, (e) => {
        if (e.id !== undefined) lastEventID = e.id;
        if (e.event === 'record') {
          n.came++;
          queue.push(e.data);
          if (queue.length > 2 * mostRows) { n.skipped += queue.length - mostRows; queue = queue.slice(-mostRows); }
        } else if (e.event === 'gap') {
          const g = JSON.parse(e.data);
          put(told, notice('warn', `Records of partition ${g.partition} are gone: ${count(g.requested)} was asked for, and ${count(g.earliest)} is the earliest that is left.`));
        } else if (e.event === 'error') {
          const p = JSON.parse(e.data);
          put(told, notice('bad', h('strong', `${p.status} ${p.title} `), p.detail || ''));
        }
      });
      state = 'coming again';
    } catch (e) {
      if (e.name === 'AbortError' || view.signal.aborted) break;
      if (e instanceof Problem && e.status >= 400 && e.status < 500 && e.status !== 429) {
        put(told, problem(e));
        state = 'refused';
        tell();
        break;
      }
      state = 'coming again';
      put(told, notice('warn', 'The stream broke off; it is taken up where it was. ', e.message));
    }
    await view.sleep(2);
  }
  await ticking;
}
