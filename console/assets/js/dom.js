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

// put replaces what is in an element.
export function put(parent, ...children) {
  parent.replaceChildren();
  return add(parent, children);
}

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
