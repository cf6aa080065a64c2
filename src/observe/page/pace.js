// How fast it goes: images a second and lag over the last quarter of an hour, and what each worker does.

import { Chart } from './charts.js';
import { byId, clock, count, el, percent, plural, rate, say, span } from './dom.js';

/** A quarter of an hour of states, one a second. */
const KEPT = 900;
/** Between two states that are further apart, nothing is known. */
const GAP_MS = 5000;

const about = (what, text) => (points) => {
  const known = points.filter(([, y]) => y !== null);
  const values = known.map(([, y]) => y);
  const lasted = span((known.at(-1)[0] - known[0][0]) / 1000);
  const now = text(values.at(-1));
  return `${what} over the last ${lasted}: now ${now}, lowest ${text(Math.min(...values))}, highest ${text(Math.max(...values))}`;
};

export class Pace {
  #images = [];
  #lag = [];
  #imagesChart = new Chart('images-chart', {
    xText: clock,
    yText: (y) => `${Number(y.toPrecision(2))}`,
    readAs: (x, y) => `${rate(y)} a second at ${clock(x)}`,
    describe: about('Images a second', rate),
    least: 1,
  });
  #lagChart = new Chart('lag-chart', {
    xText: clock,
    yText: (y) => (y % 1 === 0 ? count(y) : ''),
    readAs: (x, y) => `${plural(y, 'message')} at ${clock(x)}`,
    describe: about('Messages not yet read', count),
    least: 2,
  });

  /** What the job remembers of the time before: [when, images a second, messages not read], one a second. */
  recall(beats) {
    if (beats.length === 0) return;
    for (const [series, at] of [[this.#images, 1], [this.#lag, 2]]) {
      const before = series.filter(([when]) => when < beats[0][0]);
      series.length = 0;
      for (const [when, value] of before) this.#add(series, when, value);
      for (const beat of beats) this.#add(series, beat[0], beat[at]);
    }
  }

  show({ now, rates, lag, processes }) {
    this.#add(this.#images, now, rates.images);
    this.#add(this.#lag, now, lag.offsets);
    this.#imagesChart.draw(this.#images);
    this.#lagChart.draw(this.#lag);
    this.#partitions(lag.partitions);
    this.#workers(processes);
  }

  #add(series, when, value) {
    const before = series.at(-1)?.[0] ?? when;
    if (when - before > GAP_MS) series.push([before + 1, null]);
    // The last state may be told with what is remembered, too.
    if (when > before || series.length === 0) series.push([when, value]);
    series.splice(0, series.length - KEPT);
  }

  #partitions(partitions) {
    const behind = partitions.filter(({ read, high }) => high > read).length;
    say(
      byId('partitions'),
      behind === 0
        ? `${plural(partitions.length, 'partition')}, all read to the end`
        : `${count(behind)} of ${plural(partitions.length, 'partition')} not read to the end`,
    );
  }

  #workers(processes) {
    const table = byId('workers');
    const wanted = processes.flatMap((process) => process.workers.map((worker) => ({ process, worker })));
    while (table.rows.length > wanted.length) table.deleteRow(-1);
    while (table.rows.length < wanted.length) {
      const bar = el('td', { class: 'share' }, el('span', { class: 'bar' }));
      table.append(el('tr', {}, el('th', { scope: 'row' }), bar, el('td'), el('td')));
    }
    wanted.forEach(({ process, worker }, i) => {
      const [name, share, busy, speed] = table.rows[i].cells;
      say(name, processes.length > 1 ? `${process.index} · ${worker.index}` : `${worker.index}`);
      share.firstChild.style.width = percent(worker.busy).replace(' ', '');
      say(busy, percent(worker.busy));
      say(speed, rate(worker.rate));
    });
  }
}
