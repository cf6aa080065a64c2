// The map's axes: round numbers along its edges, and what each axis is.

import { percent } from './dom.js';

/** Round numbers from `low` to `high`, about `wanted` of them. */
const ticks = (low, high, wanted) => {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const all = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) all.push(Number((n * step).toPrecision(6)));
  return all;
};

/** What the first two components are called, by their `shares` of the variance as far as they are known. */
export const components = (shares) => [1, 2].map((k) => `PC ${k}${shares[k - 1] ? ` · ${percent(shares[k - 1])}` : ''}`);

/** Draws the axes of `view` with their `names`. */
export const drawAxes = (pen, view, theme, names) => {
  const { width, height } = view;
  const write = (text, x, y, align, colour) => {
    pen.textAlign = align;
    pen.strokeText(text, x, y);
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  };
  // Around the letters, so that they are read over points, too.
  pen.strokeStyle = `rgb(${theme.ground})`;
  pen.lineWidth = 4;
  pen.lineJoin = 'round';
  pen.font = theme.font;
  const [left, top] = view.toData(0, 0);
  const [right, bottom] = view.toData(width, height);
  for (const tick of ticks(left, right, width / 110)) {
    const [x] = view.toScreen(tick, 0);
    if (x > 40 && x < width - 20) write(tick.toLocaleString('en'), x, height - 8, 'center', theme.soft);
  }
  for (const tick of ticks(bottom, top, height / 90)) {
    const [, y] = view.toScreen(0, tick);
    if (y > 40 && y < height - 24) write(tick.toLocaleString('en'), 8, y + 4, 'left', theme.soft);
  }
  const [across = '', up = ''] = names;
  write(up, 8, 20, 'left', theme.ink);
  write(across, width - 8, height - 28, 'right', theme.ink);
};
