// The labels: what each looks like, how many points it has, whether it is shown; and the map in words.

import { byId, count, darkness, el, plural, say } from './dom.js';
import { swatch } from './marks.js';

const byName = new Intl.Collator(undefined, { numeric: true }).compare;

export class Legend {
  #list = byId('labels');
  #search = byId('search');
  #words = byId('words');
  #rows = [];
  #hidden = new Set();
  /** What a label is here. */
  noun = 'label';
  #points;
  #on;

  /** `on.filtered()`: other labels are shown; `on.chosen(label)`: one is looked at, or -1. */
  constructor(points, on) {
    this.#points = points;
    this.#on = on;
    this.#search.addEventListener('input', () => this.#narrow());
    byId('labels-all').addEventListener('click', () => this.#all(true));
    byId('labels-none').addEventListener('click', () => this.#all(false));
    this.#words.addEventListener('toggle', () => this.#tell());
    this.#list.addEventListener('change', ({ target }) => this.#toggle(Number(target.value), target.checked));
    const look = ({ target }) => on.chosen(Number(target.closest('li')?.dataset.label ?? -1));
    this.#list.addEventListener('pointerover', look);
    this.#list.addEventListener('focusin', look);
    this.#list.addEventListener('pointerleave', () => on.chosen(-1));
    this.#list.addEventListener('focusout', () => on.chosen(-1));
    darkness.addEventListener('change', () => {
      for (const { picture, label } of this.#rows) picture.replaceChildren(swatch(label, darkness.matches));
    });
  }

  wanted = (label) => !this.#hidden.has(label);

  /** The points changed. */
  changed() {
    const { labels, perLabel, length } = this.#points;
    if (labels.length < this.#rows.length || this.#rows.some(({ name, label }) => labels[label] !== name)) this.#clear();
    this.#append(labels);
    for (const { label, number } of this.#rows) say(number, count(perLabel[label]));
    say(byId('labels-count'), plural(perLabel.filter((n) => n > 0).length, this.noun));
    this.#list.closest('fieldset').hidden = length === 0;
    this.#narrow();
    this.#tell();
  }

  #clear() {
    this.#rows = [];
    this.#hidden.clear();
    this.#list.replaceChildren();
  }

  /** Puts labels that are new where they belong by name; those that are there stay untouched. */
  #append(labels) {
    const known = this.#rows.length;
    if (labels.length === known) return;
    for (let label = known; label < labels.length; label += 1) this.#rows.push(this.#row(label, labels[label]));
    let next = null;
    for (const { label, item } of this.#rows.toSorted((a, b) => byName(b.name, a.name) || b.label - a.label)) {
      if (label >= known) this.#list.insertBefore(item, next);
      next = item;
    }
  }

  #row(label, name) {
    const box = el('input', { type: 'checkbox', value: label });
    box.checked = true;
    const picture = el('span', {}, swatch(label, darkness.matches));
    const number = el('span', { class: 'number' });
    const line = el('label', {}, box, picture, el('span', { class: 'name' }, name || '(none)'), number);
    const item = el('li', { 'data-label': label }, line);
    return { label, name, item, box, picture, number };
  }

  /** Lists the labels that have points and match what is sought. */
  #narrow() {
    const sought = this.#search.value.trim().toLowerCase();
    for (const { item, name, label } of this.#rows) {
      item.hidden = this.#points.perLabel[label] === 0 || !name.toLowerCase().includes(sought);
    }
  }

  #toggle(label, shown) {
    if (shown) this.#hidden.delete(label);
    else this.#hidden.add(label);
    this.#on.filtered();
    this.#tell();
  }

  /** Shows or hides all labels that the search found. */
  #all(shown) {
    for (const { item, box, label } of this.#rows) {
      if (item.hidden) continue;
      box.checked = shown;
      if (shown) this.#hidden.delete(label);
      else this.#hidden.add(label);
    }
    this.#on.filtered();
    this.#tell();
  }

  #tell() {
    if (!this.#words.open) return;
    const rows = this.#points.summary(this.wanted).map(({ label, n, mean, spread }) =>
      el(
        'tr',
        {},
        el('th', { scope: 'row' }, this.#points.labels[label] || '(none)'),
        ...[count(n), mean[0].toFixed(2), mean[1].toFixed(2), spread.toFixed(2)].map((text) => el('td', {}, text)),
      ),
    );
    this.#words.querySelector('tbody').replaceChildren(...rows);
  }
}
