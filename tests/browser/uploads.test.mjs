// Long files on the documents page, over the real Worker: parts at the same time, pause, and going on after a reload.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { openPage, realSite, startBrowser } from "./browser.mjs";

const MIB = 1024 * 1024;

let site;
let browser;
let page;
let folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "gatehouse-uploads-"));
  [browser, site] = await Promise.all([startBrowser(), realSite()]);
});
after(async () => {
  await browser?.close();
  await site?.stop();
  rmSync(folder, { recursive: true, force: true });
});

let visitors = 0;
beforeEach(async (context) => {
  const view = await openPage(browser, site.url);
  page = view.page;
  context.after(() => view.context.close());
  // Each from a network of their own: uploads are limited by the minute.
  await page.setExtraHTTPHeaders({ "cf-connecting-ip": `100.67.${(visitors += 1)}.1` });
  await page.goto("/documents");
});

/** A file of text on disk, as somebody would choose it. */
function fileOf(name, bytes) {
  const path = join(folder, name);
  const content = Buffer.from(randomBytes(bytes / 2).toString("hex"));
  writeFileSync(path, content);
  utimesSync(path, 1_700_000_000, 1_700_000_000);
  return { path, hash: createHash("sha256").update(content).digest("hex") };
}

const status = (text) => page.waitForFunction((wanted) => document.querySelector("[role=status]").textContent === wanted, text, { timeout: 30_000 });

/** The hash of the first document of the list, as the page's own visitor gets it. */
const storedHash = () =>
  page.evaluate(async () => {
    const { data } = await (await fetch("/v1/files")).json();
    const content = await (await fetch(`/v1/files/${data[0].id}/content`)).arrayBuffer();
    const digest = await crypto.subtle.digest("SHA-256", content);
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  });

/** Counts the parts that are sent, and lets through as many as `gate.open` says. */
async function watchParts() {
  const gate = { sent: [], open: Infinity, waiting: [] };
  await page.route("**/parts", async (route) => {
    if (route.request().method() !== "POST") return route.fallback();
    if (gate.sent.length >= gate.open) return void gate.waiting.push(route);
    gate.sent.push(route.request().url());
    await route.fallback();
  });
  return gate;
}

/** Chooses the file and waits until the one part that is let through is stored. */
async function begunWithOnePart(file) {
  const stored = page.waitForResponse((response) => response.url().endsWith("/parts") && response.request().method() === "POST");
  await page.setInputFiles("#file", file.path);
  assert.equal((await stored).status(), 200);
  await page.waitForFunction(() => document.querySelector("progress")?.value > 0.3);
}

test("a long file goes in parts and arrives whole", async () => {
  const file = fileOf("long.txt", 18 * MIB);
  let sent = 0;
  page.on("request", (request) => (sent += request.method() === "POST" && request.url().endsWith("/parts") ? 1 : 0));
  await page.setInputFiles("#file", file.path);
  await status("long.txt was stored.");
  assert.equal(sent, 3);
  assert.equal(await storedHash(), file.hash);
  assert.equal(await page.locator(".transfers li").count(), 0);
  assert.equal(await page.evaluate(() => localStorage.getItem("gatehouse.uploads")), null);
});

test("an upload is paused, and goes on with what is missing", async () => {
  const file = fileOf("paused.txt", 24 * MIB);
  const gate = await watchParts();
  gate.open = 1;
  await begunWithOnePart(file);
  await page.click(".transfers button >> text=Pause");
  await status("paused.txt is paused.");
  gate.open = Infinity;
  await page.click(".transfers button >> text=Go on");
  await status("paused.txt was stored.");
  assert.equal(await storedHash(), file.hash);
  assert.equal(gate.sent.length, 3, "the part that was there was not sent again");
});

test("after a reload the same file goes on, and another one does not take its place", async () => {
  const file = fileOf("again.txt", 24 * MIB);
  const gate = await watchParts();
  gate.open = 1;
  await begunWithOnePart(file);
  await page.reload();
  await page.waitForSelector(".transfers >> text=This upload was interrupted.");
  assert.match(await page.textContent(".transfers .share"), /^33 %$/);
  gate.open = Infinity;
  const chooser = page.waitForEvent("filechooser");
  await page.click(".transfers button >> text=Choose the file");
  await (await chooser).setFiles(file.path);
  await status("again.txt was stored.");
  assert.equal(await storedHash(), file.hash);
  assert.equal(gate.sent.length, 3);
  assert.equal(await page.locator(".transfers li").count(), 0);
});

test("a file that another tab is sending is not sent twice, and goes on here once it is paused there", async () => {
  const file = fileOf("twice.txt", 24 * MIB);
  const gate = await watchParts();
  gate.open = 1;
  await begunWithOnePart(file);
  const other = await page.context().newPage();
  let sent = 0;
  other.on("request", (request) => (sent += request.method() === "POST" && request.url().includes("/v1/") ? 1 : 0));
  await other.setExtraHTTPHeaders({ "cf-connecting-ip": `100.67.${visitors}.1` });
  await other.goto("/documents");
  await other.setInputFiles("#file", file.path);
  await other.waitForSelector("text=Another tab is sending this file");
  assert.equal(sent, 0);
  await page.click(".transfers button >> text=Pause");
  await status("twice.txt is paused.");
  await other.click(".problem button");
  await other.waitForFunction(() => document.querySelector("[role=status]").textContent === "twice.txt was stored.", undefined, { timeout: 30_000 });
  const { data } = await other.evaluate(async () => (await fetch("/v1/files")).json());
  assert.equal(data.length, 1);
  assert.equal(await storedHash(), file.hash);
});

test("a part that fails for a moment is sent again by itself", async () => {
  const file = fileOf("shaky.txt", 10 * MIB);
  let failures = 2;
  await page.route("**/parts", (route) => (failures-- > 0 ? route.abort() : route.fallback()));
  await page.setInputFiles("#file", file.path);
  await status("shaky.txt was stored.");
  assert.equal(await storedHash(), file.hash);
});

test("what is given up is gone, after a reload too", async () => {
  const file = fileOf("gone.txt", 24 * MIB);
  const gate = await watchParts();
  gate.open = 1;
  await begunWithOnePart(file);
  await page.reload();
  await page.waitForSelector(".transfers >> text=This upload was interrupted.");
  const cancelled = page.waitForResponse((response) => response.url().endsWith("/cancel"));
  await page.click(".transfers button >> text=Cancel");
  await status("gone.txt was not sent: you cancelled it.");
  assert.equal((await (await cancelled).json()).status, "cancelled");
  await page.reload();
  await page.waitForSelector("text=No documents yet.");
  assert.equal(await page.locator(".transfers li").count(), 0);
});

test("a file that is too large, or of a type that is not accepted, is told from the catalogue", async () => {
  const catalogue = await (await fetch(`${site.url}/gatehouse/errors.en.json`)).json();
  const path = join(folder, "large.txt");
  writeFileSync(path, Buffer.alloc(26 * MIB, "x"));
  await page.setInputFiles("#file", path);
  await page.waitForSelector(".problem-title");
  assert.equal(await page.textContent(".problem-title"), catalogue.payload_too_large.title);
  await page.reload();
  const zip = join(folder, "archive.txt");
  writeFileSync(zip, Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(9 * MIB)]));
  await page.setInputFiles("#file", zip);
  await page.waitForSelector(".problem-title");
  assert.equal(await page.textContent(".problem-title"), catalogue.document_type_refused.title);
});
