// What a newcomer does: opens the console of an empty klamm and follows its first screen,
// box by box, until a webhook has been delivered.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { close, Window } from './browser.js';
import { Klamm, until } from './klamm.js';

let directory;
let klamm;

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'klamm-newcomer-'));
  klamm = await new Klamm({ directory, brokers: '' }).start();
});
after(async () => {
  await close();
  await klamm?.stop();
  await rm(directory, { recursive: true, force: true });
});

// freePort is one that nobody listens on at the moment.
const freePort = () => new Promise((done) => {
  const s = net.createServer().listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => done(port)); });
});

// shell runs what was copied, as somebody would paste it.
function shell(command, seconds = 30) {
  const ran = spawnSync('bash', ['-c', command], { encoding: 'utf8', timeout: seconds * 1000 });
  return { out: ran.stdout, err: ran.stderr, status: ran.status };
}

test('from an empty klamm to a delivered webhook, with what the page says', async () => {
  const w = await Window.open({ url: klamm.url });
  await w.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const { page } = w;
  const copied = async (name) => {
    await page.getByTitle(`Copy the ${name} line`).click();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  await w.go();
  await page.getByRole('main').getByRole('link', { name: 'Getting started' }).first().click();
  await w.sees('waiting for your first record', 'waiting for your first delivery');
  const port = await freePort();
  await page.getByLabel('Your endpoint').fill(`http://127.0.0.1:${port}/`);
  await page.keyboard.press('Tab');
  await w.picture('start-empty');

  const write = shell(await copied('write'));
  assert.equal(write.status, 0, write.err);
  assert.match(write.out, /"offset":0/);
  await w.sees('✓ done', 'greetings has 1 record');

  const read = shell(`timeout 20 bash -c ${quoted(await copied('read') + ' --max-time 5')}`);
  assert.match(read.out, /"hello":\s*"world"/, read.err);

  const listening = spawn('bash', ['-c', 'exec ' + await copied('listen')], { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    let heard = '';
    listening.stdout.on('data', (d) => { heard += d; });
    listening.stderr.on('data', (d) => { heard += d; });
    await until('the receiver listens', () => new Promise((done) => {
      const s = net.connect(port, '127.0.0.1', () => { s.destroy(); done(true); }).on('error', () => done(false));
    }));
    const pipe = shell(await copied('pipe'));
    assert.equal(pipe.status, 0, pipe.err);
    await until('the webhook is delivered', () => heard.includes('{"hello":"world"}'), 60);
    await until('the page says so', async () => (await w.text()).split('✓ done').length === 3, 60);
    await w.sees('The first record was delivered');
  } finally { listening.kill('SIGKILL'); }
  await w.picture('start-done');
  await w.accessible('when all is done');
  await w.clean();
  await w.close();
});

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
