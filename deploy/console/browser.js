// Chromium, and pages that remember everything that a page of klamm's must not do.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import axe from 'axe-core';
import { chromium } from 'playwright-core';
import { until } from './klamm.js';

export const out = process.env.KLAMM_CONSOLE_OUT || '/tmp/klamm-console';

let launched;

export async function browser() {
  launched ??= chromium.launch({
    executablePath: process.env.KLAMM_CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
  });
  return launched;
}

export async function close() {
  if (launched) await (await launched).close();
  launched = undefined;
}

// fromDirectory serves the console's files out of KLAMM_CONSOLE_ASSETS, for who works on a
// screen and does not want to build klamm for each change.
async function fromDirectory(route) {
  const name = new URL(route.request().url()).pathname.replace('/klamm/console/', '');
  const response = await route.fetch({ headers: { ...route.request().headers(), 'if-none-match': '' } });
  const headers = { ...response.headers(), 'content-type': { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }[path.extname(name)] || 'text/html' };
  delete headers['content-encoding'];
  try {
    await route.fulfill({ status: 200, headers, body: await readFile(path.join(process.env.KLAMM_CONSOLE_ASSETS, name)) });
  } catch { await route.fulfill({ response }); }
}

const signed = new Map();

// signedIn gives the cookie of a session, as a browser context wants it. It signs in once
// for each credential: klamm lets an address do that every few seconds only.
export async function signedIn(url, credentials) {
  const name = url + JSON.stringify(credentials);
  if (!signed.has(name)) {
    signed.set(name, await until('signing in', async () => {
      const answer = await fetch(url + '/klamm/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Klamm-Console': '1' }, body: JSON.stringify(credentials) });
      if (answer.status >= 300) throw new Error(`${answer.status} ${await answer.text()}`);
      return answer.headers.getSetCookie().map((line) => {
        const [cookie, ...value] = line.split(';')[0].split('=');
        return { name: cookie, value: value.join('='), url };
      });
    }, 60));
  }
  return signed.get(name);
}

// A Window is a page of the console with what went wrong in it.
export class Window {
  wrong = []; // console errors, exceptions, CSP violations, dialogs, strange requests

