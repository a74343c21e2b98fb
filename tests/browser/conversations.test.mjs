// The page of conversations over the real Worker, without a key: kept, listed, renamed, deleted; after a reload, and in
// another tab at once.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { OUT, openPage, realSite, startBrowser } from "./browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];

let site;
let browser;
let context;
let page;

before(async () => {
  [browser, site] = await Promise.all([startBrowser(), realSite()]);
});
after(async () => {
  await browser?.close();
  await site?.stop();
});

let visitors = 0;
const network = () => ({ "cf-connecting-ip": `100.68.${(visitors += 1)}.1` });

async function opened(options) {
  const view = await openPage(browser, site.url, options);
  await view.page.setExtraHTTPHeaders(network());
  await view.page.goto("/conversations");
  return view;
}

beforeEach(async (t) => {
  const view = await opened();
  ({ page, context } = view);
  t.after(() => view.context.close());
});

/** Asks, and waits until the answer is there and over. */
async function ask(on, question) {
  const turns = await on.locator(".turn").count();
  await on.fill("#question", question);
  await on.click("form.gatehouse-chat button[type=submit]");
  await on
    .waitForFunction(
      (wanted) => document.querySelectorAll(".turn").length === wanted && document.querySelector("[role=status]").textContent === "The answer is complete.",
      turns + 2,
    )
    .catch(async (error) => {
      const shown = await on.evaluate(() => document.querySelector(".gatehouse-conversations").innerText);
      throw new Error(`no whole answer, but: ${shown}`, { cause: error });
    });
}

const titles = (on) => on.locator(".talks button.open").allTextContents();
const listed = (on, wanted) =>
  on.waitForFunction((names) => JSON.stringify([...document.querySelectorAll(".talks button.open")].map((b) => b.textContent)) === JSON.stringify(names), wanted);

test("a conversation is kept, and opens again after a reload", async () => {
  await page.waitForSelector(".talks .none");
  await ask(page, "How do I set an OpenAI key?");
  await listed(page, ["How do I set an OpenAI key?"]);
  await page.reload();
  await listed(page, ["How do I set an OpenAI key?"]);
  await page.click(".talks button.open");
  await page.waitForSelector(".turn.assistant");
  assert.match(await page.textContent(".turn.user"), /How do I set an OpenAI key\?/);
  assert.match(await page.textContent(".turn.assistant"), /OPENAI_API_KEY/, "with its answer");
  await ask(page, "And what does the cache do?");
  assert.equal(await page.locator(".turn").count(), 4);
  assert.equal((await titles(page)).length, 1, "in the same conversation");
});

test("another tab shows at once what one changes", async () => {
  const other = await context.newPage();
  await other.goto("/conversations");
  await other.waitForSelector(".talks .none");
  await ask(page, "What is a lease?");
  await listed(other, ["What is a lease?"]);
  await page.click('.talks button[data-deed="rename"]');
  await page.fill("dialog.rename input", "Leases <and> more");
  await page.click("dialog.rename button[value=yes]");
  await listed(page, ["Leases <and> more"]);
  await listed(other, ["Leases <and> more"]);
  await other.click(".talks button.open");
  await other.waitForSelector(".turn");
  await page.click('.talks button[data-deed="remove"]');
  await page.click("dialog.confirm button.danger");
  await listed(page, []);
  await listed(other, []);
  assert.equal(await other.locator(".turn").count(), 0, "what is gone is shown no more");
});

test("what is asked while a conversation opens, or before the models are listed, is asked and shown", async () => {
  await ask(page, "What is a lease?");
  await page.reload();
  await listed(page, ["What is a lease?"]);
  const slow = async (route) => {
    const response = await route.fetch();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await route.fulfill({ response });
  };
  await page.route("**/v1/conversations/*/items*", slow);
  await page.click(".talks button.open");
  await ask(page, "And what does the cache do?");
  assert.deepEqual(await page.locator(".turn.user .said").allTextContents(), ["What is a lease?", "And what does the cache do?"]);
  await page.route("**/v1/models", slow);
  await page.goto("/conversations");
  await page.click(".talks button.new");
  await ask(page, "What is a lease?");
  assert.match(await page.locator(".turn.assistant .who").first().textContent(), /built-in/);
});

test("what was being read when a new conversation began does not take its place", async () => {
  await ask(page, "What is a lease?");
  const held = [];
  await page.route("**/v1/conversations/*/items*", (route) => void held.push(route));
  await page.reload();
  await page.waitForSelector(".turn.assistant");
  while (held.length === 0) await page.waitForTimeout(20);
  await page.click(".talks button.new");
  await ask(page, "And what does the cache do?");
  const read = page.waitForResponse("**/items*");
  await held.shift().continue();
  await (await read).finished();
  // Whatever it would draw it has drawn after this.
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 200)));
  assert.deepEqual(await page.locator(".turn.user .said").allTextContents(), ["And what does the cache do?"]);
});

const LEASES = "# Leases\n\nA lease of the boathouse ends on the ninth of March.\n\nIts rent is paid in barley.\n";

/** Stores a document over the documents' page, and goes to where one asks about it. */
async function gives(on, name, text) {
  await on.goto("/documents");
  await on.setInputFiles("#file", { name, mimeType: "text/plain", buffer: Buffer.from(text) });
  await on.waitForSelector(`th >> text=${name}`);
  await on.click("text=ask about them");
  await on.waitForSelector("#own-documents:checked:not(:disabled)");
}

const answer = (on) => on.locator(".turn.assistant").last();

