// Dead letters: one is fixed and delivered, one is fixed badly, and some are discarded.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, signedIn, Window } from './browser.js';
import { until } from './klamm.js';
import { Client, told } from './seed.js';

const { url, keys, receiver } = told();
const op = new Client(url, keys.operator);
const pipe = 'heartbeats-failing';
let w;
let page;

before(async () => {
  await until('all heartbeats are given up', async () => (await letters()).length === 6, 90);
  w = await Window.open({ url, cookies: await signedIn(url, { key: keys.operator }) });
  page = w.page;
});
after(async () => { await w?.close(); await close(); });

const letters = async () => (await op.get(`/klamm/v1/pipes/${pipe}/dead-letters`)).dead_letters;

// row is that of a letter in the table of letters.
const row = (l) => page.getByRole('region', { name: 'Dead letters, the oldest first' }).getByRole('row').filter({ has: page.getByRole('link', { name: `${l.topic}/${l.partition} at ${l.offset}`, exact: true }) });

test('a letter is fixed: its value is changed, and it is delivered', async () => {
  const before = await letters();
  const [letter] = before;
  await w.go('#/letters/' + pipe);
  await w.sees('HTTP status 503');
  await row(letter).getByRole('button', { name: 'Fix' }).click();
  const dialog = page.getByRole('dialog', { name: 'Fix a letter' });
  const value = dialog.getByLabel('Value');
  await value.waitFor();
  const was = JSON.parse(await value.inputValue());
  assert.match(was.device, /^d-[01]$/, 'the form has the value of the record');
  assert.match(await dialog.innerText(), new RegExp(`${letter.topic}, partition ${letter.partition}, offset ${letter.offset}\\b`));
  await w.accessible('with the form to fix a letter');
  await w.picture('letters-fix');
  const now = JSON.stringify({ ...was, device: 'mended', digits: 'N' }).replace('"N"', '12345678901234567890');
  await value.fill(now);
  await dialog.getByRole('button', { name: 'Redrive' }).click();
  await w.sees('1 delivered, 0 given up again, of 1');
  assert.equal(await (await fetch(receiver + '/last?/fails/mended')).text(), now, 'what was delivered is what was written, digit for digit');
  await until('the letter has left the list', async () => await row(letter).count() === 0, 60);
  const rest = await letters();
  assert.deepEqual(rest.map((l) => l.id), before.slice(1).map((l) => l.id));
  const [there] = await op.get(`/topics/${letter.topic}/partitions/${letter.partition}/records?offset=${letter.offset}&count=1`);
  assert.deepEqual(there.value, was, 'the record in its topic is as it was');
  await w.clean();
});

test('a letter that is fixed badly is a letter again, once, and Escape changes nothing', async () => {
  const before = await letters();
  const [letter] = before;
  await w.go('#/letters');
  await w.sees('Show its dead letters');
  await w.go('#/letters/' + pipe);
  await w.sees('HTTP status 503');
  const fix = row(letter).getByRole('button', { name: 'Fix' });
  const value = page.getByRole('dialog').getByLabel('Value');
  await fix.click();
  await value.fill('{"device": "nobody"}');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.deepEqual((await letters()).map((l) => l.id), before.map((l) => l.id));
  await fix.click();
  await value.fill('{"device": "still-down"}');
  await page.getByRole('dialog').getByRole('button', { name: 'Redrive' }).click();
  await w.sees('0 delivered, 1 given up again, of 1');
  assert.equal(await (await fetch(receiver + '/last?/fails/still-down')).text(), '{"device": "still-down"}');
  const now = await letters();
  assert.equal(now.length, before.length);
  assert.equal(now.filter((l) => l.topic === letter.topic && l.partition === letter.partition && l.offset === letter.offset).length, 1);
  await w.clean();
});

test('discarding asks for the name, and takes only what was asked for', async () => {
  const before = await letters();
  const [letter] = before;
  await w.go('#/letters');
  await w.sees('Show its dead letters');
  await w.go('#/letters/' + pipe);
  await w.sees('HTTP status 503');
  await row(letter).getByRole('button', { name: 'Discard' }).click();
  const dialog = page.getByRole('dialog', { name: 'Discard one letter' });
  await dialog.getByLabel(`Type ${pipe} to go on`).fill('another');
  await dialog.getByRole('button', { name: 'Discard one letter' }).click();
  await dialog.getByText('That is another name.').waitFor();
  assert.equal((await letters()).length, before.length);
  await dialog.getByLabel(`Type ${pipe} to go on`).fill(pipe);
  await dialog.getByRole('button', { name: 'Discard one letter' }).click();
  await dialog.waitFor({ state: 'detached' });
  await until('the letter has left the list', async () => await row(letter).count() === 0, 60);
  assert.deepEqual((await letters()).map((l) => l.id), before.slice(1).map((l) => l.id));
  await w.clean();
});
