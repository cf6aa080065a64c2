// One line that says whether the job is well, and why not. What is spoken aloud is the verdict when it changes, not the
// numbers in it, which change every second.

import { byId, clock, el, plural, say, span } from './dom.js';

const WORDS = {
  connecting: 'Connecting',
  well: 'Well',
  restoring: 'Restoring',
  behind: 'Behind',
  trouble: 'In trouble',
  stopping: 'Stopping',
  ended: 'Ended',
  lost: 'No answer',
  locked: 'Locked',
  refused: 'Not shown',
};

export class Health {
  #status = { phase: 'connecting' };
  #state = null;
  #heard = null;

  constructor() {
    byId('unlock').addEventListener('click', () => this.#status.retry?.());
  }

  /** The connection's status, see `stream.js`. */
  status(status) {
    this.#status = status;
    this.#show();
  }

  /** The job's state. */
  state(state) {
    this.#state = state;
    this.#heard = Date.now();
    this.#show();
  }

  #show() {
    const [verdict, reasons] = this.#judge();
    const stale = this.#status.phase !== 'live' && this.#state !== null;
    document.body.dataset.stale = stale;
    byId('unlock').hidden = this.#status.phase !== 'locked';
    byId('reasons').replaceChildren(...reasons.map((reason) => el('li', {}, reason)));
    const section = byId('health');
    if (section.dataset.verdict === verdict) return;
    section.dataset.verdict = verdict;
    say(byId('verdict'), WORDS[verdict]);
    say(byId('said'), `${WORDS[verdict]}. ${reasons.join('. ')}`);
    document.title = `${WORDS[verdict]} · eigenflow`;
  }

  #judge() {
    const { phase, reason } = this.#status;
    if (phase === 'ended') return ['ended', [`At ${clock(this.#heard ?? Date.now())}: ${reason}. What is shown is what it said last.`]];
    if (phase === 'refused') return [this.#status.soon ? 'connecting' : 'refused', [reason]];
    if (phase === 'locked') return ['locked', ['The job asks for a token.']];
    if (phase === 'lost') {
      const since = this.#heard === null ? '' : ` since ${clock(this.#heard)}`;
      return ['lost', [`The job does not answer${since}. What is shown is what it said last; the page goes on asking.`]];
    }
    if (this.#state === null || phase === 'connecting') return ['connecting', ['Waiting for the job’s first word.']];
    const { verdict, reasons } = this.#state.health;
    return [verdict, reasons.length > 0 ? reasons : [this.#calm()]];
  }

  #calm() {
    const { now, lag, epoch, totals } = this.#state;
    const ago = epoch.committed === null ? '' : `, the last commit ${span((now - epoch.committed) / 1000)} ago`;
    const read = lag.offsets === 0 ? 'Every event is read' : `${plural(lag.offsets, 'message')} to read`;
    const published = `${plural(totals.rows, 'image')} published${ago}`;
    return `${read}; ${published}.`;
  }
}
