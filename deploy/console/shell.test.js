// Signing in and out, the way around with mouse and keyboard, and addresses that hold.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { close, signedIn, Window } from './browser.js';
import { until } from './klamm.js';
import { Client, told } from './seed.js';

const { url, keys, password, provider } = told();
const refused = /status of 401|session.*401/; // a browser writes every 401 to its console

after(close);

// window opens a page, runs act with it and fails if anything went wrong in it.
const window = (name, options, act, ...expected) => test(name, async () => {
  const w = await Window.open({ url, ...options, cookies: options.key && await signedIn(url, { key: options.key }) });
  try {
    await act(w, w.page);
    await w.clean(...expected);
  } finally { await w.close(); }
});

window('who is not signed in is asked to, and sees nothing before', {}, async (w, page) => {
  await w.go('#/topics');
  await w.sees('Sign in', 'API key', 'Password');
  assert.equal(await page.getByRole('navigation').isVisible(), false);
  await w.accessible();
  await w.fits(360, 1440);
  await w.picture('signin-light');
}, refused);

window('a key signs in, and only the right one', {}, async (w, page) => {
  await w.go('#/topics');
  await page.getByLabel('API key').fill('not-a-key-of-the-console-proof');
  await page.getByRole('button', { name: 'Sign in with a key' }).click();
  await w.page.getByRole('alert').waitFor();
  assert.equal(await page.getByLabel('API key').isVisible(), true, 'the form is still there');
  await page.getByLabel('API key').fill(keys.operator);
  await page.keyboard.press('Enter');
  await w.sees('Name begins with', 'customers');
  assert.equal(new URL(page.url()).hash, '#/topics', 'the address is the one that was opened');
  assert.match(await w.text('header'), /User:operator/);
  assert.equal(await page.evaluate(() => document.cookie), '', 'scripts see no cookie');
  const [cookie] = (await w.context.cookies()).filter((c) => /session/.test(c.name));
  assert.equal(cookie.httpOnly, true);
  assert.match(cookie.sameSite, /Strict|Lax/);
  assert.equal(await page.evaluate((k) => [localStorage, sessionStorage].some((s) => JSON.stringify(s).includes(k)), keys.operator), false, 'the key is kept nowhere');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await w.sees('Sign in', 'API key');
  await page.reload();
  await w.sees('Sign in', 'API key');
}, refused);

window('a password signs in', {}, async (w, page) => {
  await w.go('#/pipes');
  await page.getByLabel('User').fill(password.user);
  await page.getByLabel('Password').fill(password.password);
  await page.getByRole('button', { name: 'Sign in with a password' }).click();
  await w.sees('orders-to-shop');
  assert.match(await w.text('header'), /dora/);
}, refused);

window('an identity provider signs in, and leads back to where one was', { elsewhere: [provider] }, async (w, page) => {
  await w.go('#/topics?prefix=many.00');
  await page.getByRole('link', { name: /identity provider/ }).click();
  await page.getByRole('heading', { name: 'The provider' }).waitFor();
  const asked = new URL(page.url()).searchParams;
  assert.equal(asked.get('code_challenge_method'), 'S256');
  assert.equal(asked.get('response_type'), 'code');
  for (const name of ['state', 'nonce', 'code_challenge']) assert.ok(asked.get(name)?.length >= 16, name);
  await page.getByRole('link', { name: 'I am erin', exact: true }).click();
  await w.sees('Name begins with');
  assert.match(await w.text('header'), /erin/);
  assert.match(new URL(page.url()).hash, /^#\/topics/);
}, refused);

window('the provider leads back to this console and nowhere else', { elsewhere: [provider, 'https://example.org'] }, async (w, page) => {
  for (const back of ['https://example.org/', '//example.org/', '/\\example.org', 'javascript:alert(1)']) {
    await page.goto(url + '/klamm/v1/session/oidc?back=' + encodeURIComponent(back));
    const there = page.getByRole('link', { name: 'I am erin', exact: true });
    if (!await there.isVisible()) continue; // refused before the provider was asked
    await there.click();
    await page.getByRole('navigation', { name: 'Screens' }).waitFor();
    assert.ok(page.url().startsWith(url + '/'), page.url());
  }
}, /status of 40[01]/);

window('a session that is not taken any more leads to the sign-in, and from there back', { key: keys.operator }, async (w, page) => {
  await w.go('#/topics');
  await w.sees('customers');
  const [cookie] = (await w.context.cookies()).filter((c) => /session/.test(c.name));
  await w.context.addCookies([{ ...cookie, value: cookie.value.slice(0, -6) + 'AAAAAA' }]);
  await w.go('#/groups');
  await w.sees('Sign in', 'API key');
  await page.getByLabel('API key').fill(keys.operator);
  await page.keyboard.press('Enter');
  await w.sees('billing');
}, refused);

window('a key that is revoked ends its sessions', {}, async (w, page) => {
  const op = new Client(url, keys.operator);
  const made = (await op.call('POST', '/klamm/v1/keys', { name: 'console-short', principal: 'User:dora' })).document;
  const secret = made.key || made.secret;
  await w.context.addCookies(await until('the key counts', () => signedIn(url, { key: secret })));
  await w.go('#/topics');
  await w.sees('customers');
  await op.call('DELETE', '/klamm/v1/keys/' + encodeURIComponent(made.id || made.name));
  await until('the sign-in is shown', async () => {
    await page.reload();
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    return (await w.text()).includes('API key');
  }, 90);
}, refused);

window('the keyboard alone leads to a screen, into a dialog and out again', { key: keys.operator }, async (w, page) => {
  await w.go();
  await w.sees('Overview');
  const focused = () => page.evaluate(() => { const e = document.activeElement; return { tag: e.tagName, id: e.id, text: e.innerText || e.value || '', dialog: !!e.closest('dialog'), ring: getComputedStyle(e).outlineStyle }; });
  const tabTo = async (what, most = 60) => {
    for (let i = 0; i < most; i++) {
      await page.keyboard.press('Tab');
      const f = await focused();
      if (what(f)) return f;
    }
    return assert.fail('Tab does not get there: ' + what);
  };
  await page.reload();
  await w.sees('Overview');
  const skip = await tabTo((f) => /skip/i.test(f.text), 1);
  assert.notEqual(skip.ring, 'none', 'what has the focus is marked');
  await page.keyboard.press('Enter');
  assert.equal((await focused()).id, 'main', 'the skip link leads to the content');
  await page.reload();
  await w.sees('Overview');
  const link = await tabTo((f) => f.tag === 'A' && f.text === 'Topics and messages');
  assert.notEqual(link.ring, 'none');
  await page.keyboard.press('Enter');
  await w.sees('customers', 'New topic');
  await tabTo((f) => f.tag === 'BUTTON' && /^(create|new|make|add)\b.*topic|^create/i.test(f.text));
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  assert.equal((await focused()).dialog, true, 'the focus is in the dialog');
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press('Tab');
    const f = await focused();
    assert.ok(f.dialog || f.tag === 'BODY', 'the focus stays in the dialog, not on ' + f.tag + ' ' + f.text);
  }
  await w.accessible('with a dialog');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal((await focused()).tag, 'BUTTON', 'the focus is where it was');
});

