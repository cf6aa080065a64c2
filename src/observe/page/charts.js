// Charts of a few hundred numbers, as SVG that the style sheet colours: a line over time, or bars.

import { svg } from './dom.js';

const [LEFT, RIGHT, TOP, BOTTOM] = [44, 12, 10, 24];

/** The least round number that is not below `x`, and whose half is round, too. */
const roundUp = (x) => {
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 3, 4, 6, 8, 10].find((m) => m * power >= x * 0.9999) * power;
};

export class Chart {
  #figure;
  #canvas;
  #readout;
  #look;
  #points = [];

  /**
   * In the figure with this id. `look`: `bars`, `xText(x)` and `yText(y)` for axes and reading, `readAs(x, y)` for the point under the
   * pointer, `describe(points)` for who can't see it, `least`, the lowest top of the scale, and `digits(x)`.
   */
  constructor(id, look) {
    this.#figure = document.getElementById(id);
    this.#look = look;
    this.#canvas = svg('svg', { class: 'chart', role: 'img' });
    this.#readout = this.#figure.querySelector('.readout');
    this.#figure.append(this.#canvas);
    this.#canvas.addEventListener('pointermove', (event) => this.#read(event));
    this.#canvas.addEventListener('pointerleave', () => (this.#readout.textContent = ''));
    new ResizeObserver(() => this.#render()).observe(this.#figure);
  }

  /** Draws [[x, y], …] by ascending x; a y of null is a gap. */
  draw(points) {
    this.#points = points;
    this.#render();
  }

  get #box() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    return { width, height, w: width - LEFT - RIGHT, h: height - TOP - BOTTOM };
  }

  /** Of the x-axis: bars have half a step of room on either side. */
  get #range() {
    const first = this.#points[0][0];
    const last = this.#points.at(-1)[0];
    if (this.#look.bars) return [first - 0.5, last + 0.5];
    return first === last ? [first - 1, last + 1] : [first, last];
  }

  #render() {
    const known = this.#points.filter(([, y]) => y !== null);
    this.#canvas.toggleAttribute('hidden', known.length === 0);
    const { width, height, w, h } = this.#box;
    if (known.length === 0 || w <= 0 || h <= 0) return;
    this.#canvas.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.#canvas.setAttribute('aria-label', this.#look.describe(this.#points));
    const top = roundUp(Math.max(this.#look.least, ...known.map(([, y]) => y)));
    const [first, last] = this.#range;
    const x = (at) => LEFT + ((at - first) / (last - first)) * w;
    const y = (value) => TOP + h - (value / top) * h;
    const parts = [0, 0.5, 1].map((share) => this.#line(width, y(share * top), this.#look.yText(share * top)));
    parts.push(...this.#ends(x, height));
    if (this.#look.bars) parts.push(...this.#bars(known, x, y));
    else parts.push(...this.#curve(x, y));
    this.#canvas.replaceChildren(...parts);
  }

  #line(width, at, text) {
    const line = svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: at, y2: at });
    return svg('g', {}, line, svg('text', { class: 'tick', x: LEFT - 8, y: at + 4, 'text-anchor': 'end' }, text));
  }

  #ends(x, height) {
    const [first, last] = [this.#points[0][0], this.#points.at(-1)[0]];
    const text = (at, anchor) =>
      svg('text', { class: 'tick', x: x(at), y: height - 6, 'text-anchor': anchor }, this.#look.xText(at));
    if (first === last) return [text(first, 'middle')];
    return [text(first, 'start'), text(last, 'end')];
  }

  #bars(known, x, y) {
    const step = x(1) - x(0);
    const thick = Math.max(1, Math.min(28, step * 0.72));
    return known.map(([at, value]) =>
      svg('rect', { class: 'bar', x: x(at) - thick / 2, width: thick, y: y(value), height: y(0) - y(value), rx: Math.min(2, thick / 4) }),
    );
  }

  #curve(x, y) {
    const runs = [];
    let run = null;
    for (const [at, value] of this.#points) {
      if (value === null) run = null;
      else if (run) run.push([x(at), y(value)]);
      else runs.push((run = [[x(at), y(value)]]));
    }
    const drawn = runs.flatMap((points) => {
      const line = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join('L');
      const ground = `V${y(0).toFixed(1)}H${points[0][0].toFixed(1)}Z`;
      return [svg('path', { class: 'area', d: `M${line}${ground}` }), svg('path', { class: 'line', d: `M${line}` })];
    });
    const [endX, endY] = runs.at(-1).at(-1);
    return [...drawn, svg('circle', { class: 'end', cx: endX, cy: endY, r: 3 })];
  }

  #read(event) {
    if (this.#points.length === 0) return;
    const { width } = this.#canvas.getBoundingClientRect();
    const [first, last] = this.#range;
    const at = first + ((event.offsetX - LEFT) / (width - LEFT - RIGHT)) * (last - first);
    const nearest = this.#points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best));
    this.#readout.textContent = nearest[1] === null ? '' : this.#look.readAs(...nearest);
  }
}
