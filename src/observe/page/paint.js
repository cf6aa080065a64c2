// The points as pixels. Each is a stamp of its label's shape, blended straight into the image: 100,000 of them take some
// ten milliseconds on one core, without a graphics card, where as many canvas calls would take ten times as long.

import { SHAPE_COUNT, colourOf, shapeOf, stamp } from './marks.js';

const OPAQUE = 0xff000000;
/** Of a point whose label is not the one looked at: a tenth of its colour. */
const FAINT = 0.12;

/** A colour as one little-endian pixel. */
const pixel = ([r, g, b]) => (OPAQUE | (b << 16) | (g << 8) | r) >>> 0;
const mix = (colour, ground, share) => colour.map((c, i) => Math.round(c * share + ground[i] * (1 - share)));

export class Painter {
  #context;
  #image;
  #pixels;
  #stamps = { radius: 0, shapes: [] };

  constructor(canvas) {
    this.#context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  }

  /**
   * Paints `points` as `view` sees them: where it has the origin (`x`, `y`), and how large the unit (`scale`), in pixels.
   *
   * `look`: `ground` and `line` as [r, g, b], `dark`, `radius` in pixels, `wanted(label)`, and `chosen`, the label that
   * stands out, shown or not, or -1.
   */
  paint(points, view, look) {
    const { width, height } = this.#context.canvas;
    if (this.#image?.width !== width || this.#image.height !== height) {
      this.#image = this.#context.createImageData(width, height);
      this.#pixels = new Uint32Array(this.#image.data.buffer);
    }
    this.#pixels.fill(pixel(look.ground));
    this.#cross(Math.round(view.x), Math.round(view.y), pixel(look.line));
    const passes = look.chosen < 0 ? [null] : [false, true];
    for (const chosen of passes) this.#pass(points, view, look, chosen);
    this.#context.putImageData(this.#image, 0, 0);
  }

  /** The lines where a component is zero. */
  #cross(x, y, colour) {
    const { width, height } = this.#image;
    if (y >= 0 && y < height) this.#pixels.fill(colour, y * width, (y + 1) * width);
    if (x >= 0 && x < width) for (let at = x; at < this.#pixels.length; at += width) this.#pixels[at] = colour;
  }

  #pass(points, view, look, chosen) {
    const { width, height } = this.#image;
    const colours = points.labels.map((_, label) => {
      const isChosen = label === look.chosen;
      if (!(look.wanted(label) || isChosen) || (chosen !== null && chosen !== isChosen)) return null;
      const colour = colourOf(label, look.dark);
      return pixel(chosen === false ? mix(colour, look.ground, FAINT) : colour);
    });
    const stamps = this.#stampsOf(look.radius);
    for (let i = 0; i < points.length; i += 1) {
      const label = points.label[i];
      const colour = colours[label];
      if (colour === null) continue;
      const x = Math.round(view.x + view.scale * points.x[i]);
      const y = Math.round(view.y - view.scale * points.y[i]);
      const { reach, side, cover } = stamps[shapeOf(label)];
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      this.#blend(colour, cover, side, (y - reach) * width + x - reach);
    }
  }

  #blend(colour, cover, side, start) {
    const pixels = this.#pixels;
    const skip = this.#image.width - side;
    const redBlue = colour & 0xff00ff;
    const green = colour & 0x00ff00;
    for (let row = 0, from = 0, to = start; row < side; row += 1, to += skip) {
      for (let column = 0; column < side; column += 1, from += 1, to += 1) {
        const share = cover[from];
        if (share === 0) continue;
        const rest = 256 - share;
        const below = pixels[to];
        const rb = ((Math.imul(redBlue, share) + Math.imul(below & 0xff00ff, rest)) >>> 8) & 0xff00ff;
        const g = ((Math.imul(green, share) + Math.imul(below & 0x00ff00, rest)) >>> 8) & 0x00ff00;
        pixels[to] = OPAQUE | rb | g;
      }
    }
  }

  #stampsOf(radius) {
    if (this.#stamps.radius !== radius) {
      this.#stamps = { radius, shapes: Array.from({ length: SHAPE_COUNT }, (_, shape) => stamp(shape, radius)) };
    }
    return this.#stamps.shapes;
  }
}
