// The points of the map as the job publishes them, kept in flat arrays: 100,000 of them are 1.8 MB, and looking at each
// takes a fraction of a millisecond. So the nearest one is found by asking them all, and no index has to be kept true.

const INITIAL = 1024;

export class Points {
  constructor() {
    this.clear();
  }

  clear() {
    this.length = 0;
    this.revision = -1;
    this.of = 0;
    this.labels = [];
    this.perLabel = [];
    this.ids = new Float64Array(INITIAL);
    this.label = new Uint16Array(INITIAL);
    this.x = new Float32Array(INITIAL);
    this.y = new Float32Array(INITIAL);
    this.paths = [];
    this.at = new Map();
  }

  /** Takes the whole of them. */
  replace({ revision, of, labels, points, paths }) {
    this.clear();
    this.#add({ revision, of, labels, points, paths });
  }

  /** Takes the change that a commit made; the indices of what came. One that is known already changes nothing. */
  change({ revision, of, labels, remove, add, paths }) {
    if (revision <= this.revision) return [];
    for (const id of remove) this.#remove(id);
    return this.#add({ revision, of, labels, points: add, paths });
  }

  /** Takes points, and the labels that are new with them. */
  #add({ revision, of, labels, points, paths }) {
    this.revision = revision;
    this.of = of;
    for (const label of labels) {
      this.labels.push(label);
      this.perLabel.push(0);
    }
    const came = [];
    points.forEach(([id, label, x, y], i) => {
      this.#remove(id);
      const at = this.length;
      if (at === this.x.length) this.#grow();
      this.length += 1;
      this.ids[at] = id;
      this.label[at] = label;
      this.x[at] = x;
      this.y[at] = y;
      this.paths[at] = paths[i];
      this.at.set(id, at);
      this.perLabel[label] += 1;
      came.push(at);
    });
    return came;
  }

  #remove(id) {
    const at = this.at.get(id);
    if (at === undefined) return;
    this.at.delete(id);
    this.perLabel[this.label[at]] -= 1;
    const last = this.length - 1;
    if (at !== last) {
      for (const column of [this.ids, this.label, this.x, this.y, this.paths]) column[at] = column[last];
      this.at.set(this.ids[at], at);
    }
    this.paths.pop();
    this.length = last;
  }

  #grow() {
    for (const name of ['ids', 'label', 'x', 'y']) {
      const column = this[name];
      this[name] = new column.constructor(2 * column.length);
      this[name].set(column);
    }
  }

  /** The box around the points with a label in `wanted`; null if there are none. */
  bounds(wanted) {
    let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < this.length; i += 1) {
      if (!wanted(this.label[i])) continue;
      if (this.x[i] < left) left = this.x[i];
      if (this.x[i] > right) right = this.x[i];
      if (this.y[i] < bottom) bottom = this.y[i];
      if (this.y[i] > top) top = this.y[i];
    }
    return left <= right ? { left, right, bottom, top } : null;
  }

  /** The index of the point nearest to (x, y) among labels in `wanted`, not farther than `within`; -1 if there is none. */
  nearest(x, y, wanted, within = Infinity) {
    let best = -1;
    let least = within * within;
    for (let i = 0; i < this.length; i += 1) {
      const dx = this.x[i] - x;
      const dy = this.y[i] - y;
      const distance = dx * dx + dy * dy;
      if (distance <= least && wanted(this.label[i])) {
        best = i;
        least = distance;
      }
    }
    return best;
  }

  /**
   * The index of the next point from point `from` in the direction (ux, uy), a unit vector: the nearest in the quarter
   * around it, what lies aside counting double. -1 if there is none.
   */
  next(from, ux, uy, wanted) {
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < this.length; i += 1) {
      const dx = this.x[i] - this.x[from];
      const dy = this.y[i] - this.y[from];
      const ahead = dx * ux + dy * uy;
      const aside = Math.abs(dy * ux - dx * uy);
      if (ahead > 0 && aside <= ahead && ahead + 2 * aside < least && wanted(this.label[i])) {
        best = i;
        least = ahead + 2 * aside;
      }
    }
    return best;
  }

  /** Per label in `wanted`: how many, their mean and their root mean square distance from it, the most numerous first. */
  summary(wanted) {
    const sums = this.labels.map(() => [0, 0, 0, 0]);
    for (let i = 0; i < this.length; i += 1) {
      const sum = sums[this.label[i]];
      sum[0] += 1;
      sum[1] += this.x[i];
      sum[2] += this.y[i];
      sum[3] += this.x[i] ** 2 + this.y[i] ** 2;
    }
    return sums
      .map(([n, x, y, square], label) => {
        const mean = [x / n, y / n];
        const spread = Math.sqrt(Math.max(0, square / n - mean[0] ** 2 - mean[1] ** 2));
        return { label, n, mean, spread };
      })
      .filter(({ label, n }) => n > 0 && wanted(label))
      .sort((a, b) => b.n - a.n || a.label - b.label);
  }
}
