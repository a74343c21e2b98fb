// The documents page: upload with progress, list, download, delete, over the OpenAI files endpoints. What else can be done
// with a document comes with its details.

import { call, copyButton, inWords, pathOf, size, when, whole } from "./files.js";
import { Failure, refused, unreachable, view } from "./problems.js";
import { session } from "./session.js";
import { make, say } from "./texts.js";
import { PART_BYTES, begunWith, giveUp, sendInParts, sendWhole, shareOf, unfinished } from "./uploads.js";

/** Rows fetched at once. */
const PAGE = 50;

const page = document.querySelector(".gatehouse-documents");
const upload = page.querySelector(".upload");
const input = upload.querySelector("input[type=file]");
const transfers = page.querySelector(".transfers");
const status = page.querySelector(".status");
const problems = page.querySelector(".problems");
const listing = page.querySelector(".listing");
const dialog = document.querySelector("dialog.confirm");
const others = page.querySelector(".others .listed");
const identity = page.querySelector(".identity");
const identify = page.querySelector(".identify");
const kept = page.querySelector(".kept");
const endButton = kept.querySelector(".end");
const eraseDialog = document.querySelector("dialog.confirm-erase");

const announce = (text) => {
  status.textContent = text;
};

// === Uploading ===

/** A key for each file that was chosen: sent again after a failure it is not stored twice. */
const keys = new WeakMap();

function keyOf(file) {
  // Pages that came without TLS from another machine have no randomUUID.
  if (!keys.has(file)) keys.set(file, crypto.randomUUID?.());
  return keys.get(file);
}

const percent = (share) => `${Math.floor(share * 100)} %`;

/** A row of a file that is on its way, with its buttons. */
function rowOf(name, ...buttons) {
  const bar = make("progress", { max: "1", value: "0", "aria-label": say("uploading", name) });
  const share = make("span", { class: "share", text: percent(0) });
  const row = make("li", {}, make("span", { class: "filename", text: name }), bar, share, ...buttons);
  transfers.append(row);
  return {
    row,
    onProgress(loaded, total) {
      bar.value = loaded / total;
      share.textContent = percent(loaded / total);
    },
    end() {
      if (row.contains(document.activeElement)) input.focus();
      row.remove();
    },
  };
}

const button = (text, name) => make("button", { type: "button", class: "quiet", text: say(text), "aria-label": `${say(text)}: ${name}` });

async function arrived(file) {
  announce(say("uploaded", file.name));
  await list();
  know();
}

/** A short file: whole, in one request. */
async function send(file) {
  const controller = new AbortController();
  const cancel = button("cancel", file.name);
  cancel.addEventListener("click", () => controller.abort());
  const { onProgress, end } = rowOf(file.name, cancel);
  announce(say("uploading", file.name));
  try {
    await sendWhole(file, { key: keyOf(file), onProgress, signal: controller.signal });
    await arrived(file);
  } catch (error) {
    if (controller.signal.aborted) announce(say("cancelled", file.name));
    else show(error, () => sendAll([file]), file.name);
  } finally {
    end();
  }
}

/** A long file: in parts, which can be paused. Resolves when it is stored, given up, paused or refused. */
function sendLong(file) {
  let controller;
  const [toggle, cancel] = [button("pause", file.name), button("cancel", file.name)];
  const label = (text) => {
    toggle.textContent = say(text);
    toggle.setAttribute("aria-label", `${say(text)}: ${file.name}`);
  };
  transfers.querySelector(`[data-upload="${begunWith(file)?.id}"]`)?.remove();
  const { onProgress, end } = rowOf(file.name, toggle, cancel);
  const run = async () => {
    controller = new AbortController();
    label("pause");
    announce(say("uploading", file.name));
    try {
      await sendInParts(file, { onProgress, signal: controller.signal });
      controller = undefined;
      await arrived(file);
      end();
    } catch (error) {
      const stopped = controller?.signal.aborted;
      controller = undefined;
      label("resume");
      if (!stopped) show(error, run, file.name);
    }
  };
  toggle.addEventListener("click", () => {
    if (!controller) return run();
    controller.abort();
    announce(say("paused", file.name));
  });
  cancel.addEventListener("click", async () => {
    controller?.abort();
    const begun = begunWith(file);
    end();
    announce(say("cancelled", file.name));
    if (begun) await giveUp(begun.id);
  });
  return run();
}

