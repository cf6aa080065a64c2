// The numbers at the top, what the job is, and the latest rejects.

import { byId, bytes, clock, count, el, percent, plural, rate, say, span } from './dom.js';

const set = (id, text, note) => {
  say(byId(id), text);
  say(byId(`${id}-note`), note);
};

export const figures = ({ now, started, job, totals, rates, lag, epoch, processes, projection }) => {
  say(byId('job'), job.table);
  say(byId('network'), `${job.backbone}, ${count(job.features)} features from ${job.topic}`);
  set('rate', rate(rates.images), `${count(totals.images)} since the start`);
  set('rows', count(totals.rows), 'live in the table');
  set('lag', count(lag.offsets), lag.offsets === 0 || lag.seconds === null ? 'messages to read' : `messages, ${span(lag.seconds)} behind`);
  const age = epoch.committed === null ? 'none yet' : `${span((now - epoch.committed) / 1000)} ago`;
  set('commit', count(epoch.commit), `${age}; epoch ${count(epoch.published)}`);
  const explained = projection?.explained_variance_ratio.reduce((sum, share) => sum + share, 0);
  set('explained', explained === undefined ? '–' : percent(explained, 1), explained === undefined ? '' : `of the variance in ${plural(job.components, 'component')}`);
  set('rejects', count(totals.rejects), 'not readable');
  const memory = processes.reduce((sum, process) => sum + process.resident_bytes, 0);
  const failures = totals.failures.store + totals.failures.broker;
  say(
    byId('about'),
    [
      `eigenflow ${job.version}`,
      `up ${span((now - started) / 1000)}`,
      `${plural(processes.length, 'process', 'processes')}, ${bytes(memory)} of memory`,
      `${plural(totals.events, 'event')}, ${bytes(totals.fetched_bytes)} fetched`,
      failures === 0
        ? 'no request failed'
        : `${plural(failures, 'request')} failed and ${failures === 1 ? 'was' : 'were'} repeated (store ${count(totals.failures.store)}, broker ${count(totals.failures.broker)})`,
    ].join(' · '),
  );
};

let shown = null;

export const rejects = (latest, total) => {
  if (latest !== shown) {
    shown = latest;
    const line = ({ path, reason, at }) =>
      el('tr', {}, el('td', { class: 'when' }, clock(at)), el('th', { scope: 'row' }, path), el('td', {}, reason));
    byId('rejects-list').replaceChildren(...latest.map(line));
    byId('rejects-table').hidden = latest.length === 0;
  }
  const none = total === 0 ? 'None. Every object was readable.' : 'None since the job started.';
  say(byId('rejects-none'), latest.length === 0 ? none : '');
};
