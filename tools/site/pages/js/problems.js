// Errors as the page shows them: what happened, what to do, how long to wait, and the request id.

import { duration, language, make, say } from "./texts.js";

/**
 * @typedef {object} Problem
 * @property {string} [code]       A code of the catalogue.
 * @property {string} title
 * @property {string} fix
 * @property {string} [detail]
 * @property {string} [requestId]
 * @property {number} [wait]       Milliseconds until a retry can succeed.
 * @property {string} [docs]       Path of the error's page.
 * @property {number} [status]     HTTP status of the refusal.
 * @property {boolean} [isFinal]   A retry would meet the same.
 * @property {boolean} [canGoOn]   The rest of the answer may still be there: a retry reads on, it does not ask anew.
 */

/** A problem on its way to the reader. */
export class Failure extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.title);
    this.problem = problem;
  }
}

let catalogue;

/** The catalogue in the page's language; empty when it cannot be had, since an error about an error helps nobody. */
function texts() {
  catalogue ??= fetch(`/gatehouse/errors.${language}.json`)
    .then((response) => (response.ok ? response.json() : {}))
    .catch(() => ({}));
  return catalogue;
}

/**
 * The failure that an error object tells of, in any of the three dialects.
 *
 * @param {unknown} body     Parsed JSON, or nothing.
 * @param {Headers} [headers]
 */
export async function failure(body, headers) {
  const error = typeof body?.error === "object" && body.error !== null ? body.error : (body ?? {});
  const own = error.gatehouse ?? body?.gatehouse ?? {};
  const code = text(own.code) ?? text(body?.code) ?? text(error.code);
  const known = (await texts())[code] ?? {};
  return new Failure({
    code,
    title: known.title ?? text(own.title) ?? text(error.message) ?? text(error.title) ?? say("strangeTitle"),
    fix: known.fix ?? text(own.fix) ?? say("strangeFix"),
    detail: text(own.detail),
    requestId: text(own.request_id) ?? text(body?.request_id) ?? headers?.get("x-request-id") ?? undefined,
    wait: wait(own, headers),
    docs: known.title === undefined ? undefined : `${language === "zh" ? "/zh" : ""}/docs/errors/${code}`,
  });
}

/** The failure that a response tells of. */
export async function refused(response) {
  const body = await response.json().catch(() => undefined);
  const { problem } = await failure(body, response.headers);
  return new Failure({ ...problem, status: response.status });
}

/** The site did not answer at all. */
export function unreachable() {
  return new Failure({ title: say("offlineTitle"), fix: say("offlineFix") });
}

/** The answer is not what was asked for. */
export function strange(requestId) {
  return new Failure({ title: say("strangeTitle"), fix: say("strangeFix"), requestId });
}

/** The rest of an answer is not there any more. */
export function gone(requestId) {
  return new Failure({ title: say("goneTitle"), fix: say("goneFix"), requestId });
}

/** No attempt to read on succeeded: because of the problem that the last one met, or for want of a connection. */
export function lost(last, requestId) {
  const problem = last?.problem ?? { title: say("lostTitle"), fix: say("lostFix"), requestId };
  return new Failure({ ...problem, canGoOn: true });
}

/** The stream ended without its end mark. */
export function incomplete(requestId) {
  return new Failure({ title: say("incompleteTitle"), fix: say("incompleteFix"), requestId });
}

function text(value) {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function wait(own, headers) {
  const candidates = [own.retry_after_ms, headers?.get("retry-after-ms"), Number(headers?.get("retry-after") ?? Number.NaN) * 1000];
  return candidates.map((value) => (value === null ? Number.NaN : Number(value))).find((value) => value > 0);
}

/**
 * A problem as an element: the alert itself, then what need not be read aloud, then a button that waits until a retry can succeed.
 *
 * @param {Problem} problem
 * @param {(() => void) | undefined} retry
 * @param {(message: string) => void} announce
 */
export function view(problem, retry, announce) {
  const box = make("div", { class: "problem" });
  const alert = make("div", { role: "alert" }, make("p", { class: "problem-title", text: problem.title }), make("p", { text: problem.fix }));
  if (problem.detail) alert.append(make("p", { class: "problem-detail", text: problem.detail }));
  box.append(alert, facts(problem));
  if (retry) box.append(retryButton(problem.wait, retry, announce));
  return box;
}

function facts({ code, requestId, docs }) {
  const line = make("p", { class: "problem-facts" });
  if (code) line.append(make("span", { text: `${say("errorCode")} ` }, make("code", { text: code })));
  if (requestId) line.append(make("span", { text: `${say("requestId")} ` }, make("code", { text: requestId })));
  if (docs) line.append(make("a", { href: docs, text: say("explain") }));
  return line;
}

function retryButton(wait, retry, announce) {
  const button = make("button", { type: "button", class: "quiet", text: say("retry") });
  const ready = performance.now() + (wait ?? 0);
  // aria-disabled and not disabled: the button keeps its place in the order of focus while it counts.
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") retry();
  });
  function tick() {
    const left = ready - performance.now();
    const waiting = left > 0;
    button.textContent = waiting ? say("retryIn", duration(left)) : say("retry");
    button.toggleAttribute("data-waiting", waiting);
    if (waiting) {
      button.setAttribute("aria-disabled", "true");
      setTimeout(() => (button.isConnected || performance.now() < ready) && tick(), Math.min(left, 1000));
    } else if (button.hasAttribute("aria-disabled")) {
      button.removeAttribute("aria-disabled");
      if (button.isConnected) announce(say("canRetry"));
    }
  }
  tick();
  return button;
}
