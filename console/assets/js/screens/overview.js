// Overview: what is wrong now, what is behind, what has changed, and how it has gone.
import { h, put } from '../dom.js';
import { get, Problem } from '../api.js';
import { title, section, link, badge, stats, stat, notice, problem, empty, table, field, commands } from '../ui.js';
import { count, span, time, ago } from '../format.js';
import { trends, writes, spanOf } from '../trends.js';

export async function show(view) {
  const wrong = h('div');
  const numbers = h('div');
  const behind = h('div');
  const changes = h('div');
  const charts = h('div');
  let refresh;
  const draw = (width) => {
    let box;
    [box, refresh] = trends([
      { title: 'Requests', write: writes.rate, series: [['requests_2xx', 'served'], ['requests_4xx', 'refused'], ['requests_5xx', 'failed']] },
      { title: 'Time to answer', write: writes.seconds, series: [['latency_p50', 'half within'], ['latency_p95', '95 %'], ['latency_p99', '99 %']] },
      { title: 'Records', write: writes.rate, series: [['records', 'written'], ['delivered', 'delivered by pipes'], ['failed', 'failed attempts']] },
      { title: 'Behind', write: writes.count, series: [['lag', 'records that pipes have not done with']] },
      { title: 'Bytes written', write: (v) => writes.bytes(v) + '/s', series: [['bytes', 'keys and values']] },
      { title: 'Memory', write: writes.bytes, series: [['memory', 'resident']] },
    ], { span: width, signal: view.signal });
    put(charts, box);
  };
  draw(spanOf(view));
  view.draw(title('Overview'), wrong, numbers, h('div.grid2', section('The longest behind', behind), section('What changed last', changes)),
    h('div.filters', field('Charts of the last', { options: [['1h', 'hour'], ['24h', 'day']], value: spanOf(view), onchange: (v) => { view.set({ span: v === '1h' ? null : v }); draw(v); refresh().catch(() => {}); } })),
    charts, commands({ curl: { path: '/klamm/v1/status' }, klamm: 'status' }));
  const known = processes(view);
  const part = (box, act) => act().catch((e) => { if (e.name !== 'AbortError') put(box, problem(e)); });
  view.every(5, () => Promise.all([
    part(wrong, () => look(view, known, wrong, numbers, behind)), part(charts, () => refresh()),
  ]));
  view.every(20, () => part(changes, () => changed(view, changes)));
}

// maybe is null for what is not there, or not for the caller.
const maybe = (of) => of.catch((e) => { if (e instanceof Problem && [403, 404, 409, 501].includes(e.status)) return null; throw e; });

// processes are the processes of the cluster, asked for each twenty seconds: each of them
// asks all the others.
function processes(view) {
  let asked;
  let at;
  return () => {
    if (!asked || performance.now() - at > 19_000) {
      at = performance.now();
      asked = maybe(get('/klamm/v1/members?brief=true', view.signal));
      asked.catch(() => { asked = undefined; });
    }
    return asked;
  };
}

