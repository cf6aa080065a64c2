// The projection: how much of the variance its components explain, and how far it turned between versions.

import { Chart } from './charts.js';
import { byId, clock, count, el, percent, say } from './dom.js';

const degrees = (x) => `${x < 10 ? x.toFixed(x === 0 ? 0 : 2) : x.toFixed(0)}°`;

const rows = (id, lines) => {
  const details = byId(id);
  if (!details.open) return;
  const cells = ([head, ...rest]) => el('tr', {}, el('th', { scope: 'row' }, head), ...rest.map((text) => el('td', {}, text)));
  details.querySelector('tbody').replaceChildren(...lines.map(cells));
};

export class Spectrum {
  #shown = '';
  #projection = null;
  #scree = new Chart('scree-chart', {
    bars: true,
    xText: (k) => `PC ${k}`,
    yText: (y) => percent(y, y > 0 && y < 0.02 ? 1 : 0),
    readAs: (k, y) => `PC ${k}: ${percent(y, 1)}, ${percent(this.#upTo(k), 1)} with those before`,
    describe: (points) =>
      `Explained variance of ${points.length} components: the first ${percent(points[0][1], 1)}, all together ${percent(this.#upTo(points.length), 1)}`,
    least: 0.01,
  });
  #drift = new Chart('drift-chart', {
    xText: (version) => `version ${version}`,
    yText: degrees,
    readAs: (version, y) => `version ${version}: ${degrees(y)}`,
    describe: (points) => {
      const most = Math.max(...points.map(([, y]) => y));
      return `Drift over ${points.length} versions: the last turned by ${degrees(points.at(-1)[1])}, the most by ${degrees(most)}`;
    },
    least: 1,
  });

  constructor() {
    for (const id of ['scree-numbers', 'drift-numbers']) byId(id).addEventListener('toggle', () => this.#numbers());
  }

  show(projection) {
    const state = projection && `${projection.version} ${projection.history.length}`;
    if (state === this.#shown) return;
    this.#shown = state;
    this.#projection = projection;
    const shares = projection?.explained_variance_ratio ?? [];
    this.#scree.draw(shares.map((share, i) => [i + 1, share]));
    const turned = (projection?.history ?? []).filter((one) => one.drift_degrees !== null);
    this.#drift.draw(turned.map(({ version, drift_degrees }) => [version, drift_degrees]));
    say(byId('scree-none'), projection ? '' : 'There is no projection yet.');
    say(byId('drift-none'), turned.length > 0 ? '' : 'It shows from the second projection on.');
    this.#numbers();
  }

  #upTo(k) {
    return this.#projection.explained_variance_ratio.slice(0, k).reduce((sum, share) => sum + share, 0);
  }

  #numbers() {
    if (!this.#projection) return;
    const { explained_variance_ratio: shares, history } = this.#projection;
    rows('scree-numbers', shares.map((share, i) => [`PC ${i + 1}`, percent(share, 2), percent(this.#upTo(i + 1), 2)]));
    const line = ({ version, at, rows: n, drift_degrees, explained }) => [
      `${version}`,
      clock(at),
      count(n),
      drift_degrees === null ? '–' : degrees(drift_degrees),
      percent(explained, 1),
    ];
    rows('drift-numbers', history.toReversed().map(line));
  }
}