/** What was begun before this page was loaded, and how to go on. */
async function tellUnfinished() {
  for (const record of unfinished()) {
    const share = await shareOf(record).catch(() => 0);
    if (share === undefined) continue;
    const [again, cancel] = [button("chooseAgain", record.name), button("cancel", record.name)];
    const { row, onProgress, end } = rowOf(record.name, again, cancel);
    row.dataset.upload = record.id;
    row.append(make("p", { class: "hint", text: say("interrupted") }));
    onProgress(share, 1);
    again.addEventListener("click", () => input.click());
    cancel.addEventListener("click", async () => {
      end();
      announce(say("cancelled", record.name));
      await giveUp(record.id);
    });
  }
}

/** One after another, so that progress means something and limits are not run into. */
async function sendAll(files) {
  problems.replaceChildren();
  for (const file of files) await (file.size > PART_BYTES ? sendLong(file) : send(file));
}

function show(error, retry, about) {
  const { problem } = error instanceof Failure ? error : unreachable();
  const again = () => {
    problems.replaceChildren();
    retry();
  };
  const box = view(about ? { ...problem, detail: [about, problem.detail].filter(Boolean).join(": ") } : problem, problem.isFinal ? undefined : again, announce);
  problems.append(box);
}

input.addEventListener("change", () => {
  const files = [...input.files];
  input.value = "";
  sendAll(files);
});
upload.addEventListener("submit", (event) => event.preventDefault());
for (const type of ["dragenter", "dragover"]) {
  upload.addEventListener(type, (event) => {
    event.preventDefault();
    upload.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) upload.addEventListener(type, () => upload.classList.remove("over"));
upload.addEventListener("drop", (event) => {
  event.preventDefault();
  sendAll([...event.dataTransfer.files]);
});

// === Listing ===

let loading = 0;

async function list() {
  loading += 1;
  const mine = loading;
  try {
    const first = await call(`/v1/files?limit=${PAGE}&order=desc`);
    if (mine === loading) draw(first);
  } catch (error) {
    if (mine !== loading) return;
    listing.replaceChildren();
    show(error, list);
  }
}

function draw(first) {
  if (first.data.length === 0) {
    listing.replaceChildren(make("p", { class: "empty", text: say("noDocuments") }));
    return;
  }
  const { table, body } = tableOf(["name", "size", "expires", "actions"]);
  listing.replaceChildren(table);
  append(body, first);
}

function tableOf(names) {
  const body = make("tbody");
  const heads = names.map((name) => make("th", { scope: "col", text: say(name) }));
  return { body, table: make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body) };
}

function append(body, part) {
  body.append(...part.data.map(row));
  if (!part.has_more) return;
  const more = make("button", { type: "button", class: "quiet", text: say("more") });
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      const next = await call(`/v1/files?limit=${PAGE}&order=desc&after=${encodeURIComponent(part.last_id)}`);
      more.remove();
      append(body, next);
    } catch (error) {
      more.disabled = false;
      show(error, () => more.click());
    }
  });
  listing.append(more);
}

function row(file) {
  const remove = button("remove", file.filename);
  remove.addEventListener("click", () => confirmDelete(file));
  const expires = make("td", { "data-label": say("expires") }, file.expires_at ? when(file.expires_at) : say("never"));
  return rowWith(file, expires, remove);
}

/** A row of a document: its name, its size, something else, what can be done with it. */
function rowWith(file, cell, ...deeds) {
  const link = make("a", { href: `${pathOf(file.id)}/content`, download: file.filename, text: say("download") });
  link.setAttribute("aria-label", `${say("download")}: ${file.filename}`);
  const more = button("details", file.filename);
  more.dataset.details = file.id;
  more.addEventListener("click", () => open(file, more));
  return make(
    "tr",
    {},
    make("th", { scope: "row", text: file.filename }),
    make("td", { "data-label": say("size"), text: size(file.bytes) }),
    cell,
    make("td", { class: "actions" }, link, more, ...deeds),
  );
}

