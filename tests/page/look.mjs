// What a person does with the map, of the live page and of the report alike.

import { expect } from '@playwright/test';

/** Moves the pointer over the map, in steps of so many pixels, until it meets a point. */
export const meetPoint = async (page, step) => {
  const box = await page.locator('#map').boundingBox();
  for (let y = 60; y < box.height - 40; y += step) {
    for (let x = 40; x < box.width - 40; x += step) {
      await page.mouse.move(box.x + x, box.y + y);
      if (await page.locator('#card').isVisible()) return;
    }
  }
  throw new Error('no point anywhere on the map');
};

/** The card shows a picture that was decoded. */
export const showsPicture = async (page) => {
  await expect(page.locator('#card')).toHaveAttribute('data-picture', 'there');
  await expect.poll(() => page.locator('#card-image').evaluate((image) => image.naturalWidth)).toBeGreaterThan(0);
};
