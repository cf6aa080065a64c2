// The report of a table: reads what the file holds, and hands it to the parts that show it.

import { components } from './axes.js';
import { byId, count, el, percent, plural, say } from './dom.js';
import { Legend } from './legend.js';
import { SpaceMap } from './map.js';
import { Matrix } from './matrix.js';
import { Points } from './points.js';
import { Spectrum } from './spectrum.js';

const report = JSON.parse(byId('data').textContent);
const { sample, projection, clusters, classifier, rejects } = report;
/** Dates are told apart as far as they are so many. */
const DATES_MAX = 12;
/** Labels that are told of a cluster, and errors of a label. */
const TOLD = 4;

const nameOf = (label) => label || '(none)';
const three = (x) => (x === null || x === undefined ? '–' : x.toFixed(3));

// Figures

const explained = projection.explained_variance_ratio.reduce((sum, share) => sum + share, 0);
say(byId('table'), report.table);
say(byId('version'), `version ${report.version} · ${report.backbone.split(';')[0]}`);
document.title = `${report.table} · eigenflow report`;
say(byId('rows'), count(report.rows));
say(byId('rows-note'), `of ${plural(report.labels, 'label')}`);
say(byId('explained'), percent(explained, 1));
say(byId('explained-note'), `by ${plural(projection.explained_variance_ratio.length, 'component')}`);
if (clusters) {
  say(byId('clusters'), count(clusters.count));
  say(byId('clusters-note'), `mean silhouette ${three(clusters.silhouette)}`);
  say(byId('agreement'), three(clusters.agreement?.adjusted_rand_index));
  say(byId('agreement-note'), `adjusted Rand index; mutual information ${three(clusters.agreement?.normalised_mutual_information)}`);
} else say(byId('clusters-note'), 'no labels to count them by');
if (classifier && classifier.tested > 0) {
  say(byId('accuracy'), percent(classifier.correct / classifier.tested, 1));
  say(byId('accuracy-note'), `of ${plural(classifier.tested, 'image')}, before each was learnt`);
} else say(byId('accuracy-note'), 'no image was predicted before it was learnt');
say(byId('rejects'), count(report.rejected));
say(byId('rejects-note'), plural(rejects.length, 'reason'));
say(byId('about'), `eigenflow report of version ${report.version}, projection ${projection.version}. The maps show ${count(sample.path.length)} of ${count(report.rows)} images; all else is of all.`);

// Groups of the points: the name of each, and each point's number

/** Times as texts, as precisely as few enough of them differ. */
const dates = (times) => {
  const spelled = times.map((at) => new Date(at).toISOString().replace('T', ' '));
  const lengths = [19, 16, 13, 10, 7, 4];
  const few = lengths.find((length) => new Set(spelled.map((text) => text.slice(0, length))).size <= DATES_MAX) ?? 4;
  return spelled.map((text) => text.slice(0, few) + (few === 13 ? ' h' : ''));
};

const grouped = (names) => {
  const labels = [...new Set(names)].toSorted();
  const number = new Map(labels.map((name, i) => [name, i]));
  return { labels, label: names.map((name) => number.get(name)) };
};

const groups = {
  label: () => ({ labels: sample.labels, label: sample.label, title: 'Labels', noun: 'label' }),
  cluster: () => ({
    labels: Array.from({ length: clusters.count }, (_, i) => `cluster ${i}`),
    label: sample.cluster,
    title: 'Clusters',
    noun: 'cluster',
  }),
  date: () => ({ ...grouped(dates(sample.time)), title: 'Dates (UTC)', noun: 'date' }),
};

// The map

const at = new Map(sample.path.map((path, i) => [path, i]));
const pictures = {
  has: () => true,
  of: async (path) => {
    const picture = sample.picture[at.get(path)];
    if (!picture) throw new Error(`there is no picture of ${path}`);
    return `data:image/jpeg;base64,${picture}`;
  },
  forget: () => {},
};
const points = new Points();
const legend = new Legend(points, { filtered: () => map.changed(), chosen: (label) => map.choose(label) });
const map = new SpaceMap(points, legend.wanted, pictures);
const [plane, colour] = [byId('plane'), byId('colour')];

const show = () => {
  const { labels, label, title, noun } = groups[colour.value]();
  const place = sample[plane.value];
  const all = place.map(([x, y], i) => [i, label[i], x, y]);
  points.replace({ revision: 0, of: report.rows, labels, points: all, paths: sample.path });
  legend.noun = noun;
  say(byId('group'), title);
  map.name(plane.value === 'pca' ? components(projection.explained_variance_ratio) : null);
  say(byId('plane-note'), plane.value === 'tsne' ? 'On this map only nearness means something; directions and sizes do not.' : '');
  legend.changed();
  map.changed();
  map.fit();
};