test("one's own documents are asked, and the answer cites them, after a reload and from the list too", async () => {
  await page.waitForSelector("#own-documents:disabled");
  assert.match(await page.textContent(".own .hint"), /no documents yet/);
  await gives(page, "boathouse.md", LEASES);
  await ask(page, "When does the lease of the boathouse end?");
  assert.match(await answer(page).textContent(), /ninth of March/);
  assert.match(await answer(page).locator(".sources").textContent(), /From your documents\[1\] boathouse\.md/);
  const download = page.waitForEvent("download");
  await answer(page).locator(".sources a").first().click();
  assert.equal(readFileSync(await (await download).path(), "utf8"), LEASES);
  await page.screenshot({ path: join(OUT, "conversations-own-documents.png") });
  await page.reload();
  assert.match(await answer(page).locator(".sources").textContent(), /boathouse\.md/, "this tab remembers it");
  assert.ok(await page.isChecked("#own-documents"), "and the choice");
  await page.click(".talks button.new");
  await page.click(".talks button.open");
  await page.waitForSelector(".turn.assistant .sources");
  assert.match(await answer(page).locator(".sources").textContent(), /boathouse\.md/, "and the conversation itself");
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 120)}`), []);
});

test("what a document says now is answered: not its version before, and nothing once it is gone", async () => {
  await gives(page, "boathouse.md", LEASES);
  await ask(page, "When does the lease of the boathouse end?");
  assert.match(await answer(page).textContent(), /ninth of March/);
  await page.evaluate(async (text) => {
    const { data } = await (await fetch("/v1/files")).json();
    const form = new FormData();
    form.append("file", new Blob([text], { type: "text/plain" }), "boathouse.md");
    form.append("purpose", "user_data");
    const stored = await fetch(`/v1/files/${data[0].id}/content`, { method: "POST", body: form });
    if (!stored.ok) throw new Error(await stored.text());
  }, LEASES.replace("ninth of March", "last day of October"));
  await ask(page, "And when does the lease of the boathouse end now?");
  assert.match(await answer(page).textContent(), /last day of October/);
  assert.doesNotMatch(await answer(page).textContent(), /ninth of March/);
  await page.evaluate(async () => {
    const { data } = await (await fetch("/v1/files")).json();
    await fetch(`/v1/files/${data[0].id}`, { method: "DELETE" });
  });
  await ask(page, "When does the lease of the boathouse end?");
  assert.equal(await answer(page).locator(".sources").count(), 0);
  assert.doesNotMatch(await answer(page).textContent(), /October|March/);
});

test("without the choice the documents stay out of it, and one that cannot be read hinders nothing", async () => {
  await gives(page, "boathouse.md", LEASES);
  await page.uncheck("#own-documents");
  await ask(page, "When does the lease of the boathouse end?");
  assert.doesNotMatch(await answer(page).textContent(), /ninth of March/);
  await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 2, height: 2 });
    const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const form = new FormData();
    form.append("file", picture, "dot.png");
    form.append("purpose", "user_data");
    const stored = await fetch("/v1/files", { method: "POST", body: form });
    if (!stored.ok) throw new Error(await stored.text());
  });
  await page.check("#own-documents");
  await ask(page, "When does the lease of the boathouse end?");
  assert.match(await answer(page).textContent(), /ninth of March/);
});

test("somebody else sees none of it", async (t) => {
  await ask(page, "What is a lease?");
  await listed(page, ["What is a lease?"]);
  const stranger = await opened();
  t.after(() => stranger.context.close());
  await stranger.page.waitForSelector(".talks .none");
  assert.deepEqual(await titles(stranger.page), []);
});

test("the page is there in Chinese, with the same conversations", async (t) => {
  await ask(page, "What is a lease?");
  await listed(page, ["What is a lease?"]);
  await page.click("header.site a[hreflang=zh-Hans]");
  await page.waitForURL("**/zh/conversations");
  await listed(page, ["What is a lease?"]);
  assert.equal(await page.textContent("h1"), "会话");
  await page.click('.talks button[data-deed="rename"]');
  assert.equal(await page.textContent("dialog.rename h2"), "重命名会话");
  await page.fill("dialog.rename input", "租约");
  await page.click("dialog.rename button[value=yes]");
  await listed(page, ["租约"]);
  await page.click("header.site a[hreflang=en]");
  await page.waitForURL(/\/conversations$/);
  await listed(page, ["租约"]);
  for (const theme of ["light", "dark"]) {
    const view = await openPage(browser, site.url, { theme, width: 320, height: 640 });
    t.after(() => view.context.close());
    await view.page.setExtraHTTPHeaders(network());
    await view.page.goto("/zh/conversations");
    await view.page.waitForSelector("text=还没有会话。提出第一个问题即可开始。");
    const { scroll, client } = await view.page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
    assert.ok(scroll <= client, `${theme}: ${scroll} px wide in ${client} px`);
    await view.page.screenshot({ path: join(OUT, `conversations-zh-${theme}-320.png`) });
    await view.page.evaluate(AXE);
    const { violations } = await view.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 120)}`), [], theme);
  }
});

test("the page is accessible in both themes and sizes, and nothing is blocked by the policy", async () => {
  for (const theme of ["light", "dark"]) {
    for (const size of SIZES) {
      const view = await opened({ theme, ...size });
      const where = `${theme}, ${size.width} px`;
      await ask(view.page, "How do I set an OpenAI key?");
      await listed(view.page, ["How do I set an OpenAI key?"]);
      assert.deepEqual(await view.violations(), [], where);
      assert.deepEqual(view.faults, [], where);
      const { scroll, client } = await view.page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
      assert.ok(scroll <= client, `${where}: ${scroll} px wide in ${client} px`);
      await view.page.screenshot({ path: join(OUT, `conversations-${theme}-${size.width}.png`) });
      await view.page.evaluate(AXE);
      const { violations } = await view.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 120)}`), [], where);
      await view.context.close();
    }
  }
});
