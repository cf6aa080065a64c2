// The connection to the job: its stream of events, its answers, and the token that it may ask for.
//
// The stream is read through `fetch` and not through `EventSource`, which can send no Authorization header.

import { byId } from './dom.js';

const TOKEN = 'eigenflow.token';
/** The job tells its state once a second; so long a silence means that it does not answer. */
const SILENCE_MS = 8000;
const PAUSES_MS = [500, 1000, 2000, 5000];

/** An answer that is none: its status, what the job says of it, and when to ask again (null if it does not say). */
class Refusal extends Error {
  constructor({ status, headers }, text) {
    super(text);
    this.status = status;
    this.againMs = headers.has('Retry-After') ? 1000 * Number(headers.get('Retry-After')) : null;
  }
}

/** The job's answer to a GET, or what the browser has of it and may take for it; a refusal is an error. */
export const ask = async (address, options = {}) => {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`api/${address}`, { ...options, headers });
  if (response.ok) return response;
  throw new Refusal(response, (await response.text()).trim() || `HTTP ${response.status}`);
};

/** Asks the viewer for the token; true if one was given. */
const askForToken = () =>
  new Promise((resolve) => {
    const dialog = byId('ask');
    const field = byId('token');
    byId('refused').hidden = sessionStorage.getItem(TOKEN) === null;
    field.value = '';
    dialog.returnValue = '';
    dialog.addEventListener(
      'close',
      () => {
        const given = dialog.returnValue === 'given' && field.value !== '';
        if (given) sessionStorage.setItem(TOKEN, field.value);
        resolve(given);
      },
      { once: true },
    );
    dialog.showModal();
  });

/** Events of a stream of text, as [name, data]; a comment is a name of null. */
async function* events(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      let name = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        const [, field, text] = /^([^:]*):? ?(.*)$/.exec(line);
        if (field === 'event') name = text;
        if (field === 'data') data.push(text);
      }
      if (data.length > 0) yield [name, JSON.parse(data.join('\n'))];
    }
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Follows the job for as long as the page is open, over losses and restarts.
 *
 * `on.event(name, data)` is called for each event; `on.status(status)` when the connection is `connecting`, `live`, `lost`,
 * `refused` (`status.reason` is what the job says, `status.soon` that it will pass), `locked` (the job wants a token and the
 * viewer gave none; `status.retry` asks again) or `ended` (with `status.reason`).
 */
export const follow = async (on) => {
  let failures = 0;
  let ended = null;
  on.status({ phase: 'connecting' });
  for (;;) {
    const abort = new AbortController();
    let silence;
    let refused = null;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      alive();
      const response = await ask('stream', { signal: abort.signal, cache: 'no-store' });
      failures = 0;
      ended = null;
      on.status({ phase: 'live' });
      for await (const [name, data] of events(response.body, alive)) {
        if (name === 'end') ended = data.reason;
        else on.event(name, data);
      }
    } catch (error) {
      // Whatever else broke the connection: it is lost, and made again.
      if (error instanceof Refusal) refused = error;
    } finally {
      clearTimeout(silence);
      abort.abort();
    }
    if (refused?.status === 401) {
      if (!(await askForToken())) await new Promise((retry) => on.status({ phase: 'locked', retry }));
      continue;
    }
    if (refused) on.status({ phase: 'refused', reason: refused.message, soon: refused.status === 503 });
    else if (ended !== null) on.status({ phase: 'ended', reason: ended });
    else on.status({ phase: 'lost' });
    await pause(PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)]);
    failures += 1;
  }
};
