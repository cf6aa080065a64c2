#!/usr/bin/env node
// What viewers of the live page cost a job: images a second with and without them, by turns, in one running job.
//
//   node benches/viewers.mjs http://127.0.0.1:8080 [--viewers 50] [--seconds 30] [--rounds 4]
//
// A viewer does what the page does: holds the stream, fetches all points when it comes, and a thumbnail now and then. What
// it receives it throws away, so that little of the machine goes to the viewers themselves; how much is printed. The job
// must have work for the whole time, (2 * rounds + 1) * seconds. EIGENFLOW_TOKEN: the job's token, if it asks for one.

import http from 'node:http';
import { parseArgs } from 'node:util';

const THUMBNAIL_EVERY_MS = 2000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    viewers: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '4' },
  },
});
const [base] = positionals;
const [viewers, seconds, rounds] = [values.viewers, values.seconds, values.rounds].map(Number);
if (!base || !(viewers > 0 && seconds > 0 && rounds > 0)) {
  console.error('usage: node benches/viewers.mjs http://ADDRESS:PORT [--viewers N] [--seconds S] [--rounds N]');
  process.exit(2);
}
const token = process.env.EIGENFLOW_TOKEN;
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** An answer's stream; an error unless it is 200. */
const open = (path) =>
  new Promise((resolve, reject) => {
    const request = http.get(new URL(path, base), { headers, agent: false }, (response) => {
      response.on('error', () => {});
      if (response.statusCode === 200) resolve(response);
      else reject(new Error(`${path}: HTTP ${response.statusCode}`));
    });
    request.on('error', reject);
  });
const json = async (path) => {
  const chunks = [];
  for await (const chunk of await open(path)) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks));
};

let received = 0;
const discard = (response) => {
  response.on('data', (chunk) => (received += chunk.length));
  return response;
};

/** Comes, and stays until `leave()` is called; `failed` counts what was refused. */
const viewer = async (paths, failed) => {
  const stream = discard(await open('api/stream'));
  discard(await open('api/points'));
  const hover = setInterval(() => {
    const path = paths[Math.floor(Math.random() * paths.length)];
    open(`api/thumbnail?path=${encodeURIComponent(path)}`).then(discard, () => (failed.count += 1));
  }, THUMBNAIL_EVERY_MS);
  return () => {
    clearInterval(hover);
    stream.destroy();
  };
};

/** Images a second of the next `seconds`, by the job's own count. */
const measure = async () => {
  const before = await json('api/state');
  await pause(1000 * seconds);
  const after = await json('api/state');
  const images = after.totals.images - before.totals.images;
  if (images === 0) throw new Error('the job did nothing: give it more work, see the head of this file');
  return (1000 * images) / (after.now - before.now);
};

const median = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const run = async () => {
  const { points, paths } = await json('api/points');
  if (points.length === 0) throw new Error('nothing is published yet: begin after the first commit');
  console.log(`${viewers} viewers, ${points.length} points; ${rounds} rounds of ${seconds} s without, ${seconds} s with`);
  const failed = { count: 0 };
  const ratios = [];
  let own = 0;
  let alone = await measure();
  for (let round = 1; round <= rounds; round += 1) {
    const cpu = process.cpuUsage();
    const leave = await Promise.all(Array.from({ length: viewers }, () => viewer(paths, failed)));
    const beside = await measure();
    leave.forEach((leaves) => leaves());
    const used = process.cpuUsage(cpu);
    own += (used.user + used.system) / 1e6 / seconds / rounds;
    const again = await measure();
    const ratio = (2 * beside) / (alone + again);
    ratios.push(ratio);
    console.log(`round ${round}: ${alone.toFixed(2)}, ${beside.toFixed(2)} with viewers, ${again.toFixed(2)} images/s; ratio ${ratio.toFixed(4)}`);
    alone = again;
  }
  console.log(`median ratio ${median(ratios).toFixed(4)}: ${(100 * (median(ratios) - 1)).toFixed(2)} % with ${viewers} viewers`);
  console.log(`received ${(received / 1e6).toFixed(1)} MB; thumbnails refused ${failed.count}; the viewers themselves took ${(100 * own).toFixed(1)} % of a core`);
};

run().catch((error) => {
  console.error(`${base}: ${error.message}`);
  process.exit(1);
});
