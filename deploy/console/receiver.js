// Where klamm delivers to in the tests: it takes what comes, or refuses it in ways that
// screens have to show, with markup in what it says.
import http from 'node:http';
import { markup, script } from './markup.js';

export class Receiver {
  got = new Map(); // path -> how many requests
  last = new Map(); // path -> the body of the latest, which /last?PATH gives

  async start() {
    this.server = http.createServer((q, a) => {
      const parts = [];
      q.on('data', (d) => parts.push(d));
      q.on('end', () => {
        const path = q.url.split('?')[0];
        if (path === '/last') {
          a.end(this.last.get(decodeURIComponent(q.url.slice('/last?'.length))) ?? '');
          return;
        }
        const body = Buffer.concat(parts);
        this.got.set(path, (this.got.get(path) || 0) + 1);
        this.last.set(path, body);
        answer(path, body, a);
      });
    });
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}

function answer(path, body, a) {
  const say = (status, text, kind = 'text/html') => { a.writeHead(status, { 'Content-Type': kind }); a.end(text); };
  if (path === '/customer') say(200, JSON.stringify({ name: 'Customer ' + JSON.parse(body).customer }), 'application/json');
  else if (path === '/function') say(200, '{"statusCode":200}', 'application/json');
  else if (path === '/refuses') say(400, `<html><body>${markup('answer of the target')}${script('answer')}</body></html>`);
  else if (path === '/fails/mended') say(200, 'ok', 'text/plain');
  else if (path.startsWith('/fails/')) say(503, `<h1>down</h1>${markup('answer 503')}`);
  else say(200, 'ok', 'text/plain');
}
