// Every screen, opened by its address and by a click, on seeded traffic.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { close, signedIn, Window } from './browser.js';
import { screens } from './screens.js';
import { told } from './seed.js';

const { url, keys } = told();
const operator = { key: keys.operator };
let cookies;
let w;

before(async () => {
  cookies = await signedIn(url, operator);
  w = await Window.open({ url, cookies });
});
after(async () => { await w?.close(); await close(); });

test('the navigation leads to every screen, and every screen is tested', async () => {
  const source = readFileSync('screens-of-the-console.txt', 'utf8');
  const there = [...source.matchAll(/screen\('[^']+', '([a-z]+)', '([^']+)'/g)].map(([, id, title]) => [id, title]);
  assert.deepEqual(there, screens.map((s) => [s.id, s.title]));
  await w.go();
  const list = w.page.getByRole('navigation', { name: 'Screens' });
  await list.getByRole('link').first().waitFor();
  assert.deepEqual(await list.getByRole('link').allInnerTexts(), screens.map((s) => s.title));
});

for (const screen of screens) {
  for (const [i, look] of screen.looks.entries()) {
    test(`${screen.title}: ${look.at}`, async () => {
      assert.ok(look.sees.length, 'what is not waited for is not looked at');
      await w.page.setViewportSize({ width: 1280, height: 800 });
      await w.go('#/nowhere');
      await w.sees('There is no such screen');
      if (i === 0) {
        await w.page.getByRole('navigation', { name: 'Screens' }).getByRole('link', { name: screen.title, exact: true }).click();
        await w.page.getByRole('heading', { level: 1 }).first().waitFor();
        await w.sees(...look.sees);
        assert.equal(new URL(w.page.url()).hash.split('?')[0], '#/' + screen.id);
      }
      await w.page.goto('about:blank');
      await w.page.goto(url + '/' + look.at); // as a link in somebody's mail would
      await w.sees(...look.sees);
      assert.match(await w.page.title(), new RegExp(screen.title + ' · klamm'));
      assert.doesNotMatch(await w.text(), /\bundefined\b|\bNaN\b|\[object |^Failed\b/m, 'something was not written for people');
      await w.clean();
      const name = screen.id + (i ? '-' + i : '');
      await w.picture(name + '-light');
      await w.fits(360, 768, 1440, 3840);
      await w.page.setViewportSize({ width: 360, height: 800 });
      await w.picture(name + '-360');
      await w.page.setViewportSize({ width: 1280, height: 800 });
      await w.accessible('in light');
      await w.dark(true);
      await w.picture(name + '-dark');
      await w.accessible('in dark');
      await w.dark(false);
      await w.clean();
    });
  }
}
