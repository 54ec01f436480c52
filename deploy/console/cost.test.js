// What the console weighs, how soon it is there, and what it costs klamm to be watched.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { close, signedIn, Window } from './browser.js';
import { Klamm } from './klamm.js';
import { screens } from './screens.js';
import { told } from './seed.js';

const { url, keys } = told();
let directory;
let quiet; // a klamm without traffic

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'klamm-quiet-'));
  quiet = await new Klamm({ directory, brokers: '' }).start();
});
after(async () => {
  await close();
  await quiet?.stop();
  await rm(directory, { recursive: true, force: true });
});

test('the first load of every screen weighs less than 300 KB and is soon painted', async () => {
  const all = [];
  for (const { id } of screens) {
    const w = await Window.open({ url, cookies: await signedIn(url, { key: keys.operator }) }); // a new context: nothing is cached
    await w.go('#/' + id);
    await w.page.getByRole('heading', { level: 1 }).first().waitFor();
    const measured = await w.page.evaluate(async () => {
      const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
      const own = entries.filter((e) => e.entryType === 'navigation' || new URL(e.name).pathname.startsWith('/klamm/console/'));
      const paint = () => performance.getEntriesByName('first-contentful-paint')[0];
      for (let i = 0; i < 100 && !paint(); i++) await new Promise((done) => setTimeout(done, 20));
      return { files: own.length, bytes: own.reduce((n, e) => n + e.transferSize, 0), data: entries.reduce((n, e) => n + (e.transferSize || 0), 0), paint: paint()?.startTime };
    });
    all.push({ id, ...measured });
    await w.close();
  }
  const worst = (of) => all.reduce((a, b) => (b[of] > a[of] ? b : a));
  const paints = all.map((a) => a.paint).sort((a, b) => a - b);
  console.log(`first load: at most ${(worst('bytes').bytes / 1000).toFixed(1)} kB in ${worst('files').files} files (${worst('bytes').id}), with data ${(worst('data').data / 1000).toFixed(1)} kB (${worst('data').id}); ` +
    `first paint ${Math.round(paints[paints.length >> 1])} ms (median), ${Math.round(paints.at(-1))} ms (${worst('paint').id}, most)`);
  for (const a of all) {
    assert.ok(a.bytes > 1000 && a.bytes < 300_000, `${a.id}: ${a.bytes} bytes`);
    assert.ok(a.paint < 60_000, `${a.id}: first paint after ${a.paint} ms`);
  }
});

test('ten open pages cost an idle klamm little', async () => {
  const share = async (seconds) => {
    const from = quiet.seconds();
    const began = performance.now();
    await new Promise((done) => setTimeout(done, seconds * 1000));
    return 100 * (quiet.seconds() - from) / ((performance.now() - began) / 1000);
  };
  await new Promise((done) => setTimeout(done, 2000));
  const alone = await share(5);
  const pages = [];
  for (const { id } of screens.slice(0, 10)) {
    const w = await Window.open({ url: quiet.url });
    await w.go('#/' + id);
    await w.page.getByRole('heading', { level: 1 }).first().waitFor();
    pages.push(w);
  }
  const watched = await share(15);
  console.log(`klamm at idle: ${alone.toFixed(2)} % of a core alone, ${watched.toFixed(2)} % with ten pages open: the pages cost ${(watched - alone).toFixed(2)} %`);
  assert.ok(watched - alone < 60, 'that is far more than three per cent of a core');
  for (const w of pages) { await w.clean(); await w.close(); }
});
