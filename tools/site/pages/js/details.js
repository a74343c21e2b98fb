// The details of a document, in a dialog: what is known of it, its versions, with whom it is shared, comments. What
// somebody may do with it decides which of them are there.

import { comments } from "./comments.js";
import { say } from "./details-texts.js";
import { call, copyButton, pathOf, post, when } from "./files.js";
import { Panel, field, fromField, may, toField, who } from "./panel.js";
import { shares } from "./shares.js";
import { make } from "./texts.js";
import { versions } from "./versions.js";

/**
 * Opens the dialog. Resolves when it is closed, with whether anything was changed.
 *
 * @param {string} id
 * @param {HTMLElement} place Where the dialog is put.
 */
export async function details(id, place) {
  const path = pathOf(id);
  const [file, me] = await Promise.all([call(path), call("/api/me").catch(() => ({}))]);
  const heading = make("h2", { id: "details-title", tabindex: "-1", autofocus: true });
  const close = make("button", { type: "button", class: "quiet", text: say("close") });
  const status = make("p", { class: "status", role: "status" });
  const dialog = make("dialog", { class: "details", "aria-labelledby": heading.id }, make("div", { class: "head" }, heading, close), status);
  let changed = false;
  const announce = (text) => {
    status.textContent = text;
  };
  const opened = { file, me: me.kind === "visitor" ? me.id : undefined, path, announce };
  const panels = [about(opened), may(opened, "edit") && versions(opened), may(opened, "own") && shares(opened), comments(opened)].filter(Boolean);
  const draw = () => {
    heading.textContent = opened.file.filename;
    return Promise.all(panels.map((panel) => panel.draw()));
  };
  opened.refresh = async () => {
    changed = true;
    opened.file = await call(path);
    await draw();
  };
  draw();
  dialog.append(...panels.map(({ element }) => element));
  close.addEventListener("click", () => dialog.close());
  place.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      for (const panel of panels) panel.end?.();
      dialog.remove();
      resolve(changed);
    });
  });
}

/** What is known of it, and a form for what may be changed. */
function about(opened) {
  const panel = new Panel(say("about"), opened.announce);
  const facts = make("dl", { class: "facts" });
  const form = may(opened, "edit") ? changes(opened, panel) : undefined;
  panel.body.append(...(form ? [form.element] : []), facts);
  const draw = () => {
    form?.draw();
    facts.replaceChildren(...known(opened).flatMap(([name, ...value]) => [make("dt", { text: name }), make("dd", {}, ...value)]));
  };
  return { element: panel.element, draw };
}

function changes(opened, panel) {
  const own = may(opened, "own");
  const name = make("input", { name: "filename", required: true, maxlength: "255", autocomplete: "off" });
  const labels = make("input", { name: "tags", autocomplete: "off" });
  const expires = make("input", { name: "expires_at", type: "datetime-local", required: true });
  const keep = make("input", { name: "keep_until", type: "datetime-local" });
  const parts = [field(say("filename"), name), field(say("labels"), labels, say("labelsHint"))];
  if (own) parts.push(field(say("expires"), expires), field(say("keepUntil"), keep, say("keepHint")));
  const element = make("form", { class: "stack" }, ...parts, make("div", { class: "row" }, make("button", { type: "submit", text: say("save") })));
  const read = () => ({ filename: name.value, tags: labels.value, expires_at: expires.value, keep_until: keep.value });
  let before;
  const draw = () => {
    // What is being written is left alone.
    if (before && !isSame(before, read())) return;
    const { file } = opened;
    name.value = file.filename;
    labels.value = file.gatehouse.tags.join(", ");
    expires.value = toField(file.expires_at);
    keep.value = file.gatehouse.keep_until ? toField(file.gatehouse.keep_until) : "";
    keep.min = keep.value;
    before = read();
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    panel.doing(async () => {
      const now = read();
      const changed = {};
      for (const key of Object.keys(now)) {
        if (now[key] === before[key] || (key === "keep_until" && now[key] === "")) continue;
        if (key === "tags") changed.tags = now.tags.split(/[,，]/).map((label) => label.trim()).filter(Boolean);
        else changed[key] = key === "filename" ? now.filename : fromField(now[key]);
      }
      if (Object.keys(changed).length > 0) await post(opened.path, changed);
      before = undefined;
      await opened.refresh();
      opened.announce(say("saved"));
    });
  });
  return { element, draw };
}

const isSame = (left, right) => JSON.stringify(left) === JSON.stringify(right);

const code = (text) => make("code", { text });

/** Names and values of what is known. */
function known(opened) {
  const { file, me, announce } = opened;
  const { gatehouse: ours } = file;
  const { provenance: from } = ours;
  const rows = [
    [say("id"), code(file.id), " ", copyButton(file.id, say("copyId"), announce)],
    [say("type"), ours.content_type],
    [say("version"), String(ours.version), " · ", when(from.at ? Math.floor(from.at / 1000) : file.created_at)],
    [say("storedBy"), who(from.by, me)],
    [say("origin"), from.origin],
    [say("way"), say(from.way === "parts" ? "parts" : "whole")],
    [say("tool"), from.tool],
    [say("model"), from.model],
    [say("sources"), from.sources?.join(", ")],
    [say("keepUntil"), ours.keep_until && when(ours.keep_until)],
    [say("held"), ours.held && say("yes")],
    [say("digest"), code(ours.sha256)],
  ];
  return rows.filter(([, value]) => value);
}
