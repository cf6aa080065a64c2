// The card beside a point: its picture, label and path.

import { byId, darkness, say } from './dom.js';
import { swatch } from './marks.js';

/** A pointer that only passes over points asks for none of their pictures. */
const LINGER_MS = 60;
const GAP_PX = 16;
/** On a narrower map the card lies at the top or bottom, whichever is farther from the point. */
const NARROW_PX = 520;

export class Inspector {
  #card = byId('card');
  #image = byId('card-image');
  #pictures;
  #shown = null;
  #waiting = 0;

  /**
   * `pictures`: `of(path, id, wanted)` promises the picture's address of a point, while `wanted()`; `has(path)` says whether it is
   * there already.
   */
  constructor(pictures) {
    this.#pictures = pictures;
  }

  /** Shows the point at `path` with its id, its label's number and name and its coordinates. */
  show({ path, id, label, name, x, y }) {
    this.#card.hidden = false;
    if (this.#shown === path) return;
    this.#shown = path;
    byId('card-label').replaceChildren(swatch(label, darkness.matches), name);
    say(byId('card-path'), path);
    say(byId('card-place'), `${x.toFixed(2)}, ${y.toFixed(2)}`);
    this.#image.removeAttribute('src');
    this.#image.alt = '';
    this.#card.dataset.picture = 'awaited';
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => this.#picture(path, id, name), this.#pictures.has(path) ? 0 : LINGER_MS);
  }

  /** The object at `path` was replaced: its picture is another. */
  forget(path) {
    if (this.#shown === path) this.#shown = null;
  }

  hide() {
    this.#card.hidden = true;
    this.#shown = null;
    clearTimeout(this.#waiting);
  }

  /** Puts the card beside (x, y), inside a map of `width` by `height`. */
  place(x, y, { width, height }) {
    const { offsetWidth: w, offsetHeight: h } = this.#card;
    let left = x + GAP_PX + w <= width ? x + GAP_PX : x - GAP_PX - w;
    let top = y - h / 2;
    if (width < NARROW_PX) [left, top] = [(width - w) / 2, y > height / 2 ? 0 : height];
    this.#card.style.left = `${Math.max(4, Math.min(left, width - w - 4))}px`;
    this.#card.style.top = `${Math.max(4, Math.min(top, height - h - 4))}px`;
  }

  async #picture(path, id, name) {
    try {
      const address = await this.#pictures.of(path, id, () => this.#shown === path);
      if (this.#shown !== path) return;
      this.#image.src = address;
      this.#image.alt = `${name}: ${path}`;
      this.#card.dataset.picture = 'there';
    } catch {
      // An object that went since the commit; the card says so.
      if (this.#shown === path) this.#card.dataset.picture = 'none';
    }
  }
}
