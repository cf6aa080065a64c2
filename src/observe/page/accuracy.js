// How often the classifier was right on images that it had not learnt: tested, then trained.

import { Chart } from './charts.js';
import { byId, percent, plural, say } from './dom.js';

export class Accuracy {
  #chart = new Chart('accuracy-chart', {
    xText: (version) => `version ${version}`,
    yText: (y) => percent(y),
    readAs: (version, y) => `version ${version}: ${percent(y, 1)}`,
    describe: (points) => `Share of labels told right over ${points.length} versions: ${percent(points.at(-1)[1], 1)} with the last`,
    least: 1,
  });

  /** Takes the projections, oldest first, each with the images that were tested and right until then. */
  show(history) {
    let before = { tested: 0, correct: 0 };
    const points = [];
    for (const now of history) {
      const tested = now.tested - before.tested;
      if (tested > 0) points.push([now.version, (now.correct - before.correct) / tested]);
      before = now;
    }
    this.#chart.draw(points);
    const all = `${percent(before.correct / before.tested, 1)} of ${plural(before.tested, 'image')}, each before it was learnt`;
    say(byId('accuracy-note'), points.length > 0 ? all : 'It shows when labelled images come after the first commit.');
  }
}
