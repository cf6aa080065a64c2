// Which part of the space the map shows: where the origin lies on it and how large the unit is, in CSS pixels.

import { reducedMotion } from './dom.js';

const MARGIN_PX = 40;
const ZOOM_MAX = 400;
/** Of the way that is left, gone in each frame. */
const STRIDE = 0.18;

export const clamp = (x, least, most) => Math.min(most, Math.max(least, x));

export class View {
  x = 0;
  y = 0;
  scale = 1;
  width = 0;
  height = 0;
  #fitScale = 1;
  #placed = false;

  toData(x, y) {
    return [(x - this.x) / this.scale, (this.y - y) / this.scale];
  }

  toScreen(x, y) {
    return [this.x + this.scale * x, this.y - this.scale * y];
  }

  /** How much nearer one looks than when all is seen. */
  get nearness() {
    return this.scale / this.#fitScale;
  }

  /** The map has this size now; its middle stays. */
  resize(width, height) {
    this.pan((width - this.width) / 2, (height - this.height) / 2);
    [this.width, this.height] = [width, height];
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
  }

  /** Zooms about (x, y), which stays where it is. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = clamp(this.scale * factor, this.#fitScale / 4, this.#fitScale * ZOOM_MAX);
    const by = scale / this.scale;
    this.x = x + (this.x - x) * by;
    this.y = y + (this.y - y) * by;
    this.scale = scale;
  }

  /** How far the view must move to have (x, y) well inside. */
  outside(x, y) {
    return [clamp(x, MARGIN_PX, this.width - MARGIN_PX) - x, clamp(y, MARGIN_PX, this.height - MARGIN_PX) - y];
  }

  /** Takes a step towards showing the whole `box`; whether it moved. The first step, and any without motion, goes all the way. */
  approach({ left, right, bottom, top }) {
    const [w, h] = [Math.max(right - left, 1e-3), Math.max(top - bottom, 1e-3)];
    const scale = Math.min((this.width - 2 * MARGIN_PX) / w, (this.height - 2 * MARGIN_PX) / h);
    const x = this.width / 2 - (scale * (left + right)) / 2;
    const y = this.height / 2 + (scale * (bottom + top)) / 2;
    if (this.x === x && this.y === y && this.scale === scale) return false;
    const near = Math.abs(scale / this.scale - 1) < 0.002 && Math.hypot(x - this.x, y - this.y) < 0.5;
    const stride = near || !this.#placed || reducedMotion.matches ? 1 : STRIDE;
    this.#fitScale = scale;
    this.#placed = true;
    if (stride === 1) Object.assign(this, { x, y, scale });
    else {
      this.pan(stride * (x - this.x), stride * (y - this.y));
      this.scale += stride * (scale - this.scale);
    }
    return true;
  }
}
