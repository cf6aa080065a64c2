// What the report promises: opened as a file in a real browser, with nothing beside it.

import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { pathToFileURL } from 'node:url';
import { Demo } from './job.mjs';
import { meetPoint, showsPicture } from './look.mjs';

const PICTURES = 200;
let [demo, file] = [null, process.env.EIGENFLOW_REPORT];

test.describe.configure({ mode: 'serial' });
test.beforeAll(async () => {
  // One that is there already can be looked at, too.
  if (file) return;
  demo = await Demo.start(PICTURES);
  demo.add('broken', 0);
  await demo.reconcile();
  const rejects = async () => (await (await fetch(`${demo.page}api/state`)).json()).totals.rejects;
  await expect.poll(rejects).toBe(1);
  file = await demo.report();
});
test.afterAll(() => demo?.stop());

/** Opens the report; what must not be is gathered. */
const open = async (page) => {
  const troubles = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && troubles.push(message.text()));
  page.on('pageerror', (error) => troubles.push(error.stack));
  page.on('request', (request) => {
    const own = request.url().startsWith('data:') || request.url() === pathToFileURL(file).href;
    if (!own) troubles.push(`asked ${request.url()}`);
  });
  await page.goto(pathToFileURL(file).href);
  await expect(page.locator('#map-count')).toContainText('images');
  return troubles;
};

test('a point under the pointer shows its thumbnail, on both maps', async ({ page }) => {
  const troubles = await open(page);
  for (const plane of ['pca', 'tsne']) {
    await page.locator('#plane').selectOption(plane);
    await page.mouse.move(0, 0);
    await expect(page.locator('#card')).toBeHidden();
    await meetPoint(page, 16);
    await showsPicture(page);
    await expect(page.locator('#card-path')).toContainText('s3://');
  }
  expect(troubles).toEqual([]);
});

test('points are coloured by label, cluster and date', async ({ page }) => {
  const troubles = await open(page);
  const labels = await page.locator('#labels li').count();
  expect(labels).toBeGreaterThan(3);
  await page.locator('#colour').selectOption('cluster');
  await expect(page.locator('#group')).toHaveText('Clusters');
  await expect(page.locator('#labels li .name').first()).toHaveText('cluster 0');
  expect(await page.locator('#labels li').count()).toBe(Number(await page.locator('#clusters').textContent()));
  await page.locator('#colour').selectOption('date');
  await expect(page.locator('#labels li .name').first()).toHaveText(/^\d{4}/);
  expect(await page.locator('#labels li').count()).toBeLessThanOrEqual(12);
  await page.locator('#colour').selectOption('label');
  await expect(page.locator('#labels li')).toHaveCount(labels);
  expect(troubles).toEqual([]);
});

test('clusters, classifier, projection and rejects are told in numbers', async ({ page }) => {
  const troubles = await open(page);
  const clusters = Number(await page.locator('#clusters').textContent());
  await expect(page.locator('#clusters-list tr')).toHaveCount(clusters);
  expect(await page.locator('#clusters-matrix rect').count()).toBeGreaterThan(clusters);
  await expect(page.locator('#classifier-list tr')).not.toHaveCount(0);
  expect(await page.locator('#scree-chart .bar').count()).toBeGreaterThan(1);
  const square = page.locator('#clusters-matrix svg rect').first();
  await square.hover();
  await expect(page.locator('#clusters-matrix .readout')).toHaveText(/^cluster \d+, .+: [\d,]+, [\d.]+ %$/);
  if (demo) {
    await expect(page.locator('#rejects')).toHaveText('1');
    await expect(page.locator('#rejects-list')).toContainText('s3://landing/broken/broken.jpg');
  }
  expect(troubles).toEqual([]);
});

test('the keyboard steps from point to point', async ({ page }) => {
  const troubles = await open(page);
  await page.locator('#map').focus();
  await page.keyboard.press('ArrowRight');
  await showsPicture(page);
  await expect(page.locator('#map-said')).not.toBeEmpty();
  expect(troubles).toEqual([]);
});

for (const colorScheme of ['light', 'dark']) {
  for (const [form, width, height] of [['wide', 1360, 900], ['narrow', 390, 844]]) {
    test(`${colorScheme} and ${form}: accessible, and nothing sticks out`, async ({ browser }, info) => {
      const context = await browser.newContext({ colorScheme, viewport: { width, height }, reducedMotion: 'reduce' });
      const page = await context.newPage();
      const troubles = await open(page);
      await page.locator('#plane').selectOption('tsne');
      await page.locator('#map').focus();
      await page.keyboard.press('ArrowRight');
      await showsPicture(page);
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`)).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
      await page.screenshot({ path: info.outputPath(`report-${colorScheme}-${form}.png`), fullPage: true });
      expect(troubles).toEqual([]);
      await context.close();
    });
  }
}
