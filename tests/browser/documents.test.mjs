// The documents page.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, beforeEach, test } from "node:test";

import { openPage, startBrowser } from "./browser.mjs";
import { startFakeServer } from "./fake-server.mjs";

let server;
let browser;
let page;

before(async () => {
  browser = await startBrowser();
});

after(() => browser?.close());

beforeEach(async (context) => {
  server = await startFakeServer();
  const view = await openPage(browser, server.url);
  page = view.page;
  context.after(async () => {
    await view.context.close();
    await server.stop();
  });
});

const file = (name, size = 10) => ({ name, mimeType: "text/plain", buffer: Buffer.alloc(size, "x") });
const status = (text) => page.waitForFunction((wanted) => document.querySelector("[role=status]").textContent === wanted, text);
const stored = (id, filename) => ({ id, object: "file", bytes: 1_234_567, created_at: 1, expires_at: 1_800_000_000, filename });

test("nothing stored yet is said, and a file can be stored, fetched and deleted", async () => {
  await page.goto("/documents");
  await page.waitForSelector("text=No documents yet.");
  await page.setInputFiles("#file", file("notes.txt"));
  await status("notes.txt was stored.");
  await page.waitForSelector("th >> text=notes.txt");
  const download = page.waitForEvent("download");
  await page.click("a >> text=Download");
  assert.equal(await readFile(await (await download).path(), "utf8"), "content");

  await page.click("td button >> text=Delete");
  await page.click("dialog button >> text=Keep");
  assert.equal(server.state.files.length, 1);
  await page.click("td button >> text=Delete");
  assert.equal(await page.textContent("dialog .subject"), "notes.txt");
  await page.click("dialog button.danger");
  await page.waitForSelector("text=No documents yet.");
  assert.equal(server.state.files.length, 0);
});

test("size and expiry carry units and a zone", async () => {
  server.state.files = [stored("file-1", "a.pdf")];
  await page.goto("/documents");
  await page.waitForSelector("table");
  assert.equal(await page.textContent("td[data-label=Size]"), "1.2 MB");
  assert.match(await page.textContent("td time"), /2027.* (UTC|GMT[+-]?\d*|[A-Z]{2,5})$/);
});

test("a running upload shows its progress and can be cancelled", async () => {
  await page.goto("/documents");
  await page.setInputFiles("#file", file("large.bin", 8_000_000));
  await page.waitForFunction(() => document.querySelector("progress")?.value > 0);
  await page.click(".transfers button");
  await status("large.bin was not sent: you cancelled it.");
  assert.equal(await page.locator(".transfers li").count(), 0);
  assert.equal(server.state.files.length, 0);
});

test("a refused file is told from the catalogue, and the others are sent", async () => {
  await page.goto("/documents");
  await page.setInputFiles("#file", [file("bad.exe"), file("good.txt")]);
  await page.waitForSelector("th >> text=good.txt");
  const catalogue = await (await fetch(`${server.url}/gatehouse/errors.en.json`)).json();
  assert.equal(await page.textContent(".problem-title"), catalogue.document_type_refused.title);
  assert.equal(await page.textContent(".problem-detail"), "bad.exe: application/x-msdownload");
});

test("a file that is sent again after a failure has the same key, and one that is chosen anew has another", async () => {
  const keys = [];
  await page.route("**/v1/files", (route) => {
    const request = route.request();
    if (request.method() !== "POST") return route.fallback();
    keys.push(request.headers()["idempotency-key"]);
    return keys.length === 1 ? route.abort() : route.fallback();
  });
  await page.goto("/documents");
  await page.setInputFiles("#file", file("notes.txt"));
  await page.click(".problems button >> text=Try again");
  await status("notes.txt was stored.");
  await page.setInputFiles("#file", file("notes.txt"));
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 2);
  assert.match(keys[0], /^[0-9a-f-]{36}$/);
  assert.deepEqual([keys.length, keys[1], keys[2] !== keys[0]], [3, keys[0], true]);
});

test("a file can be dropped", async () => {
  await page.goto("/documents");
  const data = await page.evaluateHandle(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(["x"], "dropped.txt", { type: "text/plain" }));
    return transfer;
  });
  await page.dispatchEvent(".upload", "drop", { dataTransfer: data });
  await page.waitForSelector("th >> text=dropped.txt");
});

test("a long list is fetched page by page", async () => {
  server.state.files = Array.from({ length: 60 }, (_, at) => stored(`file-${at}`, `${at}.txt`));
  await page.goto("/documents");
  await page.waitForSelector("tbody tr");
  assert.equal(await page.locator("tbody tr").count(), 50);
  await page.click("button >> text=Show more");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 60);
  assert.equal(await page.locator("button >> text=Show more").count(), 0);
});

test("without JavaScript the page says what it needs", async () => {
  const { page: plain, context } = await openPage(browser, server.url, { scripts: false });
  await plain.goto("/documents");
  assert.match(await plain.textContent("noscript"), /needs JavaScript/);
  await context.close();
});
