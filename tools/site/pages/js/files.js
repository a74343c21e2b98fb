// What the pages of documents have in common: asking the server, sizes and dates, copying.

import { Failure, refused, unreachable } from "./problems.js";
import { language, make, say } from "./texts.js";

export const pathOf = (id) => `/v1/files/${encodeURIComponent(id)}`;

/** Asks the server. What it refuses is thrown as a `Failure`. */
export async function call(path, options) {
  const response = await reach(path, options);
  return response.json();
}

/** As `call`, for an answer that is no JSON. */
export async function reach(path, options) {
  const response = await fetch(path, { cache: "no-store", ...options }).catch(() => {
    throw unreachable();
  });
  if (!response.ok) throw await refused(response);
  return response;
}

/** Sends fields as JSON. */
export const post = (path, fields) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields) });

/** Every entry of a list that comes in pages. */
export async function whole(path) {
  const all = [];
  for (let after = ""; ; ) {
    const page = await call(`${path}?limit=100${after}`);
    all.push(...page.data);
    if (!page.has_more || !page.last_id) return all;
    after = `&after=${encodeURIComponent(page.last_id)}`;
  }
}

/** Throws that error; of a document that must stay, with the page's own words for until when. */
export async function inWords(error, id) {
  if (error.problem?.code !== "document_kept") throw error;
  const { gatehouse: ours } = await call(pathOf(id)).catch(() => ({}));
  const until = ours?.keep_until && say("keptUntil", dateOf(ours.keep_until));
  const fix = ours?.held ? say("keptByOperator") : (until ?? error.problem.detail);
  throw new Failure({ ...error.problem, fix, detail: undefined, isFinal: true });
}

const sizes = ["byte", "kilobyte", "megabyte", "gigabyte"];
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const zone = new Intl.DateTimeFormat(language, { timeZoneName: "short" });

/** Bytes in decimal units: 1 kB = 1,000 bytes. */
export function size(bytes) {
  const step = bytes < 1000 ? 0 : Math.min(sizes.length - 1, Math.floor(Math.log10(bytes) / 3));
  const detail = step === 0 ? { unitDisplay: "long" } : { maximumFractionDigits: 1 };
  const format = new Intl.NumberFormat(language, { style: "unit", unit: sizes[step], ...detail });
  return format.format(bytes / 1000 ** step);
}

/** A time in seconds as people read it, with its zone. */
export function dateOf(seconds) {
  const date = new Date(seconds * 1000);
  const name = zone.formatToParts(date).find((part) => part.type === "timeZoneName")?.value ?? "UTC";
  return `${dates.format(date)} ${name}`;
}

export const when = (seconds) => make("time", { datetime: new Date(seconds * 1000).toISOString(), text: dateOf(seconds) });

/** A button that puts a text on the clipboard and says so. */
export function copyButton(text, label, announce) {
  const button = make("button", { type: "button", class: "quiet", text: say("copy"), "aria-label": label });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      announce(say("copied"));
    } catch {
      announce(say("notCopied"));
    }
  });
  return button;
}
