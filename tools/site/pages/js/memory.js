// What a tab remembers of a conversation, so that a reload goes on with it. Kept until the tab is closed.

/** Version of the form below; a record of another one is ignored. */
const VERSION = 1;

/** Longest pause between two writes while an answer arrives, in milliseconds. */
const WRITE_EVERY_MS = 300;

/**
 * One question and what came of it.
 *
 * @typedef {object} Turn
 * @property {string} question
 * @property {string} answer        What has arrived.
 * @property {string} who           Who answered, as the page shows it.
 * @property {"running" | "complete" | "stopped" | "incomplete" | "failed"} state  `failed`: nothing arrived.
 * @property {boolean} isTruncated  The answer reached its length limit.
 * @property {Source[]} [sources]   The passages that it may cite.
 * @property {Place} [place]        Where a running answer stands; none for one that cannot be attached to again.
 *
 * @typedef {object} Place
 * @property {string} dialect
 * @property {string} id
 * @property {number} after  Number of the last event that was read; -1 before the first.
 *
 * @typedef {object} Source
 * @property {number} [number]  How the answer names it.
 * @property {string} file_id
 * @property {string} filename
 * @property {string} [anchor]  Where in the document.
 */

const STATES = ["running", "complete", "stopped", "incomplete", "failed"];

/** The memory of one conversation. Where the browser keeps nothing, nothing is remembered and all else works. */
export class Memory {
  /** @param {string} name Tells the conversations of a site apart. */
  constructor(name) {
    this.key = `gatehouse.chat:${name}`;
    this.read = () => ({ turns: [] });
    // A page that goes away is told in time; one that crashes loses what came since the last write, text and number alike.
    window.addEventListener("pagehide", () => this.write());
  }

  /** @returns {{turns: Turn[], hint: string, conversation?: string}} */
  load() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.key));
      if (kept?.version !== VERSION || !Array.isArray(kept.turns)) return { turns: [], hint: "" };
      const conversation = /^conv_[0-9a-f]{32}$/.test(kept.conversation) ? kept.conversation : undefined;
      return { turns: kept.turns.filter(isTurn), hint: typeof kept.hint === "string" ? kept.hint : "", conversation };
    } catch {
      return { turns: [], hint: "" };
    }
  }

  /** Names what is to be remembered. @param {() => {turns: Turn[], hint: string, conversation?: string}} read */
  keep(read) {
    this.read = read;
  }

  /** Writes now. */
  write() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const record = this.read();
    try {
      if (record.turns.length === 0) sessionStorage.removeItem(this.key);
      else sessionStorage.setItem(this.key, JSON.stringify({ version: VERSION, ...record }));
    } catch {
      // Full or forbidden. What stands there is older and still whole.
    }
  }

  /** Writes soon. */
  touch() {
    this.timer ??= setTimeout(() => this.write(), WRITE_EVERY_MS);
  }
}

function isTurn(turn) {
  const texts = [turn?.question, turn?.answer, turn?.who].every((text) => typeof text === "string");
  const sources = turn?.sources === undefined || (Array.isArray(turn.sources) && turn.sources.every(isSource));
  return texts && sources && STATES.includes(turn.state) && (turn.place === undefined || isPlace(turn.place));
}

function isPlace(place) {
  return typeof place?.dialect === "string" && /^[\w-]{1,200}$/.test(place.id) && Number.isInteger(place.after);
}

const isSource = (source) => typeof source?.file_id === "string" && typeof source.filename === "string";
