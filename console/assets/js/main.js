// The shell: who is signed in, the list of screens, and which one is shown. The address
// holds all of it: #/<screen>/<part>/...?filter=value.
import { h, put } from './dom.js';
import { get, onSignedOut, Problem } from './api.js';
import { problem, empty, notice } from './ui.js';
import { time } from './format.js';
import { screens } from './screens.js';
import { signIn, signOut } from './session.js';

const main = document.getElementById('main');
let leave = new AbortController();
let session = null;

// A view is what a screen is given: where to draw, and what the address says.
class View {
  constructor(parts, q, signal) {
    this.el = main;
    this.parts = parts; // what follows the screen's name in the address, decoded
    this.q = q; // URLSearchParams: the filters
    this.signal = signal; // aborted when the screen is left
    this.session = session; // {principal, groups, version, cluster, ...}
  }

  // draw replaces what the screen shows.
  draw(...children) { if (!this.signal.aborted) put(this.el, ...children); }

  // set changes filters in the address without showing the screen anew.
  set(filters) {
    for (const [k, v] of Object.entries(filters)) {
      if (v === undefined || v === null || v === '' || v === false) this.q.delete(k); else this.q.set(k, v);
    }
    const q = this.q.toString();
    history.replaceState(null, '', location.hash.split('?')[0] + (q ? '?' + q : ''));
  }

  // again shows the screen anew, as a reload would.
  again() { show(); }

  // every calls act now and then every so many seconds until the screen is left; not
  // while the page is hidden, and at once when it is seen again; nor while text of it is
  // selected, which would be gone. What klamm refuses or does not answer is said above the
  // screen until it goes well again.
  async every(seconds, act) {
    const told = h('div', { role: 'status' });
    while (!this.signal.aborted) {
      if (document.hidden) await this.seen();
      while (!this.signal.aborted && selecting()) await this.sleep(0.5);
      if (this.signal.aborted) break;
      try {
        await act();
        told.remove();
      } catch (e) {
        if (e.name !== 'AbortError' && !(e instanceof Problem)) throw e;
        if (e instanceof Problem && e.status !== 401 && !this.signal.aborted && !told.isConnected) {
          put(told, notice('warn', h('strong', `Not up to date since ${time(new Date()).slice(11)}: `), e.message));
          this.el.prepend(told);
        }
      }
      await this.sleep(seconds);
    }
  }

  // seen comes back when the page is not hidden, or the screen is left.
  seen() {
    return new Promise((resolve) => {
      const look = () => { if (!document.hidden || this.signal.aborted) { document.removeEventListener('visibilitychange', look); resolve(); } };
      document.addEventListener('visibilitychange', look);
      this.signal.addEventListener('abort', look, { once: true });
      look();
    });
  }

  // hides gives a signal that is aborted when the page is hidden: a browser has few
  // connections to a server, for all of its pages.
  hides() {
    if (!this.hidden || this.hidden.aborted) {
      const c = new AbortController();
      const look = () => { if (document.hidden) c.abort(); };
      document.addEventListener('visibilitychange', look, { signal: AbortSignal.any([this.signal, c.signal]) });
      look();
      this.hidden = c.signal;
    }
    return this.hidden;
  }

  // sleep waits, or comes back early when the screen is left.
  sleep(seconds) {
    return new Promise((resolve) => {
      const end = () => { clearTimeout(t); this.signal.removeEventListener('abort', end); resolve(); };
      const t = setTimeout(end, seconds * 1000);
      this.signal.addEventListener('abort', end);
    });
  }
}

// selecting says whether text of the screen is selected, and tells the person what that does.
function selecting() {
  const s = getSelection();
  const on = !!s && !s.isCollapsed && main.contains(s.anchorNode);
  held.hidden = !on;
  return on;
}
const held = h('p.dim', { hidden: true }, 'Nothing is drawn anew while text is selected.');
document.getElementById('said').append(held);

function address() {
  const [path, q] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map((p) => { try { return decodeURIComponent(p); } catch { return p; } });
  return { id: parts.shift() || 'overview', parts, q: new URLSearchParams(q || '') };
}

async function show() {
  held.hidden = true;
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { id, parts, q } = address();
  const entry = screens.find((s) => s.id === id);
  nav(id);
  document.title = (entry ? entry.title : 'Not found') + ' · klamm';
  if (!entry) {
    put(main, h('h1', 'There is no such screen'), empty('The address names none of the screens of this console.'));
    return;
  }
  try {
    const { show: draw } = await entry.load();
    if (signal.aborted) return;
    main.dataset.screen = id;
    await draw(new View(parts, q, signal));
  } catch (e) {
    if (e.name === 'AbortError' || signal.aborted) return;
    if (e instanceof Problem && e.status === 401) return;
    put(main, h('h1', entry.title), problem(e));
    if (!(e instanceof Problem)) console.error(e);
  }
}

function nav(current) {
  const groups = [...new Set(screens.map((s) => s.group))];
  put(document.getElementById('nav'), groups.map((g) => [
    h('h2', g),
    h('ul', screens.filter((s) => s.group === g && !s.hidden).map((s) => h('li',
      h('a', { href: '#/' + s.id, 'aria-current': s.id === current ? 'page' : null }, s.title)))),
  ]));
}

function top() {
  put(document.getElementById('where'), session.cluster ? session.cluster + ' · ' : '', session.version || '');
  put(document.getElementById('who'), session.principal,
    session.cookie && h('button', { type: 'button', onclick: async () => { await signOut(); start(); } }, 'Sign out'),
    !session.cookie && session.scheme === undefined && session.ways.length > 0 && h('button', { type: 'button', onclick: ask401 }, 'Sign in'));
}

async function start() {
  try {
    session = await get('/klamm/v1/session');
  } catch (e) {
    if (e instanceof Problem && e.status === 401) return ask401();
    put(main, h('h1', 'klamm'), problem(e));
    setTimeout(start, 3000);
    return;
  }
  document.body.classList.remove('signed-out');
  top();
  show();
}

let asking = false;
async function ask401() {
  if (asking) return;
  asking = true;
  leave.abort();
  document.body.classList.add('signed-out');
  await signIn(main);
  asking = false;
  start();
}

const menu = document.getElementById('menu');
menu.addEventListener('click', () => {
  const open = document.body.classList.toggle('menu');
  menu.setAttribute('aria-expanded', String(open));
});
// The address names a screen, so that a jump within the page cannot be one.
document.querySelector('.skip').addEventListener('click', (e) => { e.preventDefault(); main.focus(); });
document.getElementById('theme').addEventListener('click', () => {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const now = document.documentElement.dataset.theme || (dark ? 'dark' : 'light');
  const next = now === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem('klamm-theme', next); } catch { /* it is for this page alone then */ }
});
try { const t = localStorage.getItem('klamm-theme'); if (t) document.documentElement.dataset.theme = t; } catch { /* no storage */ }

onSignedOut(ask401);
addEventListener('hashchange', () => {
  document.body.classList.remove('menu');
  menu.setAttribute('aria-expanded', 'false');
  if (!document.body.classList.contains('signed-out')) show();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
// The screen is on its way while klamm says who is signed in. Where it cannot be had, show says so.
screens.find((s) => s.id === address().id)?.load().catch(() => {});
start();
