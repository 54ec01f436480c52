// Thousands of topics, and more pipes than klamm asks brokers about for one screen: what a
// screen fetches and draws is bounded. Bytes and elements are counted; times are not.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { close, Window } from './browser.js';
import { Klamm, until } from './klamm.js';
import { screens } from './screens.js';
import { Client } from './seed.js';

const topics = Number(process.env.KLAMM_CONSOLE_TOPICS || 2_500);
const pipes = Number(process.env.KLAMM_CONSOLE_PIPES || 1_100);
const mostBytes = 400_000; // of answers to a screen, before compression, within a few seconds
const mostElements = 6_000;
const name = (kind, i) => `${kind}.${String(i).padStart(5, '0')}`;

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
  klamm = await new Klamm({ directory, brokers: '' }).start();
  const all = new Client(klamm.url);
  await each(topics, (i) => all.call('POST', '/klamm/v1/topics', { topic: name('topic', i), partitions: 1 }));
  await each(pipes, async (i) => { // paused: so many readers are not what is looked at here
    const pipe = name('pipe', i);
    await all.call('PUT', '/klamm/v1/pipes/' + pipe, { name: pipe, topics: [name('topic', i % topics)], target: { topic: { name: 'out' } } });
    await until(pipe + ' is paused', async () => (await all.call('POST', `/klamm/v1/pipes/${pipe}/pause`, {}, { may: [404] })).status === 200, 60);
  });
  await until('klamm knows all pipes', async () => (await all.get('/klamm/v1/pipes?limit=1')).total === pipes, 120);
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
  await w.sees(name('pipe', 0), `100 of ${pipes.toLocaleString('en')}.`);
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
