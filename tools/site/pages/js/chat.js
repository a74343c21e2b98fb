// The chat: makes every `<form class="gatehouse-chat">` a conversation. Without this script the form still works.

import { aliases, ask, cancel, goOn } from "./answers.js";
import { Conversations } from "./conversations.js";
import { drawing } from "./markdown.js";
import { Memory } from "./memory.js";
import { Failure, unreachable, view } from "./problems.js";
import { duration, make, say } from "./texts.js";

export class Chat {
  /**
   * @param {HTMLFormElement} form With a textarea `question` and a submit button; a select `model` is optional.
   * @param {string} name          Tells the conversations of a site apart.
   */
  constructor(form, name) {
    this.form = form;
    this.question = form.elements.namedItem("question");
    this.select = form.elements.namedItem("model");
    this.send = form.querySelector("button[type=submit], button:not([type])");
    /** @type {import("./memory.js").Turn[]} Every question that was asked, with what came of it. */
    this.turns = [];
    this.aliases = [];
    this.running = undefined;
    this.memory = new Memory(name);
    this.build();
    this.listen();
    // Where the page lists conversations, the server keeps them; else this tab does.
    const section = "conversations" in form.dataset ? form.parentElement.querySelector(".talks") : null;
    this.conversations = section ? new Conversations(this, section) : undefined;
    this.restore();
    this.loading = this.load();
    this.conversations?.refresh();
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
    // The same words once more would be read aloud once more.
    if (this.status.textContent !== text) this.status.textContent = text;
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

  /** Stops the running answer: at the server too, where an answer outlives its connection. */
  halt() {
    const place = this.asking?.place;
    if (this.running && place) cancel(place);
    this.running?.abort();
  }

  /** Begins a new conversation. A running answer is stopped first, and its turn goes with the others. */
  forget() {
    this.halt();
    this.clear(say("forgotten"));
    this.question.focus();
  }

  /** Nothing was said, and nothing is open. */
  clear(word) {
    this.show([]);
    this.conversations?.leave();
    this.memory.write();
    this.announce(word);
  }

  /** Shows these turns, all of them over, in place of what stands there. */
  show(turns) {
    for (const turn of this.log.querySelectorAll(".turn")) turn.remove();
    this.turns = turns;
    this.restart.dataset.idle = "";
    if (turns.length > 0) this.begun();
    for (const turn of turns) {
      this.drawQuestion(turn.question);
      const drawn = this.drawAnswer(turn);
      if (turn === turns.at(-1)) this.follow(drawn);
      this.close(turn, drawn);
    }
    this.memory.write();
    this.scroll();
  }

  /** Draws the conversation that this tab remembers, and goes on with an answer that was arriving. */
  restore() {
    const { turns, hint, conversation } = this.memory.load();
    const talks = this.conversations;
    if (talks) talks.current = conversation;
    this.memory.keep(() => ({ turns: this.turns, hint: this.hint.textContent, conversation: talks?.current }));
    if (turns.length === 0) return;
    this.turns = turns;
    this.begun();
    // Its room is kept: what the list of models tells later must not push the conversation down.
    this.hint.textContent = hint;
    this.hint.hidden = hint === "";
    const last = turns.at(-1);
    for (const turn of turns) {
      this.drawQuestion(turn.question);
      const drawn = this.drawAnswer(turn);
      if (turn === last) this.follow(drawn);
      if (turn === last && turn.place) {
        turn.state = "running";
        this.read(turn, drawn, say("reading"), (signal, tell) => goOn(turn.place, signal, tell));
      } else {
        // Nobody knows what became of an answer that lived as long as its connection.
        if (turn.state === "running") turn.state = turn.answer === "" ? "failed" : "incomplete";
        this.close(turn, drawn);
      }
    }
    this.scroll();
  }

  /** The conversation has a first turn. */
  begun() {
    this.suggestions?.remove();
    delete this.restart.dataset.idle;
  }

  drawQuestion(question) {
    const asked = make("article", { class: "turn user" }, make("p", { class: "who", text: say("you") }), make("p", { class: "said", text: question }));
    this.log.append(asked);
    return asked;
  }

  /** An answer with what has arrived of it. */
  drawAnswer({ who, answer }) {
    const body = make("div", { class: "said", "aria-busy": "true" });
    const name = make("p", { class: "who", text: who });
    const element = make("article", { class: "turn assistant" }, name, body);
    this.log.append(element);
    const drawn = { element, body, who: name, drawing: drawing(body) };
    if (answer !== "") drawn.drawing.write(answer);
    return drawn;
  }

  /** Asks, and draws question and answer at the end of the log. */
  async answer(question) {
    await this.conversations?.opening;
    if (this.running) {
      this.question.value ||= question;
      return;
    }
    this.begun();
    this.drawQuestion(question);
    await this.attempt(question);
  }

  async attempt(question) {
    const messages = [...this.history(), { role: "user", content: question }];
    const turn = { question, answer: "", who: this.nameOf(this.alias()), state: "running", isTruncated: false };
    this.turns.push(turn);
    const drawn = this.drawAnswer(turn);
    this.follow(drawn);
    await this.read(turn, drawn, say("working"), (signal, tell) => this.source(turn, drawn, messages, signal, tell));
  }

  /** The parts of an answer. Who asks before the list of models has come waits for it. */
  async *source(turn, drawn, messages, signal, tell) {
    await this.loading;
    const alias = this.alias();
    turn.who = this.nameOf(alias);
    drawn.who.textContent = turn.who;
    const talks = this.conversations;
    yield* talks ? talks.ask(alias, turn.question, signal, tell) : ask(alias, messages, signal, tell);
  }

  nameOf(alias) {
    const name = alias ? (alias.gatehouse?.title ?? alias.id) : say("answer");
    return alias?.gatehouse?.builtin ? say("builtin", name) : name;
  }

  /**
   * Reads an answer to its end, whatever end that is.
   *
   * @param {import("./memory.js").Turn} turn
   * @param {string} word What to say until text arrives.
   * @param {(signal: AbortSignal, tell: (word: import("./connection.js").Word) => void) => AsyncGenerator<import("./answers.js").Part>} source
   */
  async read(turn, drawn, word, source) {
    const running = new AbortController();
    this.asking = turn;
    this.setRunning(running);
    this.announce(word);
    this.memory.write();
    let isFirst = true;
    let problem;
    try {
      for await (const part of source(running.signal, (told) => this.tell(told))) {
        // Text and place change together: whenever the memory is written, one fits the other.
        turn.answer += part.text;
        turn.isTruncated ||= part.isTruncated;
        turn.place = part.place;
        if (part.sources) turn.sources = part.sources;
        this.memory.touch();
        if (!part.text) continue;
        if (isFirst) this.announce(say("streaming"));
        isFirst = false;
        drawn.drawing.write(part.text);
        this.scroll();
      }
      turn.state = "complete";
    } catch (error) {
      turn.state = running.signal.aborted ? "stopped" : turn.answer === "" ? "failed" : "incomplete";
      if (!running.signal.aborted) problem = (error instanceof Failure ? error : unreachable()).problem;
    }
    this.setRunning(undefined);
    this.conversations?.over();
    if (!drawn.element.isConnected) return; // The conversation was begun anew.
    this.announce(this.close(turn, drawn, problem));
    this.memory.write();
    this.scroll();
  }

  /** Says where the connection of the running answer stands. */
  tell({ state, wait, check }) {
    if (check) this.status.parentElement.after(check);
    if (state === "lost") this.announce(wait < 1000 ? say("reconnecting") : say("reconnectIn", duration(wait)));
    else this.announce(say(state));
  }

  /** Ends the drawing of an answer that is over, with what can be done about it, and gives the word for the status line. */
  close(turn, drawn, problem) {
    drawn.drawing.end();
    drawn.body.removeAttribute("aria-busy");
    const retry = () => this.retry(turn, drawn);
    if (problem) {
      if (!problem.canGoOn) delete turn.place;
      const again = () => (problem.canGoOn ? this.again(turn, drawn) : retry());
      const shown = view(problem, again, (message) => this.announce(message));
      drawn.element.append(shown);
      if (this.following) this.asked = shown;
      // The alert speaks for itself; the status line stays short.
      return noteOf(turn);
    }
    delete turn.place;
    const note = noteOf(turn);
    if (note) drawn.element.append(make("p", { class: "note", text: note }));
    // What a conversation has is not said in it once more.
    const isKept = this.conversations && turn.state === "complete";
    drawn.element.append(...this.sources(turn), this.tools(turn.answer, isKept ? undefined : retry));
    return note || say("complete");
  }

  /** Asks a question once more. The turn moves to the end, as it does in what the model is told. */
  retry(turn, drawn) {
    if (this.running) return;
    this.question.focus();
    this.turns = this.turns.filter((kept) => kept !== turn);
    this.log.append(drawn.element.previousElementSibling);
    drawn.element.remove();
    this.attempt(turn.question);
  }

  /** Reads on where an answer was lost. */
  again(turn, drawn) {
    if (this.running) return;
    this.question.focus();
    turn.state = "running";
    const anew = this.drawAnswer(turn);
    drawn.element.replaceWith(anew.element);
    this.follow(anew);
    this.read(turn, anew, say("reading"), (signal, tell) => goOn(turn.place, signal, tell));
  }

  /** The passages that an answer cites, each with its document. */
  sources({ answer, sources = [] }) {
    const isCited = ({ number }) => number === undefined || new RegExp(`\\[[\\d, ]*\\b${number}\\b[\\d, ]*\\]`).test(answer);
    const cited = sources.filter(isCited);
    if (cited.length === 0) return [];
    const items = cited.map(({ number, file_id: id, filename, anchor }) => {
      const link = make("a", { href: `/v1/files/${encodeURIComponent(id)}/content`, download: filename, text: filename });
      return make("li", {}, number === undefined ? "" : `[${number}] `, link, anchor ? `, ${anchor}` : "");
    });
    return [make("div", { class: "sources" }, make("p", { text: say("sources") }), make("ul", {}, ...items))];
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
    again.addEventListener("click", () => retry());
    return make("div", { class: "tools" }, ...(text === "" ? [] : [copy]), ...(retry ? [again] : []));
  }

  history() {
    const answered = this.turns.filter(({ answer }) => answer !== "");
    return answered.flatMap(({ question, answer }) => [
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

  /** From now on an answer is shown as it comes, from its question on. */
  follow({ element }) {
    this.asked = element.previousElementSibling ?? element;
    this.following = true;
    this.top = undefined;
    this.scroll();
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

/** What stands below an answer that is not simply complete. */
function noteOf({ state, answer, isTruncated }) {
  if (state === "stopped") return say("stopped");
  if (state === "incomplete") return say("incompleteNote");
  if (state === "failed") return say("failed");
  if (isTruncated) return say("truncated");
  return answer === "" ? say("empty") : "";
}

document.querySelectorAll("form.gatehouse-chat").forEach((form, at) => new Chat(form, `${location.pathname}#${at}`));
