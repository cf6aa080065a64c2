// What the map promises of as many points and labels as it may have: the job is real, its points are made here.

import { expect, test } from '@playwright/test';
import { Demo } from './job.mjs';
import { meetPoint } from './look.mjs';

const POINTS = 100_000;
const LABELS = 95;
/** From the answer to a painted map: a bound for a machine that has other work, not a measurement. */
const DRAWN_MS = 5000;

let demo;
test.beforeAll(async () => {
  demo = await Demo.start(60);
});
test.afterAll(() => demo?.stop());

/** Each label is a ring of points around its own place. */
const crowd = () => {
  const labels = Array.from({ length: LABELS }, (_, label) => `label ${label}`);
  const points = Array.from({ length: POINTS }, (_, i) => {
    const label = i % LABELS;
    const [turn, radius] = [i * 2.399963, 3 * Math.sqrt(i / POINTS)];
    const place = [12 * (label % 10) + radius * Math.cos(turn), 12 * Math.floor(label / 10) + radius * Math.sin(turn)];
    return [i + 1, label, ...place];
  });
  const paths = points.map(([id, label]) => `s3://landing/label ${label}/${id}.jpg`);
  return { revision: 1, commit: 1, projection_version: 1, of: POINTS, labels, points, paths };
};

test('100,000 points of 95 labels are drawn soon, met by the pointer, and listed', async ({ page }) => {
  const troubles = [];
  page.on('pageerror', (error) => troubles.push(error.stack));
  const body = JSON.stringify(crowd());
  let answered = 0;
  await page.route('**/api/points', async (route) => {
    await route.fulfill({ contentType: 'application/json', body });
    answered = performance.now();
  });
  await page.goto(demo.page);
  await expect(page.locator('#map-count')).toHaveText('100,000 images');
  // The frame after the one that paints.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  expect(performance.now() - answered).toBeLessThan(DRAWN_MS);
  const colours = await page.locator('#map-points').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
  expect(colours).toBeGreaterThan(12);
  await expect(page.locator('#labels li')).toHaveCount(LABELS);
  await page.locator('#words summary').click();
  await expect(page.locator('#words tbody tr')).toHaveCount(LABELS);
  await meetPoint(page, 24);
  await expect(page.locator('#card-path')).toContainText('s3://landing/label ');
  expect(troubles).toEqual([]);
});
