// The chat: makes every `<form class="gatehouse-chat">` a conversation. Without this script the form still works.

import { aliases, ask } from "./answers.js";
import { drawing } from "./markdown.js";
import { Failure, unreachable, view } from "./problems.js";
import { make, say } from "./texts.js";

class Chat {
  /** @param {HTMLFormElement} form With a textarea `question` and a submit button; a select `model` is optional. */
  constructor(form) {
    this.form = form;
    this.question = form.elements.namedItem("question");
    this.select = form.elements.namedItem("model");
    this.send = form.querySelector("button[type=submit], button:not([type])");
    /** @type {{question: string, answer: string}[]} Turns that were answered, wholly or in part. */
    this.turns = [];
    this.aliases = [];
    this.running = undefined;
    this.build();
    this.listen();
    this.load();
  }

  build() {
    this.log = make("div", { class: "log", role: "log", "aria-live": "off", "aria-label": say("conversation"), tabindex: "0" });
    this.hint = make("p", { class: "hint", hidden: true });
    this.status = make("p", { class: "status", role: "status" });
    this.restart = make("button", { type: "button", class: "restart quiet", text: say("restart") });
    this.restart.dataset.idle = "";
    this.stop = make("button", { type: "button", class: "stop quiet", text: say("stop") });
    this.stop.dataset.idle = "";
    this.stop.disabled = true;
    this.send.before(this.stop);
    this.form.prepend(this.log, make("div", { class: "line" }, this.status, this.restart));
    this.form.classList.add("ready");
    this.suggest();
    this.log.append(this.hint);
  }

  /** Questions the page's author offers, one per line of `data-questions`. */
  suggest() {
    const questions = (this.form.dataset.questions ?? "").split("\n").map((line) => line.trim()).filter(Boolean);
    if (questions.length === 0) return;
    const items = questions.map((text) => {
      const button = make("button", { type: "button", class: "suggestion", text });
      button.addEventListener("click", () => {
        this.question.focus();
        this.answer(text);
      });
      return make("li", {}, button);
    });
    this.suggestions = make("div", { class: "suggestions" }, make("p", { text: say("tryOne") }), make("ul", {}, ...items));
    this.log.append(this.suggestions);
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.question.addEventListener("keydown", (event) => {
      // While an input method is composing, Enter chooses a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.running) this.halt();
    });
    this.stop.addEventListener("click", () => {
      this.halt();
      this.question.focus();
    });
    this.restart.addEventListener("click", () => this.forget());
    this.select?.addEventListener("change", () => this.showHint());
  }

  async load() {
    try {
      this.aliases = await aliases();
    } catch {
      return; // The first question will tell what is wrong.
    }
    const first = this.aliases.find((alias) => alias.gatehouse?.default) ?? this.aliases[0];
    if (this.select && first) {
      const options = this.aliases.map((alias) => new Option(alias.gatehouse?.title ?? alias.id, alias.id));
      this.select.replaceChildren(...options);
      this.select.value = first.id;
    }
    this.showHint();
  }

  alias() {
    const wanted = this.select?.value;
    return this.aliases.find((alias) => alias.id === wanted) ?? this.aliases.find((alias) => alias.gatehouse?.default) ?? this.aliases[0];
  }

  showHint() {
    const own = this.alias()?.gatehouse;
    this.hint.hidden = !own?.builtin;
    this.hint.textContent = own?.builtin ? [say("quotes"), own.hint].filter(Boolean).join(" ") : "";
  }

  announce(text) {
    this.status.textContent = text;
  }

  submit() {
    const text = this.question.value.trim();
    if (text === "") return;
    if (this.running) {
      this.announce(say("stillWorking"));
      return;
    }
    this.question.value = "";
    this.answer(text);
  }

  halt() {
    this.running?.abort();
  }

  /** Begins a new conversation. A running answer is stopped first, and its turn goes with the others. */
  forget() {
    this.halt();
    this.turns = [];
    for (const turn of this.log.querySelectorAll(".turn")) turn.remove();
    this.restart.dataset.idle = "";
    this.announce(say("forgotten"));
    this.question.focus();
  }

