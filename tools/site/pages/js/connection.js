// Finding the way back to an answer after its connection was lost: when to try again, and when to give up.

/** Longest first wait, in milliseconds; doubled for each further attempt up to the ceiling. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/** Attempts in a row that bring nothing new: 0.5 + 1 + 2 + 4 + 8 + 4 × 15 s, so one and a quarter minutes at most. */
const ATTEMPTS = 9;

/** Waits longer than this, asked for by the server, are the reader's to decide. */
const LONGEST_ASKED_MS = 60_000;

/** Silence after which a connection counts as lost; longer than a server waits for its provider by default (30 s). */
export const SILENCE_MS = 45_000;

/**
 * The wait before an attempt: exponential, with jitter over its upper half, so that many pages do not come back at once.
 *
 * @param {number} attempt From 0.
 * @param {number} random  From 0 up to 1.
 */
export function backoff(attempt, random) {
  const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  return (ceiling / 2) * (1 + random);
}

/**
 * What the reader is told: the browser is offline, the next attempt comes in `wait` milliseconds, or text arrives again; a
 * check of the visitor is running, with an element to show, or it is over.
 *
 * @typedef {{state: "offline"} | {state: "lost", wait: number} | {state: "back"} | {state: "checking", check: HTMLElement} | {state: "working"}} Word
 */

/** Counts the attempts to attach to one answer and waits between them. */
export class Connection {
  /**
   * @param {AbortSignal} signal            Ends every wait.
   * @param {(word: Word) => void} tell
   */
  constructor(signal, tell) {
    this.signal = signal;
    this.tell = tell;
    this.attempts = 0;
    this.isLost = false;
  }

  /** Something new arrived. */
  progress() {
    this.attempts = 0;
    if (this.isLost) this.tell({ state: "back" });
    this.isLost = false;
  }

  /**
   * Waits until the next attempt makes sense. While the browser is offline attempts are not counted: it will be back. They
   * are made all the same, rarely, since some browsers are wrong about it.
   *
   * @param {number} [atLeast] Milliseconds that the server asked for.
   * @returns {Promise<boolean>} Whether there is a next attempt.
   */
  async wait(atLeast = 0) {
    this.signal.throwIfAborted();
    this.isLost = true;
    if (navigator.onLine !== false) {
      if (this.attempts >= ATTEMPTS || atLeast > LONGEST_ASKED_MS) return false;
      const wait = Math.max(atLeast, backoff(this.attempts, Math.random()));
      this.attempts += 1;
      this.tell({ state: "lost", wait });
      await first(this.signal, ["online", "offline"], wait);
    }
    if (navigator.onLine === false) {
      this.tell({ state: "offline" });
      await first(this.signal, ["online"], LONGEST_WAIT_MS);
    }
    return true;
  }
}

/** Resolves at the first of some window events, or after a time; rejects when the signal aborts. */
function first(signal, names, milliseconds) {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const settle = (how) => () => {
      over.abort();
      clearTimeout(timer);
      how(signal.reason);
    };
    const timer = setTimeout(settle(resolve), milliseconds);
    if (signal.aborted) return settle(reject)();
    signal.addEventListener("abort", settle(reject), { signal: over.signal });
    for (const name of names) window.addEventListener(name, settle(resolve), { signal: over.signal });
  });
}

/**
 * A signal that also aborts when the browser goes offline or nothing arrives for too long. A lost network does not always
 * end a response: a read can wait for ever.
 *
 * @param {AbortSignal} signal
 * @returns {{signal: AbortSignal, heard(): void, end(): void}} `heard` begins the silence anew.
 */
export function guard(signal) {
  const own = new AbortController();
  const lost = () => own.abort();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(lost, SILENCE_MS);
  };
  const end = () => {
    clearTimeout(timer);
    window.removeEventListener("offline", lost);
    signal.removeEventListener("abort", lost);
  };
  window.addEventListener("offline", lost);
  signal.addEventListener("abort", lost);
  if (signal.aborted) lost();
  heard();
  return { signal: own.signal, heard, end };
}
