// What the live page promises, seen in a real browser on a real job.

import AxeBuilder from '@axe-core/playwright';
import { expect, test } from '@playwright/test';
import { Demo } from './job.mjs';
import { meetPoint, showsPicture } from './look.mjs';

const PICTURES = 400;
let demo;

test.describe.configure({ mode: 'serial' });
test.beforeAll(async () => {
  demo = await Demo.start(PICTURES);
});
test.afterAll(() => demo?.stop());

/** Opens the page and waits until it shows so many images; `troubles` gathers what must not be. */
const open = async (page, images) => {
  const troubles = [];
  page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()));
  page.on('pageerror', (error) => troubles.push(error.stack));
  page.on('request', (request) => {
    const elsewhere = !request.url().startsWith(demo.page) && !request.url().startsWith('blob:');
    if (elsewhere) troubles.push(`asked ${request.url()}`);
  });
  await page.goto(demo.page);
  await expect(page.locator('#verdict')).toHaveText('Well');
  if (images) await expect(page.locator('#rows')).toHaveText(images.toLocaleString('en'));
  if (images) await expect(page.locator('#map-count')).toHaveText(`${images.toLocaleString('en')} images`);
  return troubles;
};

test('a job that is well says so, and its numbers', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  await expect(page.locator('#reasons')).toContainText('Every event is read');
  await expect(page.locator('#lag')).toHaveText('0');
  await expect(page.locator('#job')).toHaveText('s3://eigenflow/table');
  await expect(page.locator('#workers tr')).toHaveCount(1);
  await expect(page.locator('#scree-chart .bar')).toHaveCount(20);
  expect(Number.parseFloat(await page.locator('#explained').textContent())).toBeGreaterThan(10);
  await expect(page).toHaveTitle('Well · eigenflow');
  expect(troubles).toEqual([]);
});

test('the time before the page was opened is there at once', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  const lasted = async () => {
    const said = await page.locator('#images-chart svg').getAttribute('aria-label');
    const [, time, unit] = /over the last (\d+) (s|min)/.exec(said);
    return time * (unit === 'min' ? 60 : 1);
  };
  await expect.poll(lasted).toBeGreaterThan(5);
  await page.reload();
  await expect(page.locator('#verdict')).toHaveText('Well');
  expect(await lasted()).toBeGreaterThan(4);
  await expect(page.locator('#accuracy-note')).not.toBeEmpty();
  expect(troubles).toEqual([]);
});

test('a point under the pointer shows its picture', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  await meetPoint(page, 24);
  await showsPicture(page);
  await expect(page.locator('#card-path')).toContainText('s3://landing/');
  expect(troubles).toEqual([]);
});

test('the keyboard steps from point to point, and says which', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  await page.locator('#map').focus();
  await page.keyboard.press('ArrowRight');
  await showsPicture(page);
  const first = await page.locator('#map-said').textContent();
  await page.keyboard.press('ArrowRight');
  await expect(page.locator('#map-said')).not.toHaveText(first);
  await page.keyboard.press('Escape');
  await expect(page.locator('#card')).toBeHidden();
  expect(troubles).toEqual([]);
});

test('labels are found, hidden, and told as a table', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  const labels = page.locator('#labels li');
  const all = await labels.count();
  expect(all).toBeGreaterThan(3);
  await page.locator('#words summary').click();
  await expect(page.locator('#words tbody tr')).toHaveCount(all);
  const name = await labels.locator('.name').nth(1).textContent();
  await page.getByLabel('Find a label').fill(name);
  const found = await labels.filter({ visible: true }).count();
  await page.getByRole('button', { name: 'None' }).click();
  await expect(page.locator('#words tbody tr')).toHaveCount(all - found);
  await page.getByRole('button', { name: 'All' }).click();
  await expect(page.locator('#words tbody tr')).toHaveCount(all);
  expect(troubles).toEqual([]);
});

for (const colorScheme of ['light', 'dark']) {
  for (const [form, width, height] of [['wide', 1360, 900], ['narrow', 390, 844]]) {
    test(`${colorScheme} and ${form}: accessible, and nothing sticks out`, async ({ browser }, info) => {
      const context = await browser.newContext({ colorScheme, viewport: { width, height }, reducedMotion: 'reduce' });
      const page = await context.newPage();
      const troubles = await open(page, PICTURES);
      await page.locator('#map').focus();
      await page.keyboard.press('ArrowRight');
      await showsPicture(page);
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`)).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
      await page.screenshot({ path: info.outputPath(`${colorScheme}-${form}.png`), fullPage: true });
      // README's picture: EIGENFLOW_SCREENSHOT=docs/page.png.
      const picture = process.env.EIGENFLOW_SCREENSHOT;
      if (picture && colorScheme === 'light' && form === 'wide') await page.screenshot({ path: picture });
      expect(troubles).toEqual([]);
      await context.close();
    });
  }
}

test('what is uploaded and deleted comes and goes while one looks', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  await expect(page.locator('#rejects-none')).not.toBeEmpty();
  demo.add('newcomer', 25);
  await demo.reconcile();
  await expect(page.locator('#rows')).toHaveText(`${PICTURES + 25}`);
  await expect(page.locator('#map-count')).toHaveText(`${PICTURES + 25} images`);
  await expect(page.locator('#labels')).toContainText('newcomer25');
  await expect(page.locator('#rejects')).toHaveText('1');
  await expect(page.locator('#rejects-list')).toContainText('s3://landing/newcomer/broken.jpg');
  demo.remove('newcomer');
  await demo.reconcile();
  await expect(page.locator('#map-count')).toHaveText(`${PICTURES} images`);
  await expect(page.locator('#rejects')).toHaveText('0');
  expect(troubles).toEqual([]);
});

test('a job that ends says so, and what it said last stays', async ({ page }) => {
  const troubles = await open(page, PICTURES);
  expect(troubles).toEqual([]);
  expect(await demo.stop()).toBe(0);
  await expect(page.locator('#verdict')).toHaveText(/Ended|No answer/);
  await expect(page.locator('#rows')).toHaveText(`${PICTURES}`);
});

test('a job with a token asks for it, once a tab', async ({ page }) => {
  const token = 'a-long-random-text';
  demo = await Demo.start(60, { EIGENFLOW__OBSERVE__TOKEN: token });
  await page.goto(demo.page);
  const dialog = page.getByRole('dialog');
  await page.getByLabel('Token', { exact: true }).fill('another');
  await page.getByRole('button', { name: 'Open' }).click();
  await expect(dialog.getByRole('alert')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.locator('#verdict')).toHaveText('Locked');
  await expect(page.locator('#rows')).toHaveText('–');
  await page.getByRole('button', { name: 'Give the token' }).click();
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.keyboard.press('Enter');
  await expect(page.locator('#map-count')).toHaveText('60 images');
  await page.locator('#map').focus();
  await page.keyboard.press('ArrowRight');
  await showsPicture(page);
  await page.reload();
  await expect(page.locator('#map-count')).toHaveText('60 images');
});
