// Thousands of topics, and more pipes than klamm asks brokers about for one screen: what a
// screen fetches and draws is bounded. Bytes and elements are counted; times are not.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { close, Window } from './browser.js';
import { Klamm, until } from './klamm.js';
import { screens } from './screens.js';
import { Client } from './seed.js';

const topics = Number(process.env.KLAMM_CONSOLE_TOPICS || 2_500);
const buses = 120;
const functions = 120; // that run elsewhere: none is called
const pipes = Number(process.env.KLAMM_CONSOLE_PIPES || 1_100);
const mostBytes = 400_000; // of answers to a screen, before compression, within a few seconds
const mostElements = 6_000;
const name = (kind, i) => `${kind}${kind === 'function' ? '-' : '.'}${String(i).padStart(5, '0')}`;

let directory;
let klamm;
let w;

// each does something for every number below many, eight at once.
async function each(many, act) {
  let next = 0;
  await Promise.all(Array.from({ length: 8 }, async () => { while (next < many) await act(next++); }));
}

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'klamm-many-'));
  await writeFile(path.join(directory, 'klamm.yaml'), `bus: {buses: ${buses + 1}}\nfunctions:\n${Array.from({ length: functions }, (_, i) => `  - {name: ${name('function', i)}, url: "http://127.0.0.1:9/"}\n`).join('')}`);
  klamm = await new Klamm({ directory, brokers: '', config: 'klamm.yaml' }).start();
  const all = new Client(klamm.url);
  await each(topics, (i) => all.call('POST', '/klamm/v1/topics', { topic: name('topic', i), partitions: 1 }));
  await each(pipes, async (i) => { // paused: so many readers are not what is looked at here
    const pipe = name('pipe', i);
    await all.call('PUT', '/klamm/v1/pipes/' + pipe, { name: pipe, topics: [name('topic', i % topics)], target: { topic: { name: 'out' } } });
    await until(pipe + ' is paused', async () => (await all.call('POST', `/klamm/v1/pipes/${pipe}/pause`, {}, { may: [404] })).status === 200, 60);
  });
  // One more is that by which invocations that nobody waits for run.
  await until('klamm knows all pipes', async () => (await all.get('/klamm/v1/pipes?limit=1')).total === pipes + 1, 120);
  w = await Window.open({ url: klamm.url });
});
after(async () => {
  await w?.close();
  await close();
  await klamm?.stop();
  await rm(directory, { recursive: true, force: true });
});

// weigh opens an address and gives the bytes of the answers of klamm's APIs until they have
// been there for a moment, and the elements that are drawn.
async function weigh(at) {
  let bytes = 0;
  const under = new Set();
  const asked = (r) => { if (!new URL(r.url()).pathname.startsWith('/klamm/console/')) under.add(r); };
  const answered = async (r) => {
    if (!under.has(r.request())) return;
    try { bytes += (await r.body()).length; } catch { /* a stream, or left before its end */ }
  };
  w.page.on('request', asked);
  w.page.on('response', answered);
  await w.page.goto('about:blank');
  await w.page.goto(klamm.url + '/' + at);
  await w.page.getByRole('heading', { level: 1 }).first().waitFor();
  await w.page.waitForLoadState('networkidle', { timeout: 5000 }).catch(() => {}); // where something is live it never is
  w.page.off('request', asked);
  w.page.off('response', answered);
  return { bytes, elements: await w.page.evaluate(() => document.querySelectorAll('*').length) };
}

for (const { id } of screens.filter((s) => s.id !== 'tail')) {
  test(`#/${id}: bounded`, async () => {
    const { bytes, elements } = await weigh('#/' + id);
    console.log(`${id}: ${bytes} bytes, ${elements} elements`);
    assert.ok(bytes > 0 && bytes < mostBytes, `${bytes} bytes of answers`);
    assert.ok(elements < mostElements, `${elements} elements`);
    await w.clean();
  });
}