// === What others share ===

const WORDS = { view: "mayView", comment: "mayComment", edit: "mayEdit" };

async function listOthers() {
  try {
    const files = await whole("/v1/shared");
    if (files.length === 0) {
      others.replaceChildren(make("p", { class: "empty", text: say("nothingShared") }));
      return;
    }
    const { table, body } = tableOf(["name", "size", "right", "actions"]);
    body.append(...files.map((file) => rowWith(file, make("td", { "data-label": say("right"), text: say(WORDS[file.gatehouse.right] ?? "mayView") }))));
    others.replaceChildren(table);
  } catch (error) {
    others.replaceChildren();
    show(error, listOthers);
  } finally {
    // Behind the first list, so that nothing moves.
    others.parentElement.hidden = false;
  }
}

// === Details ===

/** Opens the details of a document. Their script comes with the first that are opened. */
async function open(file, opener) {
  if (opener.getAttribute("aria-busy") === "true") return;
  problems.replaceChildren();
  opener.setAttribute("aria-busy", "true");
  try {
    const { details } = await import("./details.js").catch(() => {
      throw unreachable();
    });
    const changed = await details(file.id, page).finally(() => opener.removeAttribute("aria-busy"));
    if (changed) await Promise.all([list(), listOthers()]);
    // The rows may be others now.
    (page.querySelector(`button[data-details="${CSS.escape(file.id)}"]`) ?? input).focus();
  } catch (error) {
    opener.removeAttribute("aria-busy");
    show(error, () => open(file, opener), file.filename);
  }
}

// === Deleting ===

function confirmDelete(file) {
  dialog.querySelector(".subject").textContent = file.filename;
  dialog.returnValue = "keep";
  dialog.addEventListener("close", () => dialog.returnValue === "delete" && remove(file), { once: true });
  dialog.showModal();
}

async function remove(file) {
  try {
    await call(pathOf(file.id), { method: "DELETE" }).catch((error) => inWords(error, file.id));
    announce(say("removed", file.filename));
    await list();
    input.focus();
  } catch (error) {
    show(error, () => remove(file), file.filename);
  }
}

// === What is kept of the visitor ===

/** Offers to forget a visitor who is known. Where nobody can tell, there is nothing to offer. */
async function know() {
  const me = await call("/api/me").catch(() => undefined);
  const isKnown = me?.kind === "visitor";
  kept.hidden = !isKnown;
  identity.hidden = !isKnown;
  identify.hidden = isKnown || !me;
  if (isKnown) identity.replaceChildren(`${say("yourId")} `, make("code", { text: me.id }), " ", copyButton(me.id, say("copyId"), announce));
  endButton.hidden = !me?.session;
}

/** Makes a visitor of somebody who is not known yet, so that others can share with them. */
async function becomeKnown() {
  try {
    const response = await session.fetch("/api/me/usage", {}, (check) => check && identify.after(check)).catch(() => {
      throw unreachable();
    });
    if (!response.ok) throw await refused(response);
    await know();
    identity.querySelector("button")?.focus();
  } catch (error) {
    show(error, becomeKnown);
  }
}

async function end() {
  try {
    const response = await session.end().catch(() => {
      throw unreachable();
    });
    // A session that is over already has ended too.
    if (!response.ok && response.status !== 401) throw await refused(response);
    announce(say("sessionEnded"));
    kept.querySelector(".erase").focus();
    endButton.hidden = true;
  } catch (error) {
    show(error, end);
  }
}

async function erase() {
  try {
    await call("/api/me/erase", { method: "POST" });
    kept.hidden = true;
    announce(say("erased"));
    input.focus();
    await Promise.all([list(), listOthers(), know()]);
  } catch (error) {
    show(error, erase);
  }
}

identify.addEventListener("click", becomeKnown);
endButton.addEventListener("click", end);
kept.querySelector(".erase").addEventListener("click", () => {
  eraseDialog.returnValue = "keep";
  eraseDialog.showModal();
});
eraseDialog.addEventListener("close", () => eraseDialog.returnValue === "erase" && erase());

listing.append(make("p", { class: "empty", text: say("listLoading") }));
list().then(listOthers).then(know);
tellUnfinished();
