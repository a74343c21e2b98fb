// What the sections of a document's details are made of: a heading, what went wrong, fields, and questions before what
// cannot be undone.

import { say } from "./details-texts.js";
import { Failure, unreachable, view } from "./problems.js";
import { make } from "./texts.js";

/**
 * A document while its details are open.
 *
 * @typedef {object} Opened
 * @property {object} file   As the server tells it now.
 * @property {string} [me]   The visitor's id.
 * @property {string} path   Where its endpoints are.
 * @property {(text: string) => void} announce
 * @property {() => Promise<void>} refresh  Reads it anew, after a change.
 */

const RIGHTS = ["view", "comment", "edit", "own"];

/** May whoever looks at it do that? @param {Opened} opened */
export const may = ({ file }, right) => RIGHTS.indexOf(file.gatehouse.right) >= RIGHTS.indexOf(right);

/** Somebody, as a page shows them; nothing for who is not known. */
export const who = (id, me) => (id ? (id === me ? say("you") : make("code", { text: id })) : undefined);

let count = 0;

/** An id that no other element has. */
export const fresh = (name) => `${name}-${(count += 1)}`;

/** A section of the dialog. */
export class Panel {
  /**
   * @param {string} title
   * @param {(text: string) => void} announce
   */
  constructor(title, announce) {
    const id = fresh("panel");
    this.announce = announce;
    this.problems = make("div", { class: "problems" });
    this.body = make("div");
    this.element = make("section", { "aria-labelledby": id }, make("h3", { id, text: title }), this.problems, this.body);
  }

  /** Runs a step; what goes wrong is told at the top of the section. Gives whether it went well. */
  async doing(step) {
    this.problems.replaceChildren();
    try {
      await step();
      return true;
    } catch (error) {
      const { problem } = error instanceof Failure ? error : unreachable();
      const retry = problem.isFinal ? undefined : () => this.doing(step);
      this.problems.replaceChildren(view(problem, retry, this.announce));
      this.problems.scrollIntoView({ block: "nearest" });
      return false;
    }
  }
}

/** A control under its label, with a hint that belongs to it. */
export function field(label, control, hint) {
  control.id = fresh("field");
  const parts = [make("label", { for: control.id, text: label })];
  if (hint) {
    const id = fresh("hint");
    control.setAttribute("aria-describedby", id);
    parts.push(make("p", { class: "hint", id, text: hint }));
  }
  return make("div", { class: "field" }, ...parts, control);
}

/** Asks before something that cannot be undone. Resolves with whether it is wanted. */
export function confirmed(title, subject, word) {
  const id = fresh("question");
  const yes = make("button", { value: "yes", type: "submit", class: "danger", text: word });
  const no = make("button", { value: "no", type: "submit", class: "quiet", text: say("keep") });
  const row = make("div", { class: "row" }, no, yes);
  const form = make("form", { method: "dialog" }, make("h2", { id, text: title }), make("p", { class: "subject", text: subject }), row);
  const dialog = make("dialog", { class: "question", "aria-labelledby": id }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

/** Seconds since 1970 as a field of the visitor's own time zone has them, and back. */
export function toField(seconds) {
  const date = new Date(seconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export const fromField = (text) => Math.floor(new Date(text).getTime() / 1000);
