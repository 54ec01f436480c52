// Lists that are drawn anew every few seconds: the keyboard stays where it was, what is
// selected stays selected, and what klamm does not answer is said until it does again.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { close, signedIn, Window } from './browser.js';
import { until } from './klamm.js';
import { told } from './seed.js';

const { url, keys } = told();

after(close);

const window = (name, act, ...expected) => test(name, async () => {
  const w = await Window.open({ url, cookies: await signedIn(url, { key: keys.operator }) });
  try {
    await act(w, w.page);
    await w.clean(...expected);
  } finally { await w.close(); }
});

// counted counts the answers to calls of a path.
function counted(page, path) {
  const n = { answers: 0 };
  page.on('requestfinished', (r) => { if (new URL(r.url()).pathname === path) n.answers++; });
  return n;
}

window('the focus stays on a row while the list is drawn anew', async (w, page) => {
  await w.go('#/pipes');
  await w.sees('orders-to-shop');
  const row = page.getByRole('main').getByRole('link', { name: 'orders-to-shop', exact: true });
  await row.focus();
  const before = await row.elementHandle();
  await until('the list is drawn anew', () => before.evaluate((e) => !e.isConnected), 60);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'orders-to-shop');
  assert.equal(await row.evaluate((e) => e === document.activeElement), true);
});

window('a dialog leads back to its button, though the button was drawn anew', async (w, page) => {
  await w.go('#/pipes/orders-to-shop');
  const button = page.getByRole('main').getByRole('button', { name: 'Delete', exact: true });
  await button.focus();
  const before = await button.elementHandle();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await until('the buttons are drawn anew', () => before.evaluate((e) => !e.isConnected), 60);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await until('the focus is on the button', () => button.evaluate((e) => e === document.activeElement), 30);
});

window('nothing is drawn anew while text is selected', async (w, page) => {
  await w.go('#/pipes');
  await w.sees('orders-to-shop');
  const row = page.getByRole('main').getByRole('link', { name: 'orders-to-shop', exact: true });
  await row.evaluate((e) => getSelection().selectAllChildren(e));
  await until('that is said', async () => /while text is selected/.test(await page.locator('#said').innerText()), 60);
  assert.equal(await page.evaluate(() => String(getSelection())), 'orders-to-shop');
  const before = await row.elementHandle();
  await page.evaluate(() => getSelection().removeAllRanges());
  await until('the list is drawn anew', () => before.evaluate((e) => !e.isConnected), 60);
});

window('a list says that it is not up to date, and goes on by itself', async (w, page) => {
  await w.go('#/pipes');
  await w.sees('orders-to-shop');
  await w.context.route('**/klamm/v1/pipes?*', (r) => r.abort());
  await w.sees('Not up to date since', 'orders-to-shop');
  await w.context.unroute('**/klamm/v1/pipes?*');
  await until('it is up to date', async () => !(await w.text()).includes('Not up to date'), 60);
  await w.sees('orders-to-shop');
}, /net::ERR_FAILED/);

window('a tab that was left holds no stream', async (w, page) => {
  await w.go('#/pipes/orders-to-shop');
  const tail = '/klamm/v1/deliveries/tail';
  const open = new Set();
  page.on('request', (r) => { if (new URL(r.url()).pathname === tail) open.add(r); });
  for (const of of ['requestfailed', 'requestfinished']) page.on(of, (r) => open.delete(r));
  for (let i = 0; i < 8; i++) { // a browser has six connections to a server
    await page.getByRole('tab', { name: 'Live deliveries' }).click();
    await until('the stream is open', () => open.size > 0, 60);
    await page.getByRole('tab', { name: 'Partitions' }).click();
    await until('the stream is closed', () => open.size === 0, 60);
  }
  const status = counted(page, '/klamm/v1/pipes/orders-to-shop');
  await until('the page goes on', () => status.answers > 0, 60);
});
