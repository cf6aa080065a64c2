// The map of the space: every published image by its first two principal components.
//
// Two canvases lie on each other. The lower holds the points and is painted when they, the view or the filter change; the
// upper holds axes, the ring around the selected point and the halos of new ones. Both are drawn at most once a frame.

import { drawAxes } from './axes.js';
import { byId, darkness, reducedMotion, say } from './dom.js';
import { listen } from './gestures.js';
import { Inspector } from './inspector.js';
import { colourOf } from './marks.js';
import { Painter } from './paint.js';
import { View, clamp } from './view.js';

const HALO_MS = 1600;
/** More halos than this are a flood, and none is drawn. */
const HALOS = 400;
const REACH_PX = 16;
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const hex = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

export class SpaceMap {
  #root = byId('map');
  #base = byId('map-points');
  #over = byId('map-marks');
  #painter = new Painter(this.#base);
  #pen = this.#over.getContext('2d');
  #inspector;
  #pictures;
  #points;
  #wanted;
  #view = new View();
  /** The view goes where all points are seen, until the viewer takes hold of it. */
  #fitted = true;
  #hovered = null;
  #selected = null;
  #chosen = -1;
  #fresh = new Map();
  /** What the axes are; null if they are nothing. */
  #axes = [];
  #stale = { base: false, frame: 0 };
  #ratio = 1;
  #theme = {};

  /** `wanted(label)` says whether the legend shows a label; `pictures` has the points' (`of`, `has` and `forget` a path). */
  constructor(points, wanted, pictures) {
    this.#points = points;
    this.#wanted = wanted;
    this.#pictures = pictures;
    this.#inspector = new Inspector(pictures);
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
    for (const at of came) {
      this.#pictures.forget(this.#points.paths[at]);
      this.#inspector.forget(this.#points.paths[at]);
    }
    const stillThere = (id) => (this.#points.at.has(id) ? id : null);
    this.#hovered = stillThere(this.#hovered);
    this.#selected = stillThere(this.#selected);
    this.#show();
    this.#draw();
  }

  /** What the axes are, in words; null if they are nothing that has a name or a unit. */
  name(axes) {
    this.#axes = axes;
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
    this.#ratio = Math.min(2, window.devicePixelRatio || 1);
    for (const canvas of [this.#base, this.#over]) {
      canvas.width = Math.max(1, Math.round(width * this.#ratio));
      canvas.height = Math.max(1, Math.round(height * this.#ratio));
    }
    this.#view.resize(width, height);
    this.#draw();
  }

  #pan(dx, dy) {
    this.#fitted = false;
    this.#view.pan(dx, dy);
    this.#draw();
  }

  #zoom(factor, x, y) {
    this.#fitted = false;
    this.#view.zoom(factor, x, y);
    this.#draw();
  }

  #toScreen(at) {
    return this.#view.toScreen(this.#points.x[at], this.#points.y[at]);
  }

  #pick(x, y) {
    const at = this.#points.nearest(...this.#view.toData(x, y), this.#wanted, REACH_PX / this.#view.scale);
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
    const { width, height } = this.#view;
    const at =
      from === undefined
        ? this.#points.nearest(...this.#view.toData(width / 2, height / 2), this.#wanted)
        : this.#points.next(from, ux, uy, this.#wanted);
    if (at < 0) {
      say(byId('map-said'), from === undefined ? 'There are no points.' : 'There is no point further that way.');
      return;
    }
    this.#select(this.#points.ids[at]);
    const [dx, dy] = this.#view.outside(...this.#toScreen(at));
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
      const { ids, labels, label, paths, x, y } = this.#points;
      this.#inspector.show({ path: paths[at], id: ids[at], label: label[at], name: labels[label[at]], x: x[at], y: y[at] });
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
    const { width, height } = this.#view;
    if (width === 0 || height === 0) return;
    const box = this.#fitted ? this.#points.bounds(this.#wanted) : null;
    const moved = box !== null && this.#view.approach(box);
    if (moved || this.#stale.base) this.#paint();
    this.#stale.base = false;
    this.#pen.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    this.#pen.clearRect(0, 0, width, height);
    if (this.#points.length > 0 && this.#axes) drawAxes(this.#pen, this.#view, this.#theme, this.#axes);
    this.#halos();
    const at = this.#shown();
    if (at !== undefined) this.#ring(at);
    if (moved || this.#fresh.size > 0) this.#draw(false);
  }

  #paint() {
    const { x, y, scale } = this.#view;
    const ratio = this.#ratio;
    this.#painter.paint(this.#points, { x: x * ratio, y: y * ratio, scale: scale * ratio }, {
      ground: this.#theme.ground,
      line: this.#theme.line,
      dark: darkness.matches,
      radius: this.#radius() * ratio,
      wanted: this.#wanted,
      chosen: this.#chosen,
    });
  }

  /** Of a mark, in CSS pixels: smaller the more there are, larger the nearer one looks; by quarters. */
  #radius() {
    const crowd = 5 - 1.05 * Math.log10(Math.max(100, this.#points.length) / 100);
    const near = clamp(this.#view.nearness, 0.5, 64) ** 0.3;
    return Math.round(4 * clamp(crowd * near, 1.25, 9)) / 4;
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
    // On a band of the ground, so that it is seen in a crowd.
    this.#circle(at, this.#radius() + 4, `rgb(${this.#theme.ground})`, 5);
    this.#circle(at, this.#radius() + 4, this.#theme.ink, 2);
    this.#inspector.place(...this.#toScreen(at), this.#view);
  }

  #circle(at, radius, colour, width) {
    this.#pen.strokeStyle = colour;
    this.#pen.lineWidth = width;
    this.#pen.beginPath();
    this.#pen.arc(...this.#toScreen(at), radius, 0, 2 * Math.PI);
    this.#pen.stroke();
  }
}