async function look(view, known, wrong, numbers, behind) {
  const [status, pipes, giving, targets, members] = await Promise.all([
    get('/klamm/v1/status', view.signal), maybe(get('/klamm/v1/pipes?sort=behind&limit=10&brief=true', view.signal)), maybe(get('/klamm/v1/pipes?sort=dead_lettered&limit=5&brief=true', view.signal)),
    maybe(get('/klamm/v1/targets?state=down&limit=10', view.signal)), known(),
  ]);
  const sums = pipes && pipes.sums || { pipes: 0, looked: 0, lag: 0 };
  const down = targets ? targets.targets : [];
  const missing = members ? members.members.filter((m) => m.problem) : [];
  const said = [];
  for (const p of status.problems) said.push(notice('bad', h('strong', 'klamm is not ready: '), p));
  if (status.catalog) said.push(notice('bad', h('strong', 'The topic of definitions cannot be used: '), status.catalog));
  for (const w of status.wrong.slice(0, 20)) {
    said.push(notice(w.state === 'running' ? 'warn' : 'bad', h('strong', `Pipe ${w.state}: `), link('#/pipes/' + encodeURIComponent(w.pipe), w.pipe), w.reason ? ' – ' + w.reason : ''));
  }
  if (status.wrong.length > 20) said.push(notice('bad', `${count(status.wrong.length - 20)} more pipes are halted or fail. `, link('#/pipes?state=halted', 'Show them')));
  for (const t of down) said.push(notice('bad', h('strong', 'Target down: '), link('#/targets?search=' + encodeURIComponent(t.endpoint), t.endpoint), `, for ${count(t.pipes_count)} ${t.pipes_count === 1 ? 'pipe' : 'pipes'}`));
  if (targets && targets.next) said.push(notice('bad', 'More targets are down. ', link('#/targets?state=down', 'Show them')));
  for (const m of missing) said.push(notice('warn', h('strong', 'A process does not answer: '), m.address || m.id, ' – ', m.problem));
  if (giving && giving.pipes.length) {
    const sum = giving.sums.dead_lettered;
    said.push(notice('warn', h('strong', `${count(sum)} ${sum === 1 ? 'record was' : 'records were'} given up`), ' since the pipes began to run: ', giving.pipes.map((p, i) => [i ? ', ' : '', link('#/letters/' + encodeURIComponent(p.pipe), p.pipe)]), giving.total > giving.pipes.length ? [' and ', link('#/letters', `${count(giving.total - giving.pipes.length)} more`), '.'] : '.'));
  }
  put(wrong, said.length ? said : notice('good', h('strong', 'Nothing is wrong.'), ' klamm is ready', sums.pipes ? ', every pipe runs and every target answers.' : '.'));
  const states = Object.entries(status.states);
  put(numbers, stats(
    stat('klamm', badge(status.ready ? '● ready' : '■ not ready', status.ready ? 'good' : 'bad'), status.version),
    stat('Pipes', count(states.reduce((n, [, v]) => n + v, 0)), states.map(([k, v]) => `${count(v)} ${k}`).join(', ') || 'none yet'),
    stat('Records behind', pipes ? count(sums.lag) : '–', sums.looked < sums.pipes ? `of ${count(sums.looked)} pipes, so far` : 'of all pipes'),
    stat('Processes', members ? count(members.members.length) : '–', missing.length ? `${missing.length} without an answer` : 'of this cluster'),
    stat('Brokers', count(status.brokers.length), status.brokers[0])));
  const late = pipes ? pipes.pipes : [];
  put(behind, table([
    { name: 'Pipe', of: (p) => p.pipe },
    { name: 'Behind', number: true, of: (p) => (p.behind_seconds === null || p.behind_seconds === undefined ? '–' : span(p.behind_seconds)) },
    { name: 'Records', number: true, of: (p) => count(p.lag) },
    { name: 'State', of: (p) => p.state },
  ], late, { caption: 'Pipes that have records before them, the oldest record first', note: [late.length < pipes?.total ? `The first ${count(late.length)} of ${count(pipes.total)}.` : 'These are all.', sums.looked < sums.pipes ? ` ${count(sums.looked)} of ${count(sums.pipes)} pipes were looked at so far; the others come in turn.` : ''],
    href: (p) => '#/pipes/' + encodeURIComponent(p.pipe),
    none: !pipes ? empty('You may not look at pipes here.') : sums.pipes ? empty('No pipe is behind.') : empty('There are no pipes yet. ', link('#/start', 'Getting started'), ' makes one.') }));
}

async function changed(view, box) {
  const [definitions, configuration] = await Promise.all([maybe(get('/klamm/v1/definitions?recent=10', view.signal)), maybe(get('/klamm/v1/configuration', view.signal))]);
  const all = [];
  for (const d of (definitions && definitions.definitions) || []) {
    if (d.changed) all.push({ at: d.changed, what: ['Pipe ', link('#/pipes/' + encodeURIComponent(d.pipe), d.pipe), d.created !== d.changed ? ' changed' : ' made'], by: d.by });
  }
  for (const g of (configuration && configuration.generations) || []) {
    all.push({ at: g.since, what: g.generation === 1 ? 'klamm started' : `Configuration ${g.generation} counts`, by: g.hash && h('span.mono', g.hash.slice(0, 8)) });
  }
  all.sort((x, y) => new Date(y.at) - new Date(x.at));
  put(box, table([
    { name: 'When', of: (c) => h('span', { title: time(c.at) }, ago(c.at)) },
    { name: 'What', of: (c) => c.what },
    { name: 'By', of: (c) => c.by || '–' },
  ], all.slice(0, 10), { caption: 'Definitions of pipes and configurations of this process', complete: true, note: all.length > 10 || definitions?.more ? `The last ${count(Math.min(all.length, 10))}.` : undefined, none: empty('Nothing has changed yet.') }),
  h('p.dim', 'Who did what is in the ', link('#/audit', 'audit log'), '.'));
}
