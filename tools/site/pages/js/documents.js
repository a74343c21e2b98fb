// The documents page: upload with progress, list, download, delete, over the OpenAI files endpoints.

import { Failure, failure, refused, unreachable, view } from "./problems.js";
import { session } from "./session.js";
import { language, make, say } from "./texts.js";

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
const kept = page.querySelector(".kept");
const endButton = kept.querySelector(".end");
const eraseDialog = document.querySelector("dialog.confirm-erase");

const announce = (text) => {
  status.textContent = text;
};

// === Talking to the server ===

async function call(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw unreachable();
  });
  if (!response.ok) throw await refused(response);
  return response.json();
}

/** A key for each file that was chosen: sent again after a failure it is not stored twice. */
const keys = new WeakMap();

function keyOf(file) {
  // Pages that came without TLS from another machine have no randomUUID.
  if (!keys.has(file)) keys.set(file, crypto.randomUUID?.());
  return keys.get(file);
}

/** Sends one file; XMLHttpRequest alone tells how much of a body has left. */
function transfer(file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("purpose", "user_data");
    body.append("file", file, file.name);
    request.open("POST", "/v1/files");
    const key = keyOf(file);
    if (key) request.setRequestHeader("idempotency-key", key);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded, event.total));
    request.addEventListener("load", async () => {
      if (request.status >= 200 && request.status < 300) resolve(request.response);
      else reject(await failure(request.response ?? undefined, headersOf(request)));
    });
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(signal.reason));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function headersOf(request) {
  const names = ["x-request-id", "retry-after", "retry-after-ms"];
  return new Headers(names.map((name) => [name, request.getResponseHeader(name)]).filter(([, value]) => value !== null));
}

// === Uploading ===

async function send(file) {
  const controller = new AbortController();
  const bar = make("progress", { max: "100", value: "0", "aria-label": say("uploading", file.name) });
  const share = make("span", { class: "share", text: "0 %" });
  const cancel = make("button", { type: "button", class: "quiet", text: say("cancel"), "aria-label": `${say("cancel")}: ${file.name}` });
  cancel.addEventListener("click", () => controller.abort());
  const row = make("li", {}, make("span", { class: "filename", text: file.name }), bar, share, cancel);
  transfers.append(row);
  announce(say("uploading", file.name));
  try {
    const onProgress = (loaded, total) => {
      bar.value = (loaded / total) * 100;
      share.textContent = `${Math.floor(bar.value)} %`;
    };
    await transfer(file, onProgress, controller.signal);
    announce(say("uploaded", file.name));
    await list();
    know();
  } catch (error) {
    if (controller.signal.aborted) announce(say("cancelled", file.name));
    else show(error, () => sendAll([file]), file.name);
  } finally {
    if (row.contains(document.activeElement)) input.focus();
    row.remove();
  }
}

/** One after another, so that progress means something and limits are not run into. */
async function sendAll(files) {
  problems.replaceChildren();
  for (const file of files) await send(file);
}

function show(error, retry, about) {
  const { problem } = error instanceof Failure ? error : unreachable();
  const again = () => {
    problems.replaceChildren();
    retry();
  };
  const box = view(about ? { ...problem, detail: [about, problem.detail].filter(Boolean).join(": ") } : problem, again, announce);
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

const sizes = ["byte", "kilobyte", "megabyte", "gigabyte"];
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const zone = new Intl.DateTimeFormat(language, { timeZoneName: "short" });

/** Bytes in decimal units: 1 kB = 1,000 bytes. */
function size(bytes) {
  const step = bytes < 1000 ? 0 : Math.min(sizes.length - 1, Math.floor(Math.log10(bytes) / 3));
  const detail = step === 0 ? { unitDisplay: "long" } : { maximumFractionDigits: 1 };
  const format = new Intl.NumberFormat(language, { style: "unit", unit: sizes[step], ...detail });
  return format.format(bytes / 1000 ** step);
}

function when(seconds) {
  const date = new Date(seconds * 1000);
  const name = zone.formatToParts(date).find((part) => part.type === "timeZoneName")?.value ?? "UTC";
  return make("time", { datetime: date.toISOString(), text: `${dates.format(date)} ${name}` });
}

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
  const heads = ["name", "size", "expires", "actions"].map((name) => make("th", { scope: "col", text: say(name) }));
  const body = make("tbody");
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body);
  listing.replaceChildren(table);
  append(body, first);
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
  const link = make("a", { href: `/v1/files/${encodeURIComponent(file.id)}/content`, download: file.filename, text: say("download") });
  link.setAttribute("aria-label", `${say("download")}: ${file.filename}`);
  const remove = make("button", { type: "button", class: "quiet", text: say("remove"), "aria-label": `${say("remove")}: ${file.filename}` });
  const expires = make("td", { "data-label": say("expires") }, file.expires_at ? when(file.expires_at) : say("never"));
  const element = make(
    "tr",
    {},
    make("th", { scope: "row", text: file.filename }),
    make("td", { "data-label": say("size"), text: size(file.bytes) }),
    expires,
    make("td", { class: "actions" }, link, remove),
  );
  remove.addEventListener("click", () => confirmDelete(file));
  return element;
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
    await call(`/v1/files/${encodeURIComponent(file.id)}`, { method: "DELETE" });
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
  kept.hidden = me?.kind !== "visitor";
  endButton.hidden = !me?.session;
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
    await list();
  } catch (error) {
    show(error, erase);
  }
}

endButton.addEventListener("click", end);
kept.querySelector(".erase").addEventListener("click", () => {
  eraseDialog.returnValue = "keep";
  eraseDialog.showModal();
});
eraseDialog.addEventListener("close", () => eraseDialog.returnValue === "erase" && erase());

listing.append(make("p", { class: "empty", text: say("listLoading") }));
list().then(know);