test('a topic and a pipe in the middle are found by their names', async () => {
  const topic = name('topic', topics >> 1);
  const pipe = name('pipe', pipes >> 1);
  await w.go('#/topics');
  await w.sees(name('topic', 0), 'there are more');
  await w.page.getByLabel('Name begins with').fill(topic);
  await w.sees(topic, 'All 1.');
  await w.go('#/pipes');
  await w.sees(name('pipe', 0), `100 of ${(pipes + 1).toLocaleString('en')}.`);
  await w.page.getByLabel('Name contains').fill(pipe);
  await w.sees(pipe, 'All 1.');
  await w.clean();
});

test('more rows come one page after the other, and the keyboard stays there', async () => {
  await w.go('#/topics');
  const more = w.page.getByRole('main').getByRole('button', { name: 'Show more' });
  const rows = () => w.page.locator('main tbody tr').count();
  for (const shown of [200, 300]) {
    await more.focus();
    await w.page.keyboard.press('Enter');
    await until(`${shown} rows`, async () => await rows() === shown, 60);
    await until('the focus is on the button', () => more.evaluate((b) => b === document.activeElement), 30);
  }
  await w.clean();
});

test('event buses come page by page', async () => {
  const all = new Client(klamm.url);
  await each(buses, (i) => all.aws('CreateEventBus', { Name: name('bus', i) })); // not before: their topics come first by name
  await w.go('#/bus');
  await w.sees(name('bus', 0), 'The first 100; there are more.');
  await w.page.getByRole('main').getByRole('button', { name: 'Show more' }).click();
  await w.sees(name('bus', buses - 1), `All ${buses + 1}.`); // and the default one
  assert.match(w.page.url(), /limit=200/);
  await w.clean();
});

test('functions come page by page, and klamm looks for their names', async () => {
  await w.go('#/functions');
  await w.sees(name('function', 0), 'The first 100; there are more.');
  await w.page.getByRole('main').getByRole('button', { name: 'Show more' }).click();
  await w.sees(name('function', functions - 1), `All ${functions}.`);
  const answers = [];
  w.page.on('response', (r) => { if (r.url().includes('/2015-03-31/functions')) answers.push(r); });
  await w.page.getByLabel('Name contains').fill(name('function', functions - 1));
  await w.sees('All 1.');
  assert.equal(answers.length, 1);
  assert.ok((await answers[0].text()).length < 3000, 'others were fetched too');
  await w.clean();
});

// said gives the lines that a screen shows for a terminal: its call and its command.
const said = () => w.page.locator('details.commands').first().locator('code').allInnerTexts();

// shown runs such a line and gives what it writes.
const shown = async (line) => (await promisify(execFile)('/bin/sh', ['-c', line.replace(/^klamm /, '"$KLAMM_BIN" ')], { env: { ...process.env, NO_COLOR: '1' }, maxBuffer: 1 << 26 })).stdout;

for (const { at, label, kind, many } of [
  { at: '#/pipes', label: 'Name contains', kind: 'pipe', many: pipes },
  { at: '#/topics', label: 'Name begins with', kind: 'topic', many: topics },
  { at: '#/bus', label: 'Name begins with', kind: 'bus', many: buses },
  { at: '#/functions', label: 'Name contains', kind: 'function', many: functions },
]) {
  test(`${at}: the same from a terminal is what the filter leaves`, async () => {
    await w.go(at);
    await w.page.locator('details.commands summary').first().click();
    const [one, other] = [name(kind, many >> 1), name(kind, 1)];
    assert.ok((await shown((await said())[1])).includes(other), 'everything is listed without a filter');
    await w.page.getByLabel(label).fill(one);
    await until('the lines name what is searched for', async () => (await said()).every((line) => line.includes(one)), 60);
    assert.ok(await w.page.locator('details.commands').first().evaluate((d) => d.open), 'they are still open');
    for (const line of await said()) {
      const text = await shown(line);
      assert.ok(text.includes(one) && !text.includes(other), `${line}\n${text.slice(0, 500)}`);
    }
    await w.clean();
  });
}
