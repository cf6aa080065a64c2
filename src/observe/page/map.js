// The map of the space: every published image by its first two principal components.
//
// Two canvases lie on each other. The lower holds the points and is painted when they, the view or the filter change; the
// upper holds axes, the ring around the selected point and the halos of new ones. Both are drawn at most once a frame.

import { byId, darkness, percent, reducedMotion, say } from './dom.js';
import { listen } from './gestures.js';
import { Inspector } from './inspector.js';
import { colourOf } from './marks.js';
import { Painter } from './paint.js';

const HALO_MS = 1600;
/** More halos than this are a flood, and none is drawn. */
const HALOS = 400;
const REACH_PX = 16;
const MARGIN_PX = 40;
const ZOOM_MAX = 400;
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const clamp = (x, least, most) => Math.min(most, Math.max(least, x));
const hex = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** Round numbers from `low` to `high`, about `wanted` of them. */
const ticks = (low, high, wanted) => {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const all = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) all.push(Number((n * step).toPrecision(6)));
  return all;
};

export class SpaceMap {
  #root = byId('map');
  #base = byId('map-points');
  #over = byId('map-marks');
  #painter = new Painter(this.#base);
  #pen = this.#over.getContext('2d');
  #inspector = new Inspector();
  #points;
  #wanted;
  #view = { x: 0, y: 0, scale: 1 };
  /** The view goes where all points are seen, until the viewer takes hold of it. */
  #fitted = true;
  #placed = false;
  #fitScale = 1;
  #hovered = null;
  #selected = null;
  #chosen = -1;
  #fresh = new Map();
  #variance = [];
  #stale = { base: false, frame: 0 };
  #size = { width: 0, height: 0, ratio: 1 };
  #theme = {};

