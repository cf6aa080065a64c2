#!/usr/bin/env node
// What viewers of the live page cost a job: images a second with and without them, by turns, in one running job.
//
//   nice -n 19 node benches/viewers.mjs http://127.0.0.1:8080 [--viewers 50] [--seconds 30] [--rounds 4] [--pid PID]
//
// A viewer does what the page in a browser does: holds the stream, fetches all points when it comes and when they are others,
// and a thumbnail of a random point now and then; it keeps its connections, and what it was told that it may keep. What it
// receives it throws away, so that little of the machine goes to the viewers themselves; how much is printed, and with --pid
// what the job's process took beyond its workers. The job must be one process and have work for the whole time,
// (2 * rounds + 1) * seconds. EIGENFLOW_TOKEN: the job's token, if it asks for one.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import { parseArgs } from 'node:util';

const THUMBNAIL_EVERY_MS = 2000;
const RELOAD_WITHIN_MS = 3000;
/** A browser's connections to one host. */
const CONNECTIONS = 6;
/** Of /proc/PID/stat, in every Linux of today. */
const TICKS_A_SECOND = 100;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    viewers: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '4' },
    pid: { type: 'string' },
  },
});
const [base] = positionals;
const [viewers, seconds, rounds] = [values.viewers, values.seconds, values.rounds].map(Number);
if (!base || !(viewers > 0 && seconds > 0 && rounds > 0)) {
  console.error('usage: node benches/viewers.mjs http://ADDRESS:PORT [--viewers N] [--seconds S] [--rounds N] [--pid PID]');
  process.exit(2);
}
const token = process.env.EIGENFLOW_TOKEN;
const authorization = token ? { Authorization: `Bearer ${token}` } : {};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The answer to a GET: its head, and a body that is yet to come. */
const get = (path, agent, headers = {}) =>
  new Promise((resolve, reject) => {
    const request = http.get(new URL(path, base), { headers: { ...authorization, ...headers }, agent }, (response) => {
      response.on('error', () => {});
      resolve(response);
    });
    request.on('error', reject);
  });

const own = new http.Agent({ keepAlive: true });
const text = async (path) => {
  const response = await get(path, own);
  if (response.statusCode !== 200) throw new Error(`${path}: HTTP ${response.statusCode}`);
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

const counts = { bytes: 0, pictures: 0, cached: 0, wait: 0, failed: 0 };

/** What a browser does with one page. */
class Viewer {
  #agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  /** By path: what was kept with its validator, and until when it is fresh. */
  #kept = new Map();
  #stream;
  #hover;
  #gone = false;

  async come(paths) {
    this.#stream = await get('api/stream', this.#agent);
    this.#stream.on('data', (chunk) => {
      counts.bytes += chunk.length;
      if (chunk.includes('event: reload')) setTimeout(() => this.#fetch('api/points'), RELOAD_WITHIN_MS * Math.random());
    });
    await this.#fetch('api/points');
    this.#hover = setInterval(() => {
      const path = paths[Math.floor(Math.random() * paths.length)];
      this.#fetch(`api/thumbnail?path=${encodeURIComponent(path)}`);
    }, THUMBNAIL_EVERY_MS);
  }

  leave() {
    this.#gone = true;
    clearInterval(this.#hover);
    this.#stream.destroy();
    this.#agent.destroy();
  }

  async #fetch(path) {
    const kept = this.#kept.get(path);
    if (kept && kept.until > Date.now()) {
      counts.cached += 1;
      return;
    }
    const validator = kept?.etag ? { 'If-None-Match': kept.etag } : {};
    try {
      const response = await get(path, this.#agent, { 'Accept-Encoding': 'gzip', ...validator });
      for await (const chunk of response) counts.bytes += chunk.length;
      await this.#take(path, response);
    } catch {
      if (!this.#gone) counts.failed += 1;
    }
  }

  async #take(path, { statusCode, headers }) {
    if (statusCode === 503 && headers['retry-after']) {
      counts.wait += 1;
      await pause(1000 * Number(headers['retry-after']));
      if (!this.#gone) await this.#fetch(path);
      return;
    }
    if (statusCode !== 200 && statusCode !== 304) throw new Error(`${path}: HTTP ${statusCode}`);
    if (path.startsWith('api/thumbnail')) counts.pictures += 1;
    const age = /max-age=(\d+)/.exec(headers['cache-control'] ?? '')?.[1] ?? 0;
    this.#kept.set(path, { etag: headers.etag, until: Date.now() + 1000 * Number(age) });
  }
}

/** The sum of a metric's samples. */
const total = (exposition, name) =>
  exposition
    .split('\n')
    .filter((line) => line.startsWith(name))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);