if (!clusters) colour.querySelector('[value="cluster"]').remove();
for (const choice of [plane, colour]) choice.addEventListener('change', show);
const part = sample.path.length < report.rows ? ` of ${count(report.rows)}, an even sample` : '';
say(byId('map-count'), `${plural(sample.path.length, 'image')}${part}`);
show();

// The projection

const spectrum = new Spectrum();
spectrum.show(projection);

// Tables of counts

const line = (head, ...cells) => el('tr', {}, el('th', { scope: 'row' }, head), ...cells.map((text) => el('td', {}, text)));
const sum = (cells) => cells.reduce((all, [, , n]) => all + n, 0);

/** The cells of each row, the largest first. */
const byRow = ({ rows, cells }) => {
  const of = rows.map(() => []);
  for (const cell of cells) of[cell[0]].push(cell);
  for (const mine of of) mine.sort((a, b) => b[2] - a[2]);
  return of;
};

const listed = (cells, name) => {
  const told = cells.slice(0, TOLD).map(([, column, n]) => `${name(column)} ${count(n)}`);
  return told.join(', ') + (cells.length > TOLD ? ', …' : '');
};

if (clusters) {
  const { table } = clusters;
  const rows = byRow(table);
  const label = (column) => nameOf(table.columns[column]);
  byId('clusters-section').hidden = false;
  const lines = rows.map((cells, row) =>
    line(table.rows[row], count(sum(cells)), percent(cells[0][2] / sum(cells)), listed(cells, label)),
  );
  byId('clusters-list').replaceChildren(...lines);
  // Labels in the order of the clusters that have most of each: what agrees lies on the diagonal.
  const main = table.columns.map(() => [0, 0]);
  for (const [row, column, n] of table.cells) if (n > main[column][1]) main[column] = [row, n];
  const order = {
    rows: table.rows.map((_, row) => row),
    columns: table.columns.map((_, column) => column).toSorted((a, b) => main[a][0] - main[b][0] || main[b][1] - main[a][1]),
  };
  new Matrix('clusters-matrix', table, order, {
    label: `${plural(table.rows.length, 'cluster')} by ${plural(table.columns.length, 'label')}; the table beside it has the numbers`,
    tell: ({ row, column }) => `cluster ${table.rows[row]}, ${label(column)}`,
  });
}

if (classifier && classifier.table.cells.length > 0) {
  const { table } = classifier;
  const label = (row) => table.rows[row];
  const taken = (column) => table.columns[column];
  const right = ([row, column]) => label(row) === taken(column);
  const all = sum(table.cells);
  const learnt = all - classifier.unseen;
  byId('classifier-section').hidden = false;
  const how = `${percent(sum(table.cells.filter(right)) / all, 1)} of ${plural(all, 'image')} told right`;
  const tests = [
    [classifier.unseen, 'each before it was learnt'],
    [learnt, 'each by a classifier that had learnt it, which is no test: the figure at the head of the page is'],
  ];
  const [, but] = tests.find(([n]) => n === all) ?? [0, `${count(learnt)} of them by a classifier that had learnt them, which is no test`];
  say(byId('classifier-note'), `${how}, ${but}.`);
  const rows = byRow(table);
  const order = [...rows.keys()].toSorted((a, b) => share(rows[a]) - share(rows[b]) || a - b);
  function share(cells) {
    return sum(cells.filter(right)) / sum(cells);
  }
  const lines = order.map((row) => {
    const wrong = rows[row].filter((cell) => !right(cell));
    return line(nameOf(label(row)), count(sum(rows[row])), percent(share(rows[row]), 1), listed(wrong, taken));
  });
  byId('classifier-list').replaceChildren(...lines);
  const inOrder = { rows: table.rows.map((_, i) => i), columns: table.columns.map((_, i) => i) };
  new Matrix('classifier-matrix', table, inOrder, {
    label: `${plural(table.rows.length, 'label')} by what they were taken for; the table beside it has the numbers`,
    tell: ({ row, column }) => `${nameOf(label(row))}, taken for ${taken(column)}`,
  });
}

byId('rejects-none').hidden = rejects.length > 0;
byId('rejects-table').hidden = rejects.length === 0;
const example = ({ path, detail }) => [el('span', { class: 'path' }, path), ` – ${detail}`];
const refused = rejects.map((reject) =>
  el('tr', {}, el('th', { scope: 'row' }, reject.reason), el('td', {}, count(reject.count)), el('td', {}, ...example(reject))),
);
byId('rejects-list').replaceChildren(...refused);
