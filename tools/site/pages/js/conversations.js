// The conversations of a chat: listed, opened, renamed and deleted, over OpenAI's conversations endpoints. What one tab
// changes the others show at once.

import { ask } from "./answers.js";
import { call, whole } from "./api.js";
import { view } from "./problems.js";
import { make, say } from "./texts.js";

/** Longest name that a first question gives, in characters. */
const TITLE_CHARS = 60;

const PATH = "/v1/conversations";

const titleOf = ({ metadata }) => (typeof metadata?.title === "string" && metadata.title.trim()) || say("untitled");
const stampOf = ({ last_used_at: used, item_count: count }) => `${used}/${count}`;

/** The list beside a chat. */
export class Conversations {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {HTMLElement} section Where the list stands.
   */
  constructor(chat, section) {
    this.chat = chat;
    /** @type {string | undefined} Id of the one that is open; a new one has none yet. */
    this.current = undefined;
    /** Counts what the reader turned to: what was being read for something earlier comes too late. */
    this.turned = 0;
    this.all = [];
    this.list = section.querySelector("ul");
    this.problems = section.querySelector(".problems");
    this.rename = document.querySelector("dialog.rename");
    this.remove = document.querySelector("dialog.confirm");
    section.querySelector("button.new").addEventListener("click", () => chat.forget());
    this.list.addEventListener("click", (event) => this.clicked(event.target.closest("button")));
    // What only some use is not part of what the first page loads.
    import("./own-documents.js").then(({ OwnDocuments }) => {
      this.documents = new OwnDocuments(chat.form.querySelector(".own"), (text) => chat.announce(text));
    });
    // Without channels a tab learns of changes when it is looked at.
    this.channel = typeof BroadcastChannel === "function" ? new BroadcastChannel("gatehouse.conversations") : undefined;
    this.channel?.addEventListener("message", () => this.refresh());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh());
    window.addEventListener("focus", () => this.refresh());
  }

  /** Runs a step; what goes wrong is told above the list. */
  async doing(step) {
    this.problems.replaceChildren();
    try {
      await step();
    } catch (error) {
      const problem = error?.problem;
      if (!problem) throw error;
      this.problems.append(view(problem, () => this.doing(step), (text) => this.chat.announce(text)));
    }
  }

  /** Reads the list anew, and the open conversation where somebody else has changed it. */
  refresh() {
    return this.doing(async () => {
      await this.read();
      if (this.current === undefined || this.chat.running) return;
      const open = this.all.find(({ id }) => id === this.current);
      if (!open) this.chat.clear(say("conversationGone"));
      else if (stampOf(open) !== this.seen) await this.open(open.id);
    });
  }

  async read() {
    this.all = await whole(PATH);
    this.draw();
  }

  draw() {
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset : undefined;
    const { id: focusedId, deed: focusedDeed } = focused ?? {};
    const rows = this.all.map((conversation) => {
      const title = titleOf(conversation);
      const button = (deed, text, label) => {
        const made = make("button", { type: "button", class: deed === "open" ? "open" : "quiet", text, ...(label ? { "aria-label": label } : {}) });
        Object.assign(made.dataset, { deed, id: conversation.id });
        return made;
      };
      const open = button("open", title);
      if (conversation.id === this.current) open.setAttribute("aria-current", "true");
      const deeds = [button("rename", say("rename"), `${say("rename")}: ${title}`), button("remove", say("remove"), `${say("remove")}: ${title}`)];
      return make("li", {}, open, make("span", { class: "deeds" }, ...deeds));
    });
    this.list.replaceChildren(...(rows.length > 0 ? rows : [make("li", { class: "none", text: say("noConversations") })]));
    if (focusedId) this.list.querySelector(`button[data-id="${CSS.escape(focusedId)}"][data-deed="${focusedDeed}"]`)?.focus();
  }

  clicked(button) {
    const conversation = this.all.find(({ id }) => id === button?.dataset.id);
    if (!conversation) return;
    if (button.dataset.deed === "open") this.choose(conversation.id);
    else if (button.dataset.deed === "rename") this.askName(conversation);
    else this.askRemoval(conversation);
  }

  choose(id) {
    this.chat.halt();
    /** What is asked meanwhile belongs to the one that is being opened. */
    this.opening = this.doing(async () => {
      await this.open(id);
      this.chat.announce(say("opened", titleOf(this.all.find((one) => one.id === id) ?? {})));
      this.chat.question.focus();
    });
  }

  /** Reads a conversation and shows it. */
  async open(id) {
    this.turned += 1;
    const mine = this.turned;
    const items = await whole(`${PATH}/${id}/items?order=asc`);
    // What was asked or begun while they came stays on the page.
    if (this.chat.running || mine !== this.turned) return;
    const found = this.all.find((one) => one.id === id);
    this.current = id;
    this.seen = found && stampOf(found);
    this.chat.show(turnsOf(items));
    this.draw();
  }

  /** Nothing is open any more: the next question begins a new one. */
  leave() {
    this.turned += 1;
    this.current = undefined;
    this.draw();
  }

  /** Asks in the open conversation, or in a new one that has the question's name. */
  async *ask(alias, question, signal, tell) {
    this.turned += 1;
    if (this.current === undefined) {
      const title = question.length > TITLE_CHARS ? `${question.slice(0, TITLE_CHARS - 1)}…` : question;
      const made = await call(PATH, "POST", { metadata: { title } });
      this.current = made.id;
      this.chat.memory.write();
    }
    const store = await this.documents?.store(signal);
    yield* ask(alias, question, signal, tell, this.current, store);
  }

  /** An answer is over: the list has a new order, here and in the other tabs. */
  async over() {
    await this.doing(async () => {
      await this.read();
      const open = this.all.find(({ id }) => id === this.current);
      this.seen = open && stampOf(open);
    });
    this.tell();
  }

  tell() {
    this.channel?.postMessage("changed");
  }

  askName(conversation) {
    const input = this.rename.querySelector("input");
    input.value = titleOf(conversation);
    this.asked(this.rename, async () => {
      const title = input.value.trim();
      if (title === "") return;
      await call(`${PATH}/${conversation.id}`, "POST", { metadata: { ...conversation.metadata, title } });
      await this.changed(conversation.id);
    });
    input.select();
  }

  askRemoval(conversation) {
    this.remove.querySelector(".subject").textContent = titleOf(conversation);
    this.asked(this.remove, async () => {
      if (conversation.id === this.current) this.chat.halt();
      await call(`${PATH}/${conversation.id}`, "DELETE");
      if (conversation.id === this.current) this.chat.clear(say("removed", titleOf(conversation)));
      else this.chat.announce(say("removed", titleOf(conversation)));
      await this.read();
      this.tell();
      this.chat.question.focus();
    });
  }

  async changed(id) {
    await this.read();
    const open = this.all.find((one) => one.id === this.current);
    if (id === this.current) this.seen = open && stampOf(open);
    this.tell();
  }

  /** Shows a dialog and runs the step if it is agreed to. */
  asked(dialog, step) {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && this.doing(step), { once: true });
    dialog.showModal();
  }
}

/** The turns of a conversation's items: a question, and the text that was answered to it. */
function turnsOf(items) {
  const turns = [];
  for (const { type, role, content } of items) {
    if (type !== "message" || !Array.isArray(content)) continue;
    const text = content.map((part) => part.text ?? "").join("");
    if (role === "user") turns.push({ question: text, answer: "", who: say("answer"), state: "complete", isTruncated: false });
    else if (role === "assistant" && turns.length > 0) {
      const turn = turns.at(-1);
      turn.answer += text;
      turn.sources = cited(content);
    }
  }
  return turns;
}

/** The documents that an answer cites, each once. */
function cited(content) {
  const citations = content.flatMap(({ annotations }) => annotations ?? []).filter(({ type }) => type === "file_citation");
  const files = new Map(citations.map(({ file_id, filename }) => [file_id, { file_id, filename }]));
  return [...files.values()];
}