window('filters are in the address: after a reload, and back and forth', { key: keys.operator }, async (w, page) => {
  await w.go('#/topics');
  await w.sees('customers');
  const search = page.getByLabel('Name begins with');
  await search.fill('many.00');
  await search.press('Enter');
  await until('the list is filtered', async () => !(await w.text()).includes('customers') && (await w.text()).includes('many.0001'));
  const filtered = page.url();
  assert.match(filtered, /many\.00/);
  await page.reload();
  await w.sees('many.0001', 'many.00');
  assert.ok(!(await w.text()).includes('customers'), 'the filter holds after a reload');
  await page.getByRole('main').getByRole('link', { name: 'many.0001', exact: true }).click();
  await until('the topic is shown', async () => new URL(page.url()).hash.startsWith('#/topics/many.0001'));
  await page.goBack();
  await until('the list is shown as it was', async () => page.url() === filtered && (await w.text()).includes('many.0002'));
  await page.goForward();
  await until('the topic is shown again', async () => new URL(page.url()).hash.startsWith('#/topics/many.0001') && !(await w.text()).includes('many.0002'));
});

window('a narrow page has its screens behind a button', { key: keys.operator, width: 360, height: 740 }, async (w, page) => {
  await w.go();
  await w.sees('Overview');
  const nav = page.getByRole('navigation', { name: 'Screens' });
  assert.equal(await nav.isVisible(), false);
  const menu = page.getByRole('button', { name: 'Menu' });
  await menu.click();
  assert.equal(await menu.getAttribute('aria-expanded'), 'true');
  await w.accessible('with the menu open');
  await nav.getByRole('link', { name: 'Pipes', exact: true }).click();
  await w.sees('orders-to-shop');
  assert.equal(await nav.isVisible(), false);
});

window('light and dark can be chosen, and stay chosen', { key: keys.operator }, async (w, page) => {
  await w.go();
  await w.sees('Overview');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'Theme' }).click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  await w.sees('Overview');
  assert.equal(await ground(), dark);
  await w.accessible('in the dark that was chosen');
});

window('what cannot be reached is said', { key: keys.operator }, async (w, page) => {
  await w.go('#/topics');
  await w.sees('customers');
  await w.context.route('**/klamm/v1/groups*', (r) => r.abort());
  await w.go('#/groups');
  await w.sees('klamm does not answer');
  await page.getByRole('alert').first().waitFor();
}, /net::ERR_FAILED/);

window('who may do little sees little, and is told why', { key: keys.reader }, async (w, page) => {
  await w.go('#/topics');
  await w.sees('orders');
  assert.ok(!(await w.text()).includes('payments'), 'topics that may not be seen are not shown');
  await w.go('#/access/keys');
  await w.sees('403');
  assert.match(await w.text('header'), /User:reader/);
}, /status of 403/);
