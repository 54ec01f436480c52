// The live tail at 5,000 records a second.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { close, signedIn, Window } from './browser.js';
import { Client, told } from './seed.js';
import { until } from './klamm.js';

const { url, keys } = told();
const wanted = 5000;

after(close);

// firehose writes records as evenly as it can until it is stopped, and says how many.
function firehose() {
  const op = new Client(url, keys.operator);
  const began = Date.now();
  let sent = 0;
  let ended = false;
  const value = 'x'.repeat(60);
  const line = async () => {
    while (!ended) {
      const due = (Date.now() - began) / 1000 * wanted - sent;
      if (due < 100) { await new Promise((done) => setTimeout(done, 10)); continue; }
      const n = Math.min(1000, Math.floor(due));
      const at = sent;
      sent += n;
      await op.records('firehose', Array.from({ length: n }, (_, i) => ({ key: 'k' + (at + i) % 100, value: { n: at + i, value } })));
    }
  };
  const lines = [line(), line(), line()];
  return { rate: () => sent / ((Date.now() - began) / 1000), stop: async () => { ended = true; await Promise.all(lines); return sent; } };
}

test('5,000 records a second leave the page responsive, and it says what it leaves out', async () => {
  const w = await Window.open({ url, cookies: await signedIn(url, { key: keys.operator }) });
  const { page } = w;
  await w.go('#/tail/firehose');
  await w.sees('firehose');
  const flow = firehose();
  try {
    await until('records are shown', async () => /"n"|k\d+/.test(await w.text()), 30);
    await page.evaluate(() => {
      window.__late = [];
      let last = performance.now();
      window.__watch = setInterval(() => { const now = performance.now(); window.__late.push(now - last - 50); last = now; }, 50);
    });
    await new Promise((done) => setTimeout(done, 5000));
    const clicks = [];
    for (const name of [/^pause/i, /^(resume|go on|continue)/i, /^pause/i]) {
      const button = page.getByRole('main').getByRole('button', { name }).first();
      await button.waitFor();
      // Measured inside the page: from the click to the next frame in which the button has
      // another name or is gone.
      clicks.push(await button.evaluate((b) => new Promise((done) => {
        const before = b.innerText;
        const at = performance.now();
        const look = () => (!b.isConnected || b.innerText !== before ? done(performance.now() - at) : requestAnimationFrame(look));
        setTimeout(() => { b.click(); requestAnimationFrame(look); }, 0);
      })));
      await new Promise((done) => setTimeout(done, 700));
    }
    const late = (await page.evaluate(() => { clearInterval(window.__watch); return window.__late; })).sort((a, b) => a - b);
    const rate = flow.rate();
    const rows = await page.evaluate(() => document.querySelectorAll('main tbody tr, main li, main .record').length);
    console.log(`live tail: ${Math.round(rate)} records/s written; a click answers after ${clicks.map((c) => Math.round(c)).join(', ')} ms; the page is late by ${Math.round(late[late.length >> 1])} ms (median), ${Math.round(late.at(-1))} ms (most); ${rows} rows`);
    await w.sees(/not drawn\s+[1-9][\d,]*\s+too much for a screen/i);
    await w.picture('tail-5000');
    assert.ok(rows <= 1200, `${rows} rows in the page`);
    assert.ok(Math.max(...clicks) < 20_000, `a click answers after ${Math.max(...clicks)} ms`);
  } finally { await flow.stop(); }
  await w.clean();
  await w.close();
});
