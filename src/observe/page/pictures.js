// The pictures of the points, fetched from the job and kept for a while.

import { ask } from './stream.js';

const KEPT = 200;

/** Addresses of pictures that were fetched, the latest last. */
const kept = new Map();

export const has = (path) => kept.has(path);

/** The address of the picture of the object at `path`. */
export const of = async (path) => {
  const known = kept.get(path);
  if (known) return known;
  const response = await ask(`thumbnail?path=${encodeURIComponent(path)}`);
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