  // open: {url, cookies, width, height, dark, timezoneId}. Every request has to go to url.
  static async open({ url, cookies, width = 1280, height = 800, dark = false, elsewhere = [] }) {
    const w = new Window();
    w.url = url;
    w.context = await (await browser()).newContext({
      viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', locale: 'en-GB', timezoneId: 'UTC', serviceWorkers: 'block', acceptDownloads: true,
    });
    w.context.setDefaultTimeout(60000);
    if (cookies) await w.context.addCookies(cookies);
    w.page = await w.context.newPage();
    w.page.on('console', (m) => { if (m.type() === 'error' || /content security|trusted ?type/i.test(m.text())) w.wrong.push(`console: ${m.text()} ${m.location().url || ''}`); });
    w.page.on('pageerror', (e) => w.wrong.push(`exception: ${e.stack || e}`));
    w.page.on('dialog', (d) => { w.wrong.push(`dialog: ${d.message()}`); d.dismiss(); });
    w.page.on('request', (r) => { if (![url, ...elsewhere].some((u) => r.url().startsWith(u)) && !/^(blob|data):/.test(r.url())) w.wrong.push(`request elsewhere: ${r.url()}`); });
    if (process.env.KLAMM_CONSOLE_ASSETS) await w.context.route(url + '/klamm/console/**', fromDirectory);
    await w.page.exposeFunction('__violation', (text) => w.wrong.push('CSP: ' + text));
    await w.page.addInitScript(() => {
      addEventListener('securitypolicyviolation', (e) => window.__violation(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber} ${e.sample}`));
    });
    return w;
  }

  // go opens an address of the console: '#/topics/orders'.
  async go(hash = '') {
    const at = this.page.url();
    if (at.startsWith(this.url + '/#')) await this.page.evaluate((h) => { location.hash = h; }, hash);
    else await this.page.goto(this.url + '/' + hash);
  }

  // text is what a person reads in the main part, or in all of the page.
  text(selector = 'main') { return this.page.locator(selector).innerText(); }

  // sees waits until all texts (or patterns) can be read, in whatever case they are shown.
  async sees(...texts) {
    let missing = texts;
    try {
      await until('text', async () => {
        const all = (await this.text()).toLowerCase() + '\n' + (await this.values()).toLowerCase();
        missing = texts.filter((t) => !(t instanceof RegExp ? t.test(all) : all.includes(t.toLowerCase())));
        return !missing.length;
      }, 60);
    } catch {
      await this.picture('failed-' + (this.page.url().split('#')[1] || '').replace(/[^a-z0-9]+/gi, '-').slice(0, 60));
      assert.fail(`${this.page.url()} does not show ${missing.map(String).join(' | ')}; it shows:\n${(await this.text()).slice(0, 3000)}`);
    }
  }

  // values are the texts in the fields of the main part and of a dialog.
  values() { return this.page.evaluate(() => [...document.querySelectorAll('main input, main textarea, main select, dialog input, dialog textarea')].map((e) => e.value).join('\n')); }

  // clean fails if something went wrong so far; expected are patterns of what may have.
  async clean(...expected) {
    const hit = await this.page.evaluate(() => ({
      xss: window.__xss,
      elements: [...document.querySelectorAll('img, iframe, object, embed, script:not([src^="/klamm/console/"]), [onerror], [onmouseover], [style], main b[onmouseover]')].map((e) => e.outerHTML.slice(0, 200)),
    }));
    assert.equal(hit.xss, undefined, `${this.page.url()}: markup ran`);
    assert.deepEqual(hit.elements, [], `${this.page.url()}: there are elements that the console does not make`);
    const wrong = this.wrong.filter((t) => !expected.some((e) => e.test(t)));
    this.wrong = [];
    assert.deepEqual(wrong, [], this.page.url());
  }

  // fits fails if the page scrolls sideways at a width, and on a telephone also if a table
  // does: its rows are one below the other there.
  async fits(...widths) {
    const before = this.page.viewportSize();
    for (const width of widths) {
      await this.page.setViewportSize({ width, height: 900 });
      const { scroll, client, wide, widest } = await this.page.evaluate(() => {
        const e = document.documentElement;
        const out = [...document.querySelectorAll('body *')].filter((x) => x.getBoundingClientRect().right > e.clientWidth + 1 && !x.parentElement.closest('.scroll, pre'));
        const wide = innerWidth > 400 ? [] : [...document.querySelectorAll('main .scroll')].filter((x) => x.scrollWidth > x.clientWidth + 1).map((x) => x.getAttribute('aria-label'));
        return { scroll: e.scrollWidth, client: e.clientWidth, wide, widest: out.slice(0, 4).map((x) => x.cloneNode().outerHTML.slice(0, 160)) };
      });
      assert.deepEqual(wide, [], `${this.page.url()}: tables that scroll sideways at ${width} px`);
      assert.ok(scroll <= client, `${this.page.url()} scrolls sideways at ${width} px (${scroll} > ${client}): ${widest.join(' ')}`);
    }
    await this.page.setViewportSize(before);
  }

  // accessible fails on axe's serious and critical findings. What axe itself does to the page
  // is not held against the page.
  async accessible(what = '') {
    const before = this.wrong.length;
    await this.page.evaluate(axe.source);
    const found = await this.page.evaluate(async () => {
      const result = await window.axe.run(document, { resultTypes: ['violations'] });
      return result.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
        .map((v) => `${v.impact} ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message || n.all[0]?.message || n.none[0]?.message || '')).join(' | ')}`);
    });
    this.wrong.length = before;
    assert.deepEqual(found, [], `${this.page.url()} ${what}`);
  }

  async dark(on) { await this.page.emulateMedia({ colorScheme: on ? 'dark' : 'light' }); }

  async picture(name, options) {
    const file = path.join(out, 'screens', name + '.png');
    await mkdir(path.dirname(file), { recursive: true });
    await this.page.screenshot({ path: file, caret: 'initial', ...options }); // hiding the caret would set a style
    return file;
  }

  close() { return this.context.close(); }
}
