// Comments beside a document.

import { say } from "./details-texts.js";
import { call, post, when } from "./files.js";
import { Panel, confirmed, field, may, who } from "./panel.js";
import { make, say as common } from "./texts.js";

/** @param {import("./panel.js").Opened} opened */
export function comments(opened) {
  const panel = new Panel(say("comments"), opened.announce);
  const list = make("ul", { class: "rows comments" });
  const path = `${opened.path}/comments`;
  panel.body.append(list);

  const read = async () => {
    const { data } = await call(path);
    const rows = data.map((comment) => row(opened, panel, comment, read));
    list.replaceChildren(...(rows.length > 0 ? rows : [make("li", { class: "none", text: say("noComments") })]));
  };
  if (may(opened, "comment")) {
    const text = make("textarea", { rows: "2", required: true, maxlength: "4096" });
    const form = make("form", { class: "stack" }, field(say("newComment"), text), make("div", { class: "row" }, make("button", { type: "submit", text: say("send") })));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      panel.doing(async () => {
        await post(path, { text: text.value });
        text.value = "";
        await read();
        opened.announce(say("commented"));
      });
    });
    panel.body.append(form);
  }
  return { element: panel.element, draw: () => panel.doing(read) };
}

function row(opened, panel, comment, read) {
  const by = who(comment.by, opened.me) ?? say("nobody");
  const meta = make("p", { class: "meta" }, by, " · ", when(comment.created_at), ` · ${say("versionName", comment.version)}`);
  const element = make("li", {}, make("div", { class: "told" }, meta, make("p", { class: "said", text: comment.text })));
  if (may(opened, "own") || comment.by === opened.me) {
    const remove = make("button", { type: "button", class: "quiet", text: common("remove"), "aria-label": `${common("remove")}: ${comment.text.slice(0, 60)}` });
    remove.addEventListener("click", async () => {
      if (!(await confirmed(say("removeComment"), comment.text, common("remove")))) return;
      const gone = await panel.doing(async () => {
        await call(`${opened.path}/comments/${comment.id}`, { method: "DELETE" });
        await read();
      });
      if (gone) opened.announce(say("commentRemoved"));
      (panel.body.querySelector("textarea") ?? panel.element).focus();
    });
    element.append(make("span", { class: "deeds" }, remove));
  }
  return element;
}
