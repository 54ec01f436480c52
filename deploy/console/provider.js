// An OpenID Connect provider as small as one can be: it knows one person, asks her to
// follow a link, and signs what the code flow with PKCE wants signed.
import http from 'node:http';
import { createHash, createPrivateKey, createSign, generateKeyPairSync, randomBytes } from 'node:crypto';

const b64 = (v) => Buffer.from(typeof v === 'string' || Buffer.isBuffer(v) ? v : JSON.stringify(v)).toString('base64url');

export class Provider {
  secret = 'provider-secret-1';
  codes = new Map(); // what was asked for, and how long the token is to live

  async start() {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' };
    this.key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    this.server = http.createServer((q, a) => this.serve(q, a));
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  serve(q, a) {
    const at = new URL(q.url, this.url);
    const json = (status, document) => { a.writeHead(status, { 'Content-Type': 'application/json' }); a.end(JSON.stringify(document)); };
    if (at.pathname === '/.well-known/openid-configuration') {
      return json(200, { issuer: this.url, authorization_endpoint: this.url + '/authorize', token_endpoint: this.url + '/token', jwks_uri: this.url + '/keys',
        response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'], code_challenge_methods_supported: ['S256'] });
    }
    if (at.pathname === '/keys') return json(200, { keys: [this.jwk] });
    if (at.pathname === '/authorize') return this.authorize(at.searchParams, a);
    if (at.pathname === '/token') {
      let body = '';
      q.on('data', (d) => { body += d; });
      q.on('end', () => this.token(new URLSearchParams(body), q.headers, json));
      return undefined;
    }
    return json(at.pathname === '/favicon.ico' ? 200 : 404, {});
  }

  authorize(q, a) {
    a.writeHead(200, { 'Content-Type': 'text/html' });
    const link = (name, seconds) => {
      const code = randomBytes(16).toString('hex');
      this.codes.set(code, { ...Object.fromEntries(q), seconds });
      const back = new URL(q.get('redirect_uri'));
      back.searchParams.set('code', code);
      back.searchParams.set('state', q.get('state') || '');
      return `<p><a href="${back.href.replaceAll('&', '&amp;')}">${name}</a></p>`;
    };
    a.end(`<!doctype html><html lang="en"><title>Provider</title><h1>The provider</h1>${link('I am erin', 3600)}</html>`);
  }

  token(form, headers, json) {
    const asked = this.codes.get(form.get('code'));
    this.codes.delete(form.get('code'));
    const basic = Buffer.from((headers.authorization || '').replace(/^Basic /, ''), 'base64').toString();
    const secret = form.get('client_secret') || decodeURIComponent(basic.split(':')[1] || '');
    const proof = createHash('sha256').update(form.get('code_verifier') || '').digest('base64url');
    if (!asked || secret !== this.secret || asked.code_challenge_method !== 'S256' || proof !== asked.code_challenge || form.get('redirect_uri') !== asked.redirect_uri) {
      return json(400, { error: 'invalid_grant' });
    }
    const now = Math.floor(Date.now() / 1000);
    const token = this.sign({ iss: this.url, sub: 'erin', aud: asked.client_id, iat: now, exp: now + asked.seconds, nonce: asked.nonce, groups: ['operators'] });
    return json(200, { access_token: token, id_token: token, token_type: 'Bearer', expires_in: asked.seconds });
  }

  sign(claims) {
    const text = b64({ alg: 'RS256', kid: 'one', typ: 'JWT' }) + '.' + b64(claims);
    return text + '.' + createSign('RSA-SHA256').update(text).sign(this.key).toString('base64url');
  }
}
