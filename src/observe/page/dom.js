// Elements, and how numbers and times are said.

const SVG = 'http://www.w3.org/2000/svg';

const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

/** Sets an element's text; one that says it already is left alone, so that nothing is announced or selected anew. */
export const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (n) => (n < 1e7 ? whole : compact).format(n);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const rate = (x) => (x >= 100 ? whole.format(Math.round(x)) : x.toFixed(x === 0 ? 0 : 1));
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

export const bytes = (n) => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; n >= 1000 && unit + 1 < units.length; unit += 1) n /= 1000;
  return `${n.toFixed(unit > 0 && n < 10 ? 1 : 0)} ${units[unit]}`;
};

/** A length of time in words, such as `3 min`. */
export const span = (seconds) => {
  if (seconds < 100) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
};

/** The time of day, with the date unless it is today's. */
export const clock = (ms) => {
  const at = new Date(ms);
  const time = at.toLocaleTimeString('en-GB');
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString('en-CA')} ${time}`;
};

export const reducedMotion = window.matchMedia('(prefers-reduced-motion: reduce)');
export const darkness = window.matchMedia('(prefers-color-scheme: dark)');
