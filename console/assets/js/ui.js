// What all screens are made of. Everything here is reachable by keyboard and named for
// screen readers.
import { h, add, place, put } from './dom.js';
import { count, json, shell } from './format.js';

// title is a screen's heading with what can be done there: title('Pipes', [button(...)]).
export const title = (text, ...acts) => h('div.title', h('h1', text), h('div.acts', acts));

// section is a card with a heading.
export const section = (heading, ...children) => h('section.card', heading && h('h2', heading), children);

// button does something; options: {kind: 'plain'|'main'|'danger', disabled, title}.
export function button(label, act, { kind = 'plain', disabled = false, title: hint } = {}) {
  return h('button', { type: 'button', class: kind, disabled, title: hint, onclick: async (e) => {
    const b = e.currentTarget;
    // What is disabled loses the focus, and the keyboard its place; and what was drawn anew
    // meanwhile is another element.
    const back = place(b.closest('dialog') || document.getElementById('main'));
    b.disabled = true;
    try { await act(e); } catch (p) { fail(p); } finally {
      b.disabled = false;
      back();
    }
  } }, label);
}

export const link = (href, text) => h('a', { href }, text);

// badge shows a state: kinds good, bad, warn, dull.
export const badge = (text, kind = 'dull') => h('span.badge', { class: kind }, text);

// stat is a number with its name.
export const stat = (name, value, note) => h('div.stat', h('div.name', name), h('div.number', { class: typeof value === 'string' && value.length > 12 ? 'long' : null }, value), note && h('div.note', note));

export const stats = (...of) => h('div.stats', of);

// notice says something that matters: kinds good, bad, warn, dull.
export const notice = (kind, ...children) => h('div.notice', { class: kind, role: kind === 'bad' ? 'alert' : null }, children);

// problem shows what a call was refused with.
export const problem = (e) => notice('bad', h('strong', e.status ? `${e.status} ${e.title || ''}` : 'Failed'), ' ', e.message);

export const empty = (...children) => h('div.empty', children);

export const pre = (value) => h('pre', { tabindex: 0 }, json(value));

// pairs is a list of names and values: pairs([['State', badge(...)], ...]).
export const pairs = (of) => h('dl.pairs', of.filter(Boolean).map(([k, v]) => [h('dt', k), h('dd', v === undefined || v === null ? '–' : v)]));

// mostRows is how many rows a table draws at a time where nobody fetches it page by page.
const mostRows = 200;

// table shows rows. columns: [{name, of: row => child, number: bool, wide: bool}].
// options: {caption, complete: bool|undefined, note, more: async () => void, none: child,
// href: row => string}. It says under the rows whether they are all. Where more is left out,
// the rows are all that there is to fetch, and are drawn so many at a time; null is for
// those that were fetched page by page to the end.
export function table(columns, rows, { caption, complete, note, more, none, href } = {}) {
  if (!rows.length && none) return none instanceof Node ? none : empty(none);
  const head = h('tr', columns.map((c) => h('th', { scope: 'col', class: c.number ? 'number' : null }, c.name)));
  const name = caption || columns.map((c) => c.name).join(', ');
  const row = (r) => h('tr', columns.map((c, i) => {
    const inside = c.of(r);
    return h('td', { class: [c.number && 'number', c.wide && 'wide'].filter(Boolean).join(' ') || null, 'data-name': c.name },
      i === 0 && href ? link(href(r), inside) : inside);
  }));
  const body = h('tbody');
  const foot = h('p.complete');
  const all = note || (complete === undefined ? null : complete ? `All ${count(rows.length)}.` : `The first ${count(rows.length)}; there are more.`);
  let drawn = 0;
  const draw = () => {
    const upTo = more === undefined ? Math.min(drawn + mostRows, rows.length) : rows.length;
    add(body, rows.slice(drawn, upTo).map(row));
    drawn = upTo;
    const next = drawn < rows.length ? draw : more && !complete && more;
    put(foot, drawn < rows.length ? `The first ${count(drawn)} of ${count(rows.length)} are shown.` : all, next && [' ', button('Show more', async () => { await next(); keepPlace(name); })]);
  };
  draw();
  const t = h('table', caption && h('caption', caption), h('thead', head), body);
  return h('div.scroll', { tabindex: 0, role: 'region', 'aria-label': name }, t, foot);
}

// keepPlace has the keyboard go on where more rows of a table were asked for: the button that
// was pressed is gone with the rows before.
function keepPlace(name) {
  if (document.activeElement !== document.body) return;
  const t = [...document.querySelectorAll('main .scroll')].find((e) => e.getAttribute('aria-label') === name);
  if (t) (t.querySelector('p.complete button') || t).focus({ preventScroll: true });
}

let fields = 0;

// field is a labelled input. options: {value, type, options: [[value, label]] or [value],
// placeholder, hint, onchange(value), oninput(value), rows (a text area), required, name}.
// The input is its `.input`; its value is `.input.value`.
export function field(label, options = {}) {
  const id = 'f' + ++fields;
  const common = { id, name: options.name, placeholder: options.placeholder, required: options.required, 'aria-describedby': options.hint ? id + 'h' : null,
    onchange: options.onchange && ((e) => options.onchange(valueOf(e.target))), oninput: options.oninput && ((e) => options.oninput(valueOf(e.target))) };
  let input;
  if (options.options) {
    input = h('select', common, options.options.map((o) => {
      const [value, text] = Array.isArray(o) ? o : [o, o];
      return h('option', { value, selected: String(value) === String(options.value ?? '') }, text);
    }));
  } else if (options.rows) input = h('textarea', { ...common, rows: options.rows, spellcheck: 'false', value: options.value ?? '' });
  else if (options.type === 'checkbox') input = h('input', { ...common, type: 'checkbox', checked: !!options.value });
  else input = h('input', { ...common, type: options.type || 'text', autocomplete: options.autocomplete || 'off', spellcheck: 'false', value: options.value ?? '' });
  const e = h('div.field', { class: options.type === 'checkbox' ? 'check' : null }, h('label', { for: id }, label), input, options.hint && h('small', { id: id + 'h' }, options.hint));
  e.input = input;
  return e;
}

