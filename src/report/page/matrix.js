// How rows fall into columns, as squares: the stronger, the larger the share of its row.

import { byId, count, percent, svg } from './dom.js';

/** Of one in a hundred thousand, so that it is still seen. */
const FAINTEST = 0.12;

export class Matrix {
  #cells = new Map();
  #totals;
  #canvas;
  #frame;
  #readout;
  #look;

  /**
   * In the figure with this id. `table`: names of `rows` and `columns`, and `cells` of [row, column, n]; drawn in the `order` of both.
   * `look.tell(row, column, n, share)` puts a cell into words, `look.label` the whole.
   */
  constructor(id, { rows, columns, cells }, order, look) {
    const figure = byId(id);
    this.#look = look;
    this.#readout = figure.querySelector('.readout');
    this.#totals = rows.map(() => 0);
    for (const [row, , n] of cells) this.#totals[row] += n;
    const [across, down] = [columns.length, rows.length];
    const place = { row: [], column: [] };
    order.rows.forEach((row, at) => (place.row[row] = at));
    order.columns.forEach((column, at) => (place.column[column] = at));
    const squares = cells.map(([row, column, n]) => {
      const [x, y] = [place.column[column], place.row[row]];
      const share = n / this.#totals[row];
      this.#cells.set(y * across + x, { row, column, n, share });
      return svg('rect', { x, y, width: 1, height: 1, 'fill-opacity': (FAINTEST + (1 - FAINTEST) * share).toFixed(3) });
    });
    this.#frame = svg('rect', { class: 'under-pointer', width: 1, height: 1, visibility: 'hidden' });
    this.#canvas = svg(
      'svg',
      { viewBox: `0 0 ${across} ${down}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': look.label },
      ...squares,
      this.#frame,
    );
    this.#canvas.style.aspectRatio = `${across} / ${down}`;
    this.#canvas.addEventListener('pointermove', (event) => this.#read(event, across, down));
    this.#canvas.addEventListener('pointerleave', () => this.#show(null));
    figure.append(this.#canvas);
  }

  #read(event, across, down) {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const x = Math.min(across - 1, Math.floor((event.offsetX / width) * across));
    const y = Math.min(down - 1, Math.floor((event.offsetY / height) * down));
    this.#show(this.#cells.get(y * across + x), x, y);
  }

  #show(cell, x, y) {
    this.#frame.setAttribute('visibility', cell ? 'visible' : 'hidden');
    this.#readout.textContent = cell ? `${this.#look.tell(cell)}: ${count(cell.n)}, ${percent(cell.share, 1)}` : '';
    if (!cell) return;
    this.#frame.setAttribute('x', x);
    this.#frame.setAttribute('y', y);
  }
}