  /** `wanted(label)` says whether the legend shows a label. */
  constructor(points, wanted) {
    this.#points = points;
    this.#wanted = wanted;
    listen(this.#root, {
      pan: (dx, dy) => this.#pan(dx, dy),
      zoom: (factor, x, y) => this.#zoom(factor, x, y),
      hover: (x, y) => this.#hover(x, y),
      click: (x, y) => this.#select(this.#pick(x, y)),
      leave: () => this.#hover(-1e6, -1e6),
    });
    this.#root.addEventListener('keydown', (event) => this.#key(event));
    byId('zoom-in').addEventListener('click', () => this.#zoom(1.6));
    byId('zoom-out').addEventListener('click', () => this.#zoom(1 / 1.6));
    byId('zoom-fit').addEventListener('click', () => this.fit());
    darkness.addEventListener('change', () => this.#dress());
    new ResizeObserver(() => this.#resize()).observe(this.#root);
    this.#dress();
    this.#resize();
  }

  /** The points or the filter changed; `came` are the indices of new points. */
  changed(came = []) {
    if (came.length <= HALOS && !reducedMotion.matches) {
      for (const at of came) this.#fresh.set(this.#points.ids[at], performance.now());
    }
    for (const at of came) this.#inspector.forget(this.#points.paths[at]);
    const stillThere = (id) => (this.#points.at.has(id) ? id : null);
    this.#hovered = stillThere(this.#hovered);
    this.#selected = stillThere(this.#selected);
    this.#show();
    this.#draw();
  }

  /** The share of variance of each component, for the axes. */
  explain(shares) {
    this.#variance = shares;
    this.#draw(false);
  }

  /** Shows one label in full colour and the others faintly; -1 shows all alike. */
  choose(label) {
    if (this.#chosen === label) return;
    this.#chosen = label;
    this.#draw();
  }

  /** Shows everything, and keeps doing so as points come. */
  fit() {
    this.#fitted = true;
    this.#draw();
  }

  #dress() {
    const style = getComputedStyle(this.#root);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.#theme = { ground: hex(colour('--card')), line: hex(colour('--line')), ink: colour('--ink'), soft: colour('--soft') };
    this.#theme.font = `12px ${style.fontFamily}`;
    this.#draw();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#root;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [dx, dy] = [(width - this.#size.width) / 2, (height - this.#size.height) / 2];
    this.#size = { width, height, ratio };
    for (const canvas of [this.#base, this.#over]) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    }
    this.#view.x += dx;
    this.#view.y += dy;
    this.#draw();
  }

  #pan(dx, dy) {
    this.#fitted = false;
    this.#view.x += dx;
    this.#view.y += dy;
    this.#draw();
  }

  #zoom(factor, x = this.#size.width / 2, y = this.#size.height / 2) {
    this.#fitted = false;
    const scale = clamp(this.#view.scale * factor, this.#fitScale / 4, this.#fitScale * ZOOM_MAX);
    const by = scale / this.#view.scale;
    this.#view = { scale, x: x + (this.#view.x - x) * by, y: y + (this.#view.y - y) * by };
    this.#draw();
  }

  #toData(x, y) {
    return [(x - this.#view.x) / this.#view.scale, (this.#view.y - y) / this.#view.scale];
  }

  #toScreen(at) {
    const { x, y, scale } = this.#view;
    return [x + scale * this.#points.x[at], y - scale * this.#points.y[at]];
  }

  #pick(x, y) {
    const at = this.#points.nearest(...this.#toData(x, y), this.#wanted, REACH_PX / this.#view.scale);
    return at < 0 ? null : this.#points.ids[at];
  }

  #hover(x, y) {
    const id = this.#pick(x, y);
    if (id === this.#hovered) return;
    this.#hovered = id;
    this.#show();
  }

  #select(id) {
    this.#selected = id;
    this.#hovered = null;
    this.#show();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const direction = DIRECTIONS[event.key];
    if (direction && event.shiftKey) this.#pan(-60 * direction[0], 60 * direction[1]);
    else if (direction) this.#step(...direction);
    else if (event.key === '+' || event.key === '=') this.#zoom(1.6);
    else if (event.key === '-') this.#zoom(1 / 1.6);
    else if (event.key === '0' || event.key === 'Home') this.fit();
    else if (event.key === 'Escape') this.#select(null);
    else return;
    event.preventDefault();
  }

  /** Selects the next point that way; the first is the one nearest to the middle. */
  #step(ux, uy) {
    const from = this.#points.at.get(this.#selected);
    const { width, height } = this.#size;
    const at =
      from === undefined
        ? this.#points.nearest(...this.#toData(width / 2, height / 2), this.#wanted)
        : this.#points.next(from, ux, uy, this.#wanted);
    if (at < 0) {
      say(byId('map-said'), from === undefined ? 'There are no points.' : 'There is no point further that way.');
      return;
    }
    this.#select(this.#points.ids[at]);
    const [x, y] = this.#toScreen(at);
    const [dx, dy] = [clamp(x, MARGIN_PX, width - MARGIN_PX) - x, clamp(y, MARGIN_PX, height - MARGIN_PX) - y];
    if (dx !== 0 || dy !== 0) this.#pan(dx, dy);
    const { labels, label, paths } = this.#points;
    const place = `${this.#points.x[at].toFixed(1)}, ${this.#points.y[at].toFixed(1)}`;
    say(byId('map-said'), `${labels[label[at]]}, ${paths[at].split('/').pop()}, at ${place}`);
  }

  /** Index of the point that the card tells of; undefined if there is none. */
  #shown() {
    return this.#points.at.get(this.#hovered ?? this.#selected);
  }

  #show() {
    const at = this.#shown();
    if (at === undefined) this.#inspector.hide();
    else {
      const { labels, label, paths, x, y } = this.#points;
      this.#inspector.show({ path: paths[at], label: label[at], name: labels[label[at]], x: x[at], y: y[at] });
    }
    this.#draw(false);
  }

  #draw(base = true) {
    this.#stale.base ||= base;
    this.#stale.frame ||= requestAnimationFrame(() => {
      this.#stale.frame = 0;
      this.#frame();
    });
  }

  #frame() {
    const { width, height, ratio } = this.#size;
    if (width === 0 || height === 0) return;
    const moving = this.#fitted && this.#approach();
    if (this.#stale.base || moving) {
      this.#stale.base = false;
      const { x, y, scale } = this.#view;
      const look = {
        ground: this.#theme.ground,
        line: this.#theme.line,
        dark: darkness.matches,
        radius: this.#radius() * ratio,
        wanted: this.#wanted,
        chosen: this.#chosen,
      };
      this.#painter.paint(this.#points, { x: x * ratio, y: y * ratio, scale: scale * ratio }, look);
    }
    this.#pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#pen.clearRect(0, 0, width, height);
    this.#axes();
    this.#halos();
    const at = this.#shown();
    if (at !== undefined) this.#ring(at);
    if (moving) this.#draw();
    else if (this.#fresh.size > 0) this.#draw(false);
  }

  /** Takes the view a step nearer to all points; whether it is still on its way. */
  #approach() {
    const box = this.#points.bounds(this.#wanted);
    if (box === null) return false;
    const { width, height } = this.#size;
    const [w, h] = [Math.max(box.right - box.left, 1e-3), Math.max(box.top - box.bottom, 1e-3)];
    const scale = Math.min((width - 2 * MARGIN_PX) / w, (height - 2 * MARGIN_PX) / h);
    const goal = {
      scale,
      x: width / 2 - (scale * (box.left + box.right)) / 2,
      y: height / 2 + (scale * (box.bottom + box.top)) / 2,
    };
    const view = this.#view;
    const near = (name, within) => Math.abs(goal[name] - view[name]) <= within;
    const there = near('scale', 0.002 * scale) && near('x', 0.5) && near('y', 0.5);
    const jump = !this.#placed || reducedMotion.matches;
    this.#placed = true;
    this.#fitScale = scale;
    if (there || jump) {
      this.#stale.base ||= view.scale !== goal.scale || view.x !== goal.x || view.y !== goal.y;
      this.#view = goal;
      return false;
    }
    for (const name of ['scale', 'x', 'y']) view[name] += 0.18 * (goal[name] - view[name]);
    return true;
  }

  /** Of a mark, in CSS pixels: smaller the more there are, larger the nearer one looks; by quarters. */
  #radius() {
    const crowd = 5 - 1.05 * Math.log10(Math.max(100, this.#points.length) / 100);
    const near = clamp(this.#view.scale / this.#fitScale, 0.5, 64) ** 0.3;
    return Math.round(4 * clamp(crowd * near, 1.25, 9)) / 4;
  }

  #axes() {
    if (this.#points.length === 0) return;
    const { width, height } = this.#size;
    const pen = this.#pen;
    const [left, top] = this.#toData(0, 0);
    const [right, bottom] = this.#toData(width, height);
    pen.font = this.#theme.font;
    pen.fillStyle = this.#theme.soft;
    pen.textAlign = 'center';
    for (const tick of ticks(left, right, width / 110)) {
      const x = this.#view.x + this.#view.scale * tick;
      if (x > 40 && x < width - 20) pen.fillText(tick.toLocaleString('en'), x, height - 8);
    }
    pen.textAlign = 'left';
    for (const tick of ticks(bottom, top, height / 90)) {
      const y = this.#view.y - this.#view.scale * tick;
      if (y > 40 && y < height - 24) pen.fillText(tick.toLocaleString('en'), 8, y + 4);
    }
    const named = (k) => `PC ${k}${this.#variance[k - 1] ? ` · ${percent(this.#variance[k - 1])}` : ''}`;
    pen.fillStyle = this.#theme.ink;
    pen.fillText(named(2), 8, 20);
    pen.textAlign = 'right';
    pen.fillText(named(1), width - 8, height - 28);
  }

  #halos() {
    const now = performance.now();
    for (const [id, since] of this.#fresh) {
      const at = this.#points.at.get(id);
      const age = (now - since) / HALO_MS;
      if (at === undefined || age >= 1) {
        this.#fresh.delete(id);
        continue;
      }
      if (!this.#wanted(this.#points.label[at])) continue;
      this.#pen.globalAlpha = (1 - age) ** 2;
      this.#circle(at, this.#radius() + 14 * age, `rgb(${colourOf(this.#points.label[at], darkness.matches)})`, 1.5);
      this.#pen.globalAlpha = 1;
    }
  }

  #ring(at) {
    this.#circle(at, this.#radius() + 4, this.#theme.ink, 2);
    this.#inspector.place(...this.#toScreen(at), this.#size);
  }

  #circle(at, radius, colour, width) {
    this.#pen.strokeStyle = colour;
    this.#pen.lineWidth = width;
    this.#pen.beginPath();
    this.#pen.arc(...this.#toScreen(at), radius, 0, 2 * Math.PI);
    this.#pen.stroke();
  }
}