  /** Asks, and draws question and answer at the end of the log. */
  async answer(question) {
    if (this.running) return;
    this.suggestions?.remove();
    delete this.restart.dataset.idle;
    const asked = make("article", { class: "turn user" }, make("p", { class: "who", text: say("you") }), make("p", { class: "said", text: question }));
    this.log.append(asked);
    await this.attempt(question);
  }

  async attempt(question) {
    const turn = this.newTurn();
    this.setRunning(new AbortController());
    this.announce(say("working"));
    this.asked = turn.element.previousElementSibling ?? turn.element;
    this.following = true;
    this.top = undefined;
    this.scroll();
    let text = "";
    let isTruncated = false;
    let outcome = say("complete");
    let problem;
    try {
      for await (const part of ask(this.alias(), [...this.history(), { role: "user", content: question }], this.running.signal)) {
        isTruncated ||= part.isTruncated;
        if (!part.text) continue;
        if (text === "") this.announce(say("streaming"));
        text += part.text;
        turn.drawing.write(part.text);
        this.scroll();
      }
    } catch (error) {
      const isStopped = this.running.signal.aborted;
      outcome = isStopped ? say("stopped") : say("failed");
      if (!isStopped) problem = (error instanceof Failure ? error : unreachable()).problem;
    }
    turn.drawing.end();
    turn.body.removeAttribute("aria-busy");
    this.setRunning(undefined);
    if (!turn.element.isConnected) return; // The conversation was begun anew.
    if (text !== "") this.turns.push({ question, answer: text });
    this.finish(turn, { question, text, isTruncated, problem, outcome });
  }

  finish(turn, { question, text, isTruncated, problem, outcome }) {
    const retry = () => {
      if (this.running) return;
      this.question.focus();
      if (text !== "") this.turns = this.turns.filter((kept) => kept.answer !== text || kept.question !== question);
      turn.element.remove();
      this.attempt(question);
    };
    if (problem) {
      const shown = view(problem, retry, (message) => this.announce(message));
      turn.element.append(shown);
      if (this.following) this.asked = shown;
      // The alert speaks for itself; the status line stays short.
      this.announce(outcome);
    } else {
      const note = isTruncated ? say("truncated") : text === "" && outcome === say("complete") ? say("empty") : outcome === say("stopped") ? outcome : "";
      if (note) turn.element.append(make("p", { class: "note", text: note }));
      turn.element.append(this.tools(text, retry));
      this.announce(note || outcome);
    }
    this.scroll();
  }

  newTurn() {
    const alias = this.alias();
    const name = alias ? (alias.gatehouse?.title ?? alias.id) : say("answer");
    const title = alias?.gatehouse?.builtin ? say("builtin", name) : name;
    const body = make("div", { class: "said", "aria-busy": "true" });
    const element = make("article", { class: "turn assistant" }, make("p", { class: "who", text: title }), body);
    this.log.append(element);
    return { element, body, drawing: drawing(body) };
  }

  tools(text, retry) {
    const copy = make("button", { type: "button", class: "quiet", text: say("copy") });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        this.announce(say("copied"));
      } catch {
        this.announce(say("notCopied"));
      }
    });
    const again = make("button", { type: "button", class: "quiet", text: say("retry") });
    again.addEventListener("click", retry);
    return make("div", { class: "tools" }, ...(text === "" ? [again] : [copy, again]));
  }

  history() {
    return this.turns.flatMap(({ question, answer }) => [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ]);
  }

  setRunning(controller) {
    this.running = controller;
    this.stop.disabled = controller === undefined;
    this.stop.toggleAttribute("data-idle", controller === undefined);
    this.send.setAttribute("aria-disabled", String(controller !== undefined));
  }

  /** Shows the text as it comes until its question stands at the top; from there on the reader scrolls. */
  scroll() {
    const isMoved = this.top !== undefined && Math.abs(this.log.scrollTop - this.top) > 2;
    if (isMoved) this.following = false;
    if (!this.following) return;
    this.log.scrollTop = Math.min(this.log.scrollHeight, this.topOf(this.asked));
    this.top = this.log.scrollTop;
  }

  /** Where the log must be scrolled to so that it begins with an element. */
  topOf(element) {
    return this.log.scrollTop + element.getBoundingClientRect().top - this.log.getBoundingClientRect().top;
  }
}

for (const form of document.querySelectorAll("form.gatehouse-chat")) new Chat(form);
