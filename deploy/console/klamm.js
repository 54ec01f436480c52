// Starts and stops klamm: klamm dev, or klamm serve beside the Apache Kafka that
// KLAMM_TEST_BROKERS names.
import { spawn } from 'node:child_process';
import { openSync, closeSync, readFileSync } from 'node:fs';
import path from 'node:path';

export class Klamm {
  // config is a file in directory, or undefined for none.
  constructor({ directory, config, log, brokers = process.env.KLAMM_TEST_BROKERS }) {
    Object.assign(this, { directory, config, log, brokers });
  }

  // start comes back when klamm is ready; url is then where it listens.
  async start() {
    const args = this.brokers ? ['serve', '--brokers', this.brokers] : ['dev', '--kafka-listen', '127.0.0.1:0', '--data', path.join(this.directory, 'data')];
    args.push('--listen', '127.0.0.1:0');
    if (this.config) args.push('--config', path.join(this.directory, this.config));
    const out = path.join(this.directory, 'out');
    const outFile = openSync(out, 'w');
    const errFile = openSync(this.log || path.join(this.directory, 'err'), 'w');
    this.process = spawn(process.env.KLAMM_BIN, args, { cwd: this.directory, stdio: ['ignore', outFile, errFile] });
    closeSync(outFile);
    closeSync(errFile);
    const gone = new Promise((_, fail) => this.process.on('exit', (code) => fail(new Error(`klamm ended with ${code}: ${readFileSync(this.log || path.join(this.directory, 'err'), 'utf8').slice(-3000)}`))));
    gone.catch(() => {});
    this.url = await Promise.race([gone, until('klamm is ready', () => {
      const at = /^klamm ready: http=([^ \n]+)/m.exec(readFileSync(out, 'utf8'));
      return at && (at[1].startsWith('http') ? at[1] : 'http://' + at[1]);
    }, 120)]);
    return this;
  }

  async stop() {
    if (!this.process || this.process.exitCode !== null) return;
    const gone = new Promise((done) => this.process.on('exit', done));
    this.process.kill('SIGTERM');
    const late = setTimeout(() => this.process.kill('SIGKILL'), 30000);
    await gone;
    clearTimeout(late);
  }

  // seconds is how long klamm has used a processor since its start.
  seconds() { return processorSeconds(this.process.pid); }
}

// processorSeconds reads /proc: user and system time of a process, in seconds.
export function processorSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

// until asks again and again until there is an answer, for so many seconds.
export async function until(what, ask, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    try {
      const got = await ask();
      if (got) return got;
      last = undefined;
    } catch (e) { last = e; }
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s${last ? ': ' + last.message : ''}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
