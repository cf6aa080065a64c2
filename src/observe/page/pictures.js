// The pictures of the points, fetched from the job and kept for a while.

import { ask, pause } from './stream.js';

const KEPT = 200;

/** Addresses of pictures that were fetched, the latest last. */
const kept = new Map();

export const has = (path) => kept.has(path);

/** The job's answer. While many ask for new pictures it says when to ask again, which is done as long as this one is `wanted()`. */
const fetched = async (address, wanted) => {
  for (;;) {
    try {
      return await ask(address);
    } catch (error) {
      if (!error.againMs) throw error;
      await pause(error.againMs * (1 + Math.random()));
      if (!wanted()) throw error;
    }
  }
};

/** The address of the picture of the object at `path`, as the point with this `id` has it: another one has another address. */
export const of = async (path, id, wanted) => {
  const known = kept.get(path);
  if (known) return known;
  const response = await fetched(`thumbnail?path=${encodeURIComponent(path)}&row=${id}`, wanted);
  const address = URL.createObjectURL(await response.blob());
  kept.set(path, address);
  if (kept.size > KEPT) forget(kept.keys().next().value);
  return address;
};

/** The object at `path` was replaced: its picture is another. */
export const forget = (path) => {
  if (!kept.has(path)) return;
  URL.revokeObjectURL(kept.get(path));
  kept.delete(path);
};
