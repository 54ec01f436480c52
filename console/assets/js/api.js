// Calls klamm's HTTP APIs, as whoever is signed in. A call that fails throws a Problem.

// A Problem is an answer that is not 2xx, or no answer at all (status 0).
export class Problem extends Error {
  constructor(status, title, detail, body) {
    super(detail || title || 'klamm does not answer');
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.body = body;
  }
}

// signedOut is called when a call is answered 401; the shell shows the sign-in then.
let signedOut = () => {};
export function onSignedOut(f) { signedOut = f; }

// call sends a request and gives the answer's document, or its text if it is not JSON.
// options: {body, headers, signal}. A body that is not a string is sent as JSON.
export async function call(method, path, options = {}) {
  const response = await ask(method, path, options);
  const text = await response.text();
  return { document: parsed(text), text, headers: response.headers, status: response.status };
}

export const get = async (path, signal) => (await call('GET', path, { signal })).document;
export const post = async (path, body, signal) => (await call('POST', path, { body, signal })).document;
export const put = async (path, body, headers) => (await call('PUT', path, { body, headers })).document;
export const del = async (path, headers) => (await call('DELETE', path, { headers })).document;

// aws calls an operation of the EventBridge API: aws('ListEventBuses', {Limit: 50}).
export async function aws(operation, body = {}, signal) {
  const headers = { 'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': 'AWSEvents.' + operation };
  return (await call('POST', '/', { body: JSON.stringify(body), headers, signal })).document;
}

// lines calls and gives each line of a streamed answer (application/x-ndjson) to use.
export async function lines(method, path, options, use) {
  const response = await ask(method, path, options);
  await read(response, '\n', (line) => { if (line) use(JSON.parse(line)); });
}

// events listens to Server-Sent Events and gives each to use as {event, id, data}; data is
// parsed if it is JSON. It comes back when the signal aborts, and throws when the stream
// breaks off; who calls decides whether to listen again, with lastEventID. With raw, data
// stays a text: reading thousands a second is for those that are looked at.
export async function events(path, { signal, lastEventID, headers, raw }, use) {
  const h = { Accept: 'text/event-stream', ...headers };
  if (lastEventID) h['Last-Event-ID'] = lastEventID;
  const response = await ask('GET', path, { signal, headers: h });
  await read(response, '\n\n', (block) => {
    const e = { event: 'message', id: undefined, data: [] };
    for (const line of block.split('\n')) {
      const at = line.indexOf(':');
      if (at === 0) continue;
      const name = at < 0 ? line : line.slice(0, at);
      const value = at < 0 ? '' : line.slice(line[at + 1] === ' ' ? at + 2 : at + 1);
      if (name === 'data') e.data.push(value);
      else if (name === 'event' || name === 'id') e[name] = value;
    }
    if (!e.data.length) {
      if (raw && e.id !== undefined) use({ event: 'id', id: e.id, data: '' });
      return;
    }
    const text = e.data.join('\n');
    const document = raw ? undefined : parsed(text);
    use({ event: e.event, id: e.id, data: document === undefined ? text : document });
  });
}

async function read(response, end, use) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let since = performance.now();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (performance.now() - since > 12) { // what has come already would keep clicks waiting
      await new Promise((resolve) => { setTimeout(resolve); });
      since = performance.now();
    }
    rest += value.replaceAll('\r\n', '\n');
    for (let at = rest.indexOf(end); at >= 0; at = rest.indexOf(end)) {
      use(rest.slice(0, at));
      rest = rest.slice(at + end.length);
    }
  }
  if (rest) use(rest);
}

async function ask(method, path, { body, headers, signal }) {
  const init = { method, signal, headers: { Accept: 'application/json', ...headers }, credentials: 'same-origin' };
  if (body !== undefined && body !== null) {
    init.body = typeof body === 'string' ? body : JSON.stringify(body);
    if (!init.headers['Content-Type']) init.headers['Content-Type'] = 'application/json';
  }
  // Says that the call comes from a page of klamm's own: another site's page cannot set it.
  init.headers['X-Klamm-Console'] = '1';
  let response;
  try {
    response = await fetch(path, init);
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Problem(0, 'No answer', 'klamm does not answer: is it running?');
  }
  if (response.ok) return response;
  const text = await response.text();
  const document = parsed(text);
  if (response.status === 401) signedOut();
  throw problemOf(response.status, document, text);
}

function problemOf(status, document, text) {
  const d = document && typeof document === 'object' ? document : {};
  const detail = d.detail || d.message || d.Message || (d.error && d.error.message) || text.slice(0, 500);
  return new Problem(status, d.title || d.__type || 'Refused', detail, document);
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return undefined; }
}

// path fills the holes of a path with escaped values: path`/klamm/v1/pipes/${name}`.
export function path(parts, ...values) {
  return parts.reduce((all, part, i) => all + encodeURIComponent(values[i - 1]) + part);
}

// query appends the parameters that have a value.
export function query(base, parameters) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(parameters)) {
    if (v !== undefined && v !== null && v !== '' && v !== false) q.set(k, v);
  }
  const text = q.toString();
  return text ? base + '?' + text : base;
}
