// A real demo that serves the page, and the commands that change what it shows.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const program = process.env.EIGENFLOW;
if (!program) throw new Error('EIGENFLOW is not set: give it the path of the built binary');

export class Demo {
  /** Starts one with so many pictures; it is there when its page has something to show. */
  static async start(pictures, env = {}) {
    const demo = new Demo();
    demo.folder = mkdtempSync(join(tmpdir(), 'eigenflow-page-'));
    const args = ['demo', '--keep-serving', '--listen', '127.0.0.1:0', '--backbone', 'pixels', '--components', '20'];
    args.push('--limit', `${pictures}`, '--workers', '1', '--out', join(demo.folder, 'out'));
    demo.process = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
    demo.said = '';
    demo.process.stdout.on('data', (text) => (demo.said += text));
    [, demo.page] = await demo.#said(/live page: (http:\S+)/);
    const headers = { Authorization: `Bearer ${env.EIGENFLOW__OBSERVE__TOKEN ?? ''}` };
    while ((await fetch(`${demo.page}api/state`, { headers })).status === 503) await setTimeout(100);
    return demo;
  }

  /** What the demo has said that matches, waited for. */
  async #said(pattern) {
    for (;;) {
      const found = pattern.exec(this.said);
      if (found) return found;
      if (this.process.exitCode !== null) throw new Error(`the demo ended with ${this.process.exitCode}: ${this.said}`);
      await Promise.race([once(this.process.stdout, 'data'), once(this.process, 'exit')]);
    }
  }

  /** The bucket's folder. */
  get bucket() {
    return join(this.folder, 'out', 'landing');
  }

  /** The files of its pictures. */
  #pictures() {
    return readdirSync(this.bucket, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(jpe?g|png)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name));
  }

  /** Puts copies of a picture, and a file that is none, into the bucket under a new label. */
  add(label, copies) {
    const [picture] = this.#pictures();
    mkdirSync(join(this.bucket, label), { recursive: true });
    for (let i = 0; i < copies; i += 1) copyFileSync(picture, join(this.bucket, label, `${i}.jpg`));
    writeFileSync(join(this.bucket, label, 'broken.jpg'), 'no picture');
  }

  remove(label) {
    rmSync(join(this.bucket, label), { recursive: true });
  }

  /** Sends the events of what was changed. */
  async reconcile() {
    const serving = /serving until Ctrl-C: S3 (\S+) \(key (\S+), secret (\S+)\), Kafka (\S+),/;
    const [, endpoint, key, secret, brokers] = await this.#said(serving);
    const config = join(this.folder, 'job.toml');
    writeFileSync(
      config,
      `[kafka]\nbrokers = "${brokers}"\ntopic = "uploads"\n[s3]\nendpoint = "${endpoint}"\nregion = "us-east-1"\n` +
        'buckets = ["landing"]\n[table]\nuri = "s3://eigenflow/table"\n[backbone]\nname = "pixels"\n',
    );
    const env = { ...process.env, AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret };
    const child = spawn(program, ['reconcile', 's3://landing', '--config', config], { env, stdio: 'inherit' });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`reconcile ended with ${code}`);
  }

  /** Writes the report of the table; its file. */
  async report() {
    const out = join(this.folder, 'out');
    const file = join(this.folder, 'report.html');
    const args = ['report', join(out, 'eigenflow', 'table'), '--images', out, '-o', file];
    const child = spawn(program, args, { stdio: 'inherit' });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`report ended with ${code}`);
    return file;
  }

  /** Ctrl-C, and the exit code. */
  async stop() {
    if (this.process.exitCode === null) {
      this.process.kill('SIGINT');
      await once(this.process, 'exit');
    }
    rmSync(this.folder, { recursive: true, force: true });
    return this.process.exitCode;
  }
}
