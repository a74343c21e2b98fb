// Asking the server as this visitor, with a session where the site wants one.

import { refused, unreachable } from "./problems.js";
import { session } from "./session.js";

/**
 * Asks the server, and gives what it tells.
 *
 * @param {string} path
 * @param {string} [method]
 * @param {object} [body]   Sent as JSON.
 * @param {AbortSignal} [signal]
 * @throws {import("./problems.js").Failure} An abort is passed on as it is.
 */
export async function call(path, method = "GET", body, signal) {
  const options = { method, cache: "no-store", signal };
  if (body) Object.assign(options, { headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const response = await session.fetch(path, options, () => {}).catch((error) => {
    throw signal?.aborted ? error : unreachable();
  });
  if (!response.ok) throw await refused(response);
  return response.json();
}

/** Rows fetched at once: what the server gives at most. */
const PAGE = 100;

/** Every entry of a list that comes in pages. */
export async function whole(path, signal) {
  const all = [];
  for (let more = true; more; ) {
    const after = all.length > 0 ? `&after=${encodeURIComponent(all.at(-1).id)}` : "";
    const page = await call(`${path}${path.includes("?") ? "&" : "?"}limit=${PAGE}${after}`, "GET", undefined, signal);
    all.push(...page.data);
    more = page.has_more && page.data.length > 0;
  }
  return all;
}
