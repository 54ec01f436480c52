// A klamm with everything on its screens: node world.js COMMAND... starts one with the
// configuration below, with traffic that goes on, and runs COMMAND as long as it lives.
// COMMAND finds in KLAMM_WORLD, as JSON, the addresses and the credentials.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Klamm } from './klamm.js';
import { Receiver } from './receiver.js';
import { Provider } from './provider.js';
import { seed, traffic } from './seed.js';
import { markup } from './markup.js';

export const keys = Object.fromEntries(['operator', 'device', 'reader', 'evil'].map((name) => [name, name + '-key-of-the-console-proof']));
export const password = { user: 'dora', password: 'dora-secret-1' };

// configuration is written as JSON, which is YAML too.
const configuration = (directory, receiver, provider) => ({
  auth: {
    basic: { file: 'users.htpasswd', allow_legacy: true },
    apikeys: {
      keys: [
        { name: 'operator', key: { value: keys.operator }, principal: 'User:operator', groups: ['operators'] },
        { name: 'device', key: { value: keys.device }, principal: 'User:device', groups: ['devices'] },
        { name: 'reader', key: { value: keys.reader }, principal: 'User:reader', groups: ['readers'] },
        { name: 'evil', key: { value: keys.evil }, principal: `User:${markup('principal')}`, groups: ['devices'] },
      ],
    },
    jwt: [{ name: 'people', issuer: provider.url, audiences: ['klamm-console'], groups_claim: 'groups', token_types: ['JWT', 'at+jwt', ''], clock_skew: '1s' }],
  },
  console: { oidc: { issuer: provider.url, client_id: 'klamm-console', client_secret: { value: provider.secret }, scopes: ['openid', 'profile'] } },
  rules: [
    { who: ['group:devices'], can: ['produce', 'describe'], topics: ['orders', 'readings', 'heartbeats', 'hostile'] },
    { who: ['group:readers'], can: ['consume'], topics: ['orders'], groups: ['team*'] },
  ],
  policies: [
    { name: 'door', kind: 'identity', attach: ['*'], document: { Version: '2012-10-17', Statement: [{ Sid: 'Door', Effect: 'Allow', Action: 'execute-api:Invoke', Resource: '*' }] } },
    { name: 'operators', kind: 'identity', attach: ['group:operators', 'User:dora'], document: { Version: '2012-10-17', Statement: [{ Sid: 'Everything', Effect: 'Allow', Action: '*', Resource: '*' }] } },
  ],
  limits: [{ name: 'per-device', match: { op: 'produce', principal: 'User:device' }, key: ['principal'], requests: { rate: 1, burst: 2 } }],
  topics: [
    { match: 'readings', value: { schema: { type: 'object', required: ['device', 'celsius'], properties: { device: { type: 'string' }, celsius: { type: 'number', maximum: 150 } } } } },
    { match: 'payments', mask: true },
  ],
  egress: { allow: ['127.0.0.0/8'] },
  audit: { topic: 'klamm.audit' },
  schema_registry: { embedded: true },
  functions: [
    { name: 'score', directory: path.join(directory, 'score'), runtime: 'provided.al2023', handler: 'bootstrap', concurrency: 1, timeout: '20s' },
    { name: 'hook', url: receiver.url + '/function' },
  ],
  pipes: [
    { name: 'orders-to-shop', topics: ['orders'], start: 'earliest', target: { webhook: { url: receiver.url + '/shop' } }, delivery: { log: 'all' } },
    {
      name: 'orders-large', topics: ['orders'], start: 'earliest', filter: { value: { total: [{ numeric: ['>', 400] }] } },
      transform: { input_paths: { id: '$.value.id', total: '$.value.total' }, template: '{"order": <id>, "total": <total>}' },
      target: { webhook: { url: receiver.url + '/large' } }, delivery: { log: 'all' },
    },
    {
      name: 'orders-with-customers', topics: ['orders'], start: 'earliest',
      enrich: { target: { webhook: { url: receiver.url + '/customer' } }, transform: { template: '{"customer": <$.value.customer>}' } },
      transform: { template: '{"name": <$.name>}' }, target: { webhook: { url: receiver.url + '/enriched' } }, delivery: { log: 'all' },
    },
    {
      name: 'hostile-refused', topics: ['hostile'], start: 'earliest', target: { webhook: { url: receiver.url + '/refuses' } },
      delivery: { attempts: 2, backoff: { min: '100ms', max: '200ms' }, log: 'all' },
    },
    {
      name: 'heartbeats-failing', topics: ['heartbeats'], start: 'earliest', target: { webhook: { url: receiver.url + '/fails/<$.value.device>' } },
      delivery: { attempts: 2, backoff: { min: '100ms', max: '200ms' }, log: 'all' },
    },
    { name: 'orders-nowhere', topics: ['orders'], start: 'earliest', target: { webhook: { url: 'http://127.0.0.1:9/closed' } } },
    { name: 'orders-scored', topics: ['orders'], start: 'earliest', target: { function: { name: 'score' } }, delivery: { timeout: '20s' } },
  ],
});

const bootstrap = `#!/usr/bin/env node
const next = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/2018-06-01/runtime/invocation/';
(async () => {
  for (;;) {
    const call = await fetch(next + 'next');
    const text = await call.text();
    console.log('scored', text.length, 'bytes', ${JSON.stringify(markup('log'))});
    await fetch(next + call.headers.get('lambda-runtime-aws-request-id') + '/response', { method: 'POST', body: JSON.stringify({ score: text.length, note: ${JSON.stringify(markup('answer'))} }) });
  }
})();
`;

async function world(command) {
  const directory = await mkdtemp(path.join(tmpdir(), 'klamm-world-'));
  const stop = [];
  try {
    const receiver = await new Receiver().start();
    stop.push(() => receiver.stop());
    const provider = await new Provider().start();
    stop.push(() => provider.stop());
    await mkdir(path.join(directory, 'score'));
    await writeFile(path.join(directory, 'score', 'bootstrap'), bootstrap, { mode: 0o755 });
    const hash = createHash('sha1').update(password.password).digest('base64');
    await writeFile(path.join(directory, 'users.htpasswd'), `${password.user}:{SHA}${hash}\n`);
    await writeFile(path.join(directory, 'klamm.yaml'), JSON.stringify(configuration(directory, receiver, provider), null, 2));
    const klamm = await new Klamm({ directory, config: 'klamm.yaml', log: path.join(process.env.KLAMM_CONSOLE_OUT, 'klamm.log') }).start();
    stop.push(() => klamm.stop());
    console.log(`klamm serves ${klamm.url}`);
    const seeded = await seed(klamm.url, keys, receiver);
    const end = traffic(klamm.url, keys);
    stop.push(end);
    console.log('it is seeded');
    const told = { url: klamm.url, pid: klamm.process.pid, keys, password, receiver: receiver.url, provider: provider.url, seeded };
    return await new Promise((done) => {
      const child = spawn(command[0], command.slice(1), { stdio: 'inherit', env: { ...process.env, KLAMM_WORLD: JSON.stringify(told) } });
      for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
      child.on('exit', (code) => done(code ?? 1));
    });
  } finally {
    for (const act of stop.reverse()) await act();
    await rm(directory, { recursive: true, force: true });
  }
}

world(process.argv.slice(2)).then((code) => { process.exit(code); }, (e) => { console.error(e); process.exit(1); });