const valueOf = (input) => (input.type === 'checkbox' ? input.checked : input.value);

// form is fields and a button; act gets the event's form. It shows a refusal beneath.
export function form(fieldsOf, label, act, { kind = 'main' } = {}) {
  const said = h('div');
  const submit = h('button', { type: 'submit', class: kind }, label);
  const f = h('form', { onsubmit: async (e) => {
    e.preventDefault();
    submit.disabled = true;
    put(said);
    try { await act(f); } catch (p) { if (p.name !== 'AbortError') put(said, problem(p)); } finally { submit.disabled = false; }
  } }, fieldsOf, h('div.acts', submit), said);
  return f;
}

// commands shows the same thing as a curl call and as a klamm command, to copy.
// curl: {method, path, body, headers}; klamm: a command line without the program's name.
// heading says what it is where a screen has it twice.
export function commands({ curl, klamm, heading = 'The same from a terminal' }) {
  const rows = [];
  if (curl) rows.push(['curl', curlOf(curl)]);
  if (klamm) rows.push(['klamm', 'klamm ' + klamm + (location.port === '8082' && location.hostname === '127.0.0.1' ? '' : ' --server ' + shell(location.origin))]);
  return h('details.commands', h('summary', heading), rows.map(([name, text]) => copyable(text, name)));
}

// terminal is commands for what a list shows now: it gives where they stand, and what draws
// them when they are others than before. Whoever has opened them finds them open.
export function terminal() {
  const box = h('div');
  let shown;
  return [box, (what) => {
    const now = JSON.stringify(what);
    if (now === shown) return;
    shown = now;
    const next = commands(what);
    next.open = box.querySelector('details[open]') !== null;
    put(box, next);
  }];
}

// curlOf writes a call as a command for a POSIX shell.
export function curlOf({ method = 'GET', path, body, headers = {} }) {
  const out = ['curl', '-sS'];
  if (method !== 'GET') out.push('-X', method);
  for (const [k, v] of Object.entries(headers)) out.push('-H', shell(`${k}: ${v}`));
  if (body !== undefined) {
    if (!headers['Content-Type']) out.push('-H', shell('Content-Type: application/json'));
    out.push('-d', shell(typeof body === 'string' ? body : JSON.stringify(body)));
  }
  return [...out, shell(location.origin + path)].join(' ');
}

// copyable is text with a button that copies it.
export function copyable(text, name) {
  return h('div.copyable', name && h('span.name', name), h('code', { tabindex: 0 }, text),
    button('Copy', async () => { await navigator.clipboard.writeText(text); say('Copied.'); }, { title: name ? `Copy the ${name} line` : 'Copy' }));
}

// tabs switches between views: tabs([['a', 'Label', build]], current, onchange). build is
// called when its tab is shown, with a signal that is aborted when another one is.
export function tabs(of, current, onchange) {
  const body = h('div', { role: 'tabpanel' });
  const bar = h('div.tabs', { role: 'tablist' });
  let leave = new AbortController();
  const show = (id) => {
    leave.abort();
    leave = new AbortController();
    put(bar, of.map(([i, label]) => h('button', { type: 'button', role: 'tab', 'aria-selected': String(i === id), tabindex: i === id ? 0 : -1,
      onclick: () => { show(i); onchange && onchange(i); } }, label)));
    put(body, of.find(([i]) => i === id)[2](leave.signal));
  };
  bar.addEventListener('keydown', (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    const all = [...bar.children];
    const next = all[(all.findIndex((b) => b.getAttribute('aria-selected') === 'true') + step + all.length) % all.length];
    const at = all.indexOf(next);
    next.click();
    bar.children[at].focus();
  });
  show(of.some(([i]) => i === current) ? current : of[0][0]);
  return h('div', bar, body);
}

// ask shows a dialog and gives what its build resolved it with; Escape gives undefined.
export function ask(heading, build) {
  return new Promise((resolve) => {
    const back = place(document.getElementById('main'));
    const d = h('dialog', { 'aria-label': heading });
    const done = (v) => { d.close(); d.remove(); back(); resolve(v); };
    d.addEventListener('cancel', (e) => { e.preventDefault(); done(undefined); });
    add(d, h('h2', heading), build(done));
    document.body.append(d);
    d.showModal();
  });
}

// confirmName asks for a name to be typed before something is destroyed; true if it was.
export const confirmName = (heading, name, what) => ask(heading, (done) => {
  const f = field(`Type ${name} to go on`, { required: true });
  return form([h('p', what), f], heading, async () => {
    if (f.input.value !== name) throw new Error('That is another name.');
    done(true);
  }, { kind: 'danger' });
});

// confirm asks before something that can be undone; true if so.
export const confirm = (heading, what) => ask(heading, (done) => [h('p', what),
  h('div.acts', button(heading, () => done(true), { kind: 'main' }), button('Cancel', () => done(undefined)))]);

// say tells something that happened, for a few seconds and to screen readers.
export function say(text, kind = 'good') {
  const box = document.getElementById('said');
  const line = h('p', { class: kind }, text);
  box.append(line);
  setTimeout(() => line.remove(), kind === 'bad' ? 10000 : 4000);
}

// fail tells that something did not go well.
export function fail(e) { if (e.name !== 'AbortError') say(e.message, 'bad'); }
