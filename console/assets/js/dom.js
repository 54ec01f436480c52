// Builds elements. Text that comes from outside (topic names, keys, values, errors)
// only ever becomes a text node: nothing in the console parses strings as HTML.

// h makes an element: h('div.card', {id: 'x', onclick: f}, 'text', other, [more]).
// Attributes that are null, undefined or false are left out; true gives an empty one;
// on<event> adds a listener; `value`, `checked`, `disabled`, `selected`, `indeterminate`
// are set as properties. Children that are null, undefined or false are left out.
export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  const e = document.createElement(tag || 'div');
  if (classes.length) e.className = classes.join(' ');
  if (attributes instanceof Node || typeof attributes !== 'object' || Array.isArray(attributes)) {
    children.unshift(attributes);
    attributes = null;
  }
  for (const [k, v] of Object.entries(attributes || {})) set(e, k, v);
  add(e, children);
  return e;
}

const properties = new Set(['value', 'checked', 'disabled', 'selected', 'indeterminate']);

function set(e, name, value) {
  if (value === null || value === undefined || value === false && !properties.has(name)) return;
  if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
  else if (name === 'class') e.className += (e.className ? ' ' : '') + value;
  else if (properties.has(name)) e[name] = value;
  else if (name === 'href' && !/^(#|\/(?!\/))/.test(value)) return; // links stay in the console
  else e.setAttribute(name, value === true ? '' : String(value));
}

// add appends children: nodes, strings, numbers, and lists of them.
export function add(parent, ...children) {
  for (const c of children.flat(Infinity)) {
    if (c === null || c === undefined || c === false) continue;
    parent.append(c instanceof Node ? c : String(c));
  }
  return parent;
}

// put replaces what is in an element. What had the focus in there has it again if it is
// there again, and tables and texts that were scrolled stay so: who is reading a list that is
// drawn anew each few seconds does not lose the place.
export function put(parent, ...children) {
  const back = place(parent);
  const scrolled = [...parent.querySelectorAll('.scroll, pre')].filter((e) => e.scrollLeft || e.scrollTop).map((e) => [e, nameOf(e), e.scrollLeft, e.scrollTop]);
  parent.replaceChildren();
  add(parent, children);
  for (const [before, name, left, top] of scrolled) {
    const e = parent.contains(before) ? before : alike(parent, before, name)[0];
    if (e) e.scrollTo(left, top);
  }
  back();
  return parent;
}

// place remembers what has the focus in an element, and returns what gives it back once the
// element was drawn anew: to the same, or to what has its place now. A place that is not there
// any more, and a focus that has gone elsewhere, are left.
export function place(within) {
  const at = document.activeElement;
  if (!at || at === within || !within.contains(at)) return () => {};
  const name = nameOf(at);
  const nth = alike(within, at, name).indexOf(at);
  return () => {
    if (document.activeElement !== at && document.activeElement !== document.body) return;
    const e = within.contains(at) ? at : alike(within, at, name)[nth];
    if (e && document.activeElement !== e) e.focus({ preventScroll: true });
  };
}

// nameOf tells an element that can have the focus from others: where it leads, what it is
// called, or what it says and how its row begins. What folds says how old it is, and is told
// by its row alone.
function nameOf(e) {
  const own = e.getAttribute('href') || e.getAttribute('aria-label') || e.title;
  return [e.tagName, own || (e.tagName === 'SUMMARY' ? '' : e.textContent), own ? '' : e.closest('tr')?.cells[0]?.textContent].join('\n');
}

const alike = (within, e, name) => [...within.querySelectorAll(e.tagName)].filter((x) => nameOf(x) === name);

const svgSpace = 'http://www.w3.org/2000/svg';

// svg makes an element of a drawing: svg('path', {d: '...'}, ...children).
export function svg(tag, attributes, ...children) {
  const e = document.createElementNS(svgSpace, tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v !== null && v !== undefined) e.setAttribute(k, String(v));
  }
  for (const c of children.flat(Infinity)) {
    if (c !== null && c !== undefined) e.append(c instanceof Node ? c : String(c));
  }
  return e;
}
