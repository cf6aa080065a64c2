// The live page of a job: takes what the job tells and hands it to the parts that show it.

import { Accuracy } from './accuracy.js';
import { components } from './axes.js';
import { byId, count, plural, say } from './dom.js';
import { figures, rejects } from './figures.js';
import { Health } from './health.js';
import { Legend } from './legend.js';
import { SpaceMap } from './map.js';
import { Pace } from './pace.js';
import * as pictures from './pictures.js';
import { Points } from './points.js';
import { Spectrum } from './spectrum.js';
import { ask, follow, pause } from './stream.js';

const health = new Health();
const pace = new Pace();
const spectrum = new Spectrum();
const accuracy = new Accuracy();
const points = new Points();
const legend = new Legend(points, { filtered: () => map.changed(), chosen: (label) => map.choose(label) });
const map = new SpaceMap(points, legend.wanted, pictures);

const RETRY_MS = 3000;
/** Many may watch: not all of them ask for all points at the same moment. */
const SPREAD_MS = 3000;
/** What the job told last of its projections and rejects. */
let [history, refused] = [[], []];
/** Changes that came while the points were being fetched; null at other times. */
let waiting = null;
let live = false;

const redraw = (came) => {
  legend.changed();
  map.changed(came);
  say(byId('map-none'), 'No images yet. The map grows with every commit.');
  byId('map-none').hidden = points.length > 0;
  const sample = points.of > points.length ? ` of ${count(points.of)}, an even sample` : '';
  say(byId('map-count'), points.length > 0 ? `${plural(points.length, 'image')}${sample}` : '');
};

/** Fetches all points, after a while; changes that come meanwhile are applied to them. */
const refresh = async (afterMs) => {
  const mine = (waiting = []);
  await pause(afterMs);
  try {
    if (waiting !== mine) return;
    const all = await (await ask('points')).json();
    // Another refresh began meanwhile: the points are its to show.
    if (waiting !== mine) return;
    points.replace(all);
    for (const change of mine) points.change(change);
    redraw();
    waiting = null;
  } catch {
    // A broken connection begins with a refresh when it is made again; whatever else it was may be over soon.
    if (waiting === mine) setTimeout(() => live && waiting === mine && refresh(0), RETRY_MS);
  }
};

const on = {
  state(state) {
    health.state(state);
    figures(state);
    pace.show(state);
    spectrum.show(state.projection && { ...state.projection, history });
    map.name(components(state.projection?.explained_variance_ratio ?? []));
    rejects(refused, state.totals.rejects);
  },
  points(change) {
    if (waiting) waiting.push(change);
    else redraw(points.change(change));
  },
  reload: () => refresh(SPREAD_MS * Math.random()),
  beats: (beats) => pace.recall(beats),
  history(projections) {
    history = projections;
    accuracy.show(history);
  },
  rejects: (latest) => (refused = latest),
};

follow({
  event: (name, data) => on[name]?.(data),
  status(status) {
    health.status(status);
    live = status.phase === 'live';
    // Of a job that comes back after a loss, all that watched it ask again.
    if (live) refresh(points.revision < 0 ? 0 : SPREAD_MS * Math.random());
  },
});
