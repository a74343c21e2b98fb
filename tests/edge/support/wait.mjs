// Waiting, but never for ever.

import { readFileSync } from "node:fs";

/** Asks again and again until the answer is true; at most `ms`. */
export async function until(ask, what, ms = 10_000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** What the promise settles with; rejects after `ms`. */
export function within(promise, what, ms = 15_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Whether the file holds the text; one that another process takes away meanwhile does not. */
export function fileHolds(file, text) {
  try {
    return readFileSync(file).includes(text);
  } catch (error) {
    if (error.code === "ENOENT") return false;
    throw error;
  }
}
