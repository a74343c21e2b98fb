// A visitor's session: asked for when the API wants one, renewed before it ends. On the site's own origin it is a cookie
// that no script sees; a page of another origin keeps a token, in memory and nowhere else.

import { make, say } from "./texts.js";

/** Where Turnstile's script comes from; nothing is loaded from there unless the operator chose Turnstile. */
const TURNSTILE = "https://challenges.cloudflare.com/turnstile/v0/api.js?render=explicit";

/** `action` that the server expects of Turnstile. */
const ACTION = "session";

/** Refusals that a new session can mend; the second one for a token that has ended. */
const NO_SESSION = "session_required";
const ENDED = "invalid_credentials";

/**
 * Shows the check while it runs: a bar of progress, or Turnstile. It is called once with an element, and once more with
 * nothing when the check is over.
 *
 * @typedef {(check?: HTMLElement) => void} Show
 */

export class Session {
  #base;
  #siteKey;
  /** Only for other origins: the token, when it was given and how long it lasts, in milliseconds. */
  #token;
  #since = 0;
  #life = 0;
  #beginning;

  /**
   * @param {object} [options]
   * @param {string} [options.base]    Origin of the site when the page is of another one: `https://house.example`.
   * @param {string} [options.siteKey] `pk_…`, where the page's origin has one.
   */
  constructor({ base = "", siteKey } = {}) {
    this.#base = base.replace(/\/$/, "");
    this.#siteKey = siteKey;
  }

  /**
   * Like `fetch`, with a session where the API wants one: the request is then sent once more. When no session is to be had
   * the answer is the refusal that says why.
   *
   * @param {string} path            `/v1/…`; a body must be one that can be sent twice, so no stream.
   * @param {RequestInit} [options]
   * @param {Show} [show]
   * @returns {Promise<Response>}
   */
  async fetch(path, options = {}, show = beside) {
    await this.#renew();
    const response = await this.#send(path, options);
    if (response.status !== 401 || !(await this.#lacks(response))) return response;
    return (await this.#begin(options.signal, show)) ?? this.#send(path, options);
  }

  /** Ends the session, everywhere and at once. */
  async end() {
    const response = await this.#send("/api/session", { method: "DELETE" });
    this.#token = undefined;
    return response;
  }

  #send(path, options) {
    const headers = new Headers(options.headers);
    if (this.#token) headers.set("authorization", `Bearer ${this.#token}`);
    return fetch(this.#base + path, { ...options, headers });
  }

  /** Is it for want of a session that the request was refused? A token that has ended is forgotten. */
  async #lacks(response) {
    const body = await response.clone().json().catch(() => undefined);
    const code = body?.error?.gatehouse?.code ?? body?.code;
    if (code === ENDED && this.#token) this.#token = undefined;
    else if (code !== NO_SESSION) return false;
    return true;
  }

  /** In the last third of its life a token is followed by the next one, without another check. */
  async #renew() {
    const age = performance.now() - this.#since;
    if (!this.#token || age < (this.#life * 2) / 3 || age >= this.#life) return;
    // Where this fails, the present token is good for a while.
    await this.#ask({}).catch(() => {});
  }

  /** One check at a time, whoever asks. Nothing when there is a session now, else the refusal. */
  async #begin(signal, show) {
    const mine = !this.#beginning;
    this.#beginning ??= this.#check(signal, show).finally(() => (this.#beginning = undefined));
    try {
      return (await this.#beginning)?.clone();
    } catch (error) {
      // Whoever waited for a check that somebody else stopped begins one of its own.
      if (mine || signal?.aborted || error?.name !== "AbortError") throw error;
      return this.#begin(signal, show);
    }
  }

  async #check(signal, show) {
    const query = this.#siteKey ? `?site_key=${encodeURIComponent(this.#siteKey)}` : "";
    const response = await this.#send(`/api/session${query}`, { signal, cache: "no-store" });
    if (!response.ok) return response;
    const terms = await response.json();
    return this.#ask(await this.#proof(terms, signal, show), signal);
  }

  async #proof(terms, signal, show) {
    if (terms.proof === "none") return {};
    const box = make("div", { class: "check" });
    show(box);
    try {
      if (terms.proof === "turnstile") return { turnstile: await turnstile(terms.turnstile_site_key, box, signal) };
      const nonce = await work(this.#base, terms, box, signal);
      return { challenge: terms.challenge, nonce };
    } finally {
      box.remove();
      show();
    }
  }

  async #ask(proof, signal) {
    const body = JSON.stringify({ ...proof, site_key: this.#siteKey });
    const response = await this.#send("/api/session", { method: "POST", headers: { "content-type": "application/json" }, body, signal });
    if (!response.ok) return response;
    const told = await response.json();
    this.#token = told.token;
    this.#since = performance.now();
    this.#life = told.expires_in * 1000;
    return undefined;
  }
}

/** The site's own. */
export const session = new Session();

/** Where nobody says where else: at the end of the page. */
function beside(check) {
  if (check) document.body.append(check);
}

// === the proofs ===

/** To the page it is like a connection that failed: a retry may succeed. */
const broken = () => new TypeError("the check could not be run");

/** Scripts by address need a word of trust under a strict policy; only the two of this file get it. */
let policy;
function trusted(url) {
  if (!globalThis.trustedTypes) return url;
  policy ??= trustedTypes.createPolicy("gatehouse-session", { createScriptURL: (text) => text });
  return policy.createScriptURL(url);
}

/** Solves the puzzle in a worker, so that the page stays quick. */
async function work(base, { challenge, bits }, box, signal) {
  const bar = make("progress", { max: "1", value: "0", "aria-label": say("checking") });
  box.append(bar);
  // A worker must be of the page's own origin: elsewhere it gets the script's text.
  const script = `${base}/gatehouse/proof.js`;
  const copy = base && URL.createObjectURL(await fetch(script, { signal }).then((response) => response.blob()));
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const worker = new Worker(trusted(copy || script), { type: "module" });
    const over = new AbortController();
    const end = (settle, value) => {
      over.abort();
      worker.terminate();
      settle(value);
    };
    signal?.addEventListener("abort", () => end(reject, signal.reason), { signal: over.signal });
    worker.onerror = () => end(reject, broken());
    worker.onmessage = ({ data }) => {
      if (data.nonce !== undefined) end(resolve, data.nonce);
      // How likely it was to be done by now.
      else bar.value = 1 - Math.exp(-data.tries / 2 ** bits);
    };
    worker.postMessage({ challenge, bits });
  }).finally(() => copy && URL.revokeObjectURL(copy));
}

let library;

async function turnstile(sitekey, box, signal) {
  library ??= load(TURNSTILE).catch((error) => {
    library = undefined;
    throw error;
  });
  await library;
  let widget;
  const answered = new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    const failed = () => reject(broken());
    widget = window.turnstile.render(box, { sitekey, action: ACTION, callback: resolve, "error-callback": failed, "unsupported-callback": failed });
  });
  return answered.finally(() => window.turnstile.remove(widget));
}

function load(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(broken()));
    script.src = trusted(url);
    document.head.append(script);
  });
}