/** CPU seconds of the job's process until now. */
const cpuOfJob = () => {
  if (!values.pid) return NaN;
  const fields = readFileSync(`/proc/${values.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
};

/** The job's counts at one moment: of images as they become rows, not of what processes tell each other once a second. */
const look = async () => {
  const exposition = await text('metrics');
  const images = total(exposition, 'eigenflow_images_total');
  const besides = cpuOfJob() - total(exposition, 'eigenflow_worker_cpu_seconds_total');
  return { at: performance.now(), images, besides };
};

/** Images a second of the next `seconds`, and ms of CPU a second that the job took beside its workers. */
const measure = async () => {
  const before = await look();
  await pause(1000 * seconds);
  const after = await look();
  const images = after.images - before.images;
  if (images === 0) throw new Error('the job did nothing: give it more work, see the head of this file');
  const elapsed = (after.at - before.at) / 1000;
  return { rate: images / elapsed, besides: (1000 * (after.besides - before.besides)) / elapsed };
};

const median = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const run = async () => {
  const { points, paths } = JSON.parse(await text('api/points'));
  if (points.length === 0) throw new Error('nothing is published yet: begin after the first commit');
  console.log(`${viewers} viewers, ${points.length} points; ${rounds} rounds of ${seconds} s without, ${seconds} s with`);
  const ratios = [];
  const besides = { without: [], with: [], viewers: [] };
  let alone = await measure();
  for (let round = 1; round <= rounds; round += 1) {
    const cpu = process.cpuUsage();
    const all = Array.from({ length: viewers }, () => new Viewer());
    await Promise.all(all.map((viewer) => viewer.come(paths)));
    const beside = await measure();
    all.forEach((viewer) => viewer.leave());
    const used = process.cpuUsage(cpu);
    const again = await measure();
    const ratio = (2 * beside.rate) / (alone.rate + again.rate);
    ratios.push(ratio);
    besides.without.push((alone.besides + again.besides) / 2);
    besides.with.push(beside.besides);
    besides.viewers.push((used.user + used.system) / 1000 / seconds);
    const rates = [alone, beside, again].map(({ rate }) => rate.toFixed(2));
    console.log(`round ${round}: ${rates[0]}, ${rates[1]} with viewers, ${rates[2]} images/s; ratio ${ratio.toFixed(4)}`);
    alone = again;
  }
  const spread = `${(100 * (Math.min(...ratios) - 1)).toFixed(1)} to ${(100 * (Math.max(...ratios) - 1)).toFixed(1)}`;
  console.log(`median ${(100 * (median(ratios) - 1)).toFixed(2)} % of the images/s with ${viewers} viewers (${spread} %)`);
  const [without, beside, viewing] = [besides.without, besides.with, besides.viewers].map((list) => median(list).toFixed(0));
  console.log(`CPU, ms a second: the job beside its workers ${without} without, ${beside} with viewers; the viewers themselves ${viewing}`);
  console.log(
    `received ${(counts.bytes / 1e6).toFixed(1)} MB; ${counts.pictures} thumbnails, ${counts.cached} more from the viewers' caches; ` +
      `${counts.wait} times told to wait; ${counts.failed} requests failed`,
  );
};

run().then(
  () => process.exit(0),
  (error) => {
    console.error(`${base}: ${error.message}`);
    process.exit(1);
  },
);
