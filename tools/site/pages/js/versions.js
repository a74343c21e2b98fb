// Versions of a document: listed, read, deleted; a new one is stored over what was seen alone.

import { say } from "./details-texts.js";
import { call, dateOf, inWords, size, when } from "./files.js";
import { Panel, confirmed, field, fresh, may, who } from "./panel.js";
import { Failure } from "./problems.js";
import { make, say as common } from "./texts.js";
import { digestOf, sendVersion } from "./uploads.js";

/** What the server says when somebody else was faster: before the content was sent, and after. */
const FASTER = ["precondition_failed", "conflict"];

/** @param {import("./panel.js").Opened} opened */
export function versions(opened) {
  const panel = new Panel(say("versions"), opened.announce);
  const list = make("ul", { class: "rows" });
  const { element: form, end } = sender(opened, panel);
  panel.body.append(list, form);

  const read = async () => {
    const { data } = await call(`${opened.path}/versions`);
    list.replaceChildren(...data.map((version, at) => row(opened, panel, version, at === 0)));
  };
  return { element: panel.element, draw: () => panel.doing(read), end };
}

function row(opened, panel, version, isCurrent) {
  const name = say("versionName", version.version);
  const by = who(version.provenance.by, opened.me);
  const told = [name, isCurrent && ` (${say("current")})`, " · ", size(version.bytes), " · ", when(version.created_at), ...(by ? [" · ", by] : [])];
  const query = isCurrent ? "" : `?version=${version.version}`;
  const read = make("a", { href: `${opened.path}/content${query}`, download: opened.file.filename, text: common("download"), "aria-label": `${common("download")}: ${name}` });
  const deeds = make("span", { class: "deeds" }, read);
  if (!isCurrent && may(opened, "own")) {
    const remove = make("button", { type: "button", class: "quiet", text: common("remove"), "aria-label": `${common("remove")}: ${name}` });
    remove.addEventListener("click", async () => {
      if (!(await confirmed(say("removeVersion"), `${opened.file.filename} · ${name}`, common("remove")))) return;
      const gone = await panel.doing(async () => {
        await call(`${opened.path}/versions/${version.version}`, { method: "DELETE" }).catch((error) => inWords(error, opened.file.id));
        await opened.refresh();
      });
      if (gone) opened.announce(say("versionRemoved", version.version));
      panel.body.querySelector("input").focus();
    });
    deeds.append(remove);
  }
  return make("li", {}, make("span", { class: "told" }, ...told.filter(Boolean)), deeds);
}

/** The form that stores a new version. */
function sender(opened, panel) {
  const input = make("input", { type: "file" });
  const store = make("button", { type: "submit", text: say("store") });
  const progress = make("div", { class: "transfer" });
  const element = make("form", { class: "stack" }, field(say("newVersion"), input, say("newVersionHint")), make("div", { class: "row" }, store), progress);
  let running;

  const over = () => {
    running = undefined;
    progress.replaceChildren();
    store.removeAttribute("aria-disabled");
  };
  const send = (file) =>
    panel.doing(async () => {
      running = new AbortController();
      const { signal } = running;
      store.setAttribute("aria-disabled", "true");
      const bar = make("progress", { max: "1", value: "0", "aria-label": say("sending", file.name) });
      const cancel = make("button", { type: "button", class: "quiet", text: common("cancel") });
      cancel.addEventListener("click", () => running.abort());
      progress.replaceChildren(bar, cancel);
      const onProgress = (loaded, total) => {
        bar.value = loaded / total;
      };
      opened.announce(say("sending", file.name));
      try {
        await sendVersion(opened.path, file, { sha256: opened.file.gatehouse.sha256, onProgress, signal });
      } catch (error) {
        over();
        if (signal.aborted) return opened.announce(say("cancelled"));
        if (error instanceof Failure && FASTER.includes(error.problem.code)) return conflict(file);
        throw error;
      }
      over();
      await stored();
    });
  const stored = async () => {
    await opened.refresh();
    input.value = "";
    input.focus();
    opened.announce(say("versionStored", opened.file.gatehouse.version));
  };

  /** Somebody else stored a version since this one was begun: whoever is here decides. */
  const conflict = async (file) => {
    const seen = opened.file.gatehouse.version;
    await opened.refresh();
    const { filename, bytes, gatehouse: ours } = opened.file;
    // It was this very content, and only its answer was lost.
    if (ours.version > seen && ours.sha256 === (await digestOf(file))) return stored();
    const id = fresh("conflict");
    const at = ours.provenance.at ? Math.floor(ours.provenance.at / 1000) : opened.file.created_at;
    const title = make("p", { class: "problem-title", id, tabindex: "-1", text: say("conflictTitle") });
    const text = make("p", { text: say("conflict", ours.version, size(bytes), dateOf(at)) });
    const mine = make("button", { type: "button", text: say("over") });
    const theirs = make("button", { type: "button", class: "quiet", text: say("leave") });
    const read = make("a", { href: `${opened.path}/content`, download: filename, text: `${common("download")}: ${say("versionName", ours.version)}` });
    const box = make("div", { class: "problem conflict", role: "group", "aria-labelledby": id }, title, text, make("p", {}, read), make("div", { class: "row" }, mine, theirs));
    mine.addEventListener("click", () => {
      box.remove();
      input.focus();
      send(file);
    });
    theirs.addEventListener("click", () => {
      box.remove();
      input.value = "";
      input.focus();
      opened.announce(say("left"));
    });
    panel.problems.replaceChildren(box);
    opened.announce(say("conflictTitle"));
    title.focus();
  };

  element.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file) return opened.announce(say("choose"));
    if (!running) send(file);
  });
  return { element, end: () => running?.abort() };
}
