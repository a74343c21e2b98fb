// What documents can do, on the pages and over the real Worker: details, shares between two visitors, links, versions,
// comments, retention.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { OUT, openPage, realSite, startBrowser } from "./browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = [
  { width: 320, height: 640 },
  { width: 1280, height: 900 },
];

let site;
let browser;

before(async () => {
  [browser, site] = await Promise.all([startBrowser(), realSite()]);
});
after(async () => {
  await browser?.close();
  await site?.stop();
});

let visitors = 0;

/** A visitor in a browser and a network of their own. */
async function visit(t, path = "/documents", options = {}) {
  const view = await openPage(browser, site.url, options);
  t.after(() => view.context.close());
  view.page.setDefaultTimeout(60_000);
  await view.context.setExtraHTTPHeaders({ "cf-connecting-ip": `100.69.${(visitors += 1)}.1` });
  await view.page.goto(path, { waitUntil: "networkidle" });
  return view;
}

const text = (name, content) => ({ name, mimeType: "text/plain", buffer: Buffer.from(content) });

async function store(page, name, content) {
  await page.setInputFiles("#file", text(name, content));
  await page.waitForSelector(`.listing th >> text=${name}`);
}

/** Opens the details of the document of that name. */
async function details(page, name) {
  await page.click(`tr:has-text("${name}") button[data-details]`);
  await page.waitForSelector("dialog.details[open]");
  return page.locator("dialog.details");
}

/** Waits for a word in the status line of the dialog. */
const says = (page, wanted) => page.waitForFunction((words) => document.querySelector("dialog.details .status")?.textContent === words, wanted);

const close = (page) => page.click("dialog.details .head button");

/** The id that a page shows to its visitor, who becomes known for it. */
async function idOf(page) {
  await page.click("button.identify");
  const id = await page.textContent(".identity code");
  assert.match(id, /^vis_/);
  return id;
}

async function share(dialog, fields) {
  const form = dialog.locator("form:has(select[name=with])");
  await form.locator("[name=with]").selectOption(fields.with);
  for (const name of ["id", "passphrase", "expires_at"]) if (fields[name]) await form.locator(`[name=${name}]`).fill(fields[name]);
  if (fields.right) await form.locator("[name=right]").selectOption(fields.right);
  await form.locator("button[type=submit]").click();
  await says(dialog.page(), "It is shared.");
}

/** The address that is shown once. */
const address = (dialog) => dialog.locator(".told-once input").inputValue();

async function downloaded(page, locator) {
  const download = page.waitForEvent("download");
  await locator.click();
  const file = await download;
  return { name: file.suggestedFilename(), content: await readFile(await file.path(), "utf8") };
}

const answerYes = (page) => page.click("dialog.question button.danger");

/** Nothing that axe finds, nothing that is blocked, nothing that sticks out. */
async function accessible(view, where) {
  const { page } = view;
  await page.screenshot({ path: join(OUT, `${where}.png`) });
  assert.deepEqual(await view.violations(), [], where);
  assert.deepEqual(view.faults, [], where);
  const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
  assert.ok(scroll <= client, `${where}: ${scroll} px wide in ${client} px`);
  const inside = await page.evaluate(() => [...document.querySelectorAll("dialog[open]")].map((dialog) => dialog.scrollWidth - dialog.clientWidth));
  assert.ok(inside.every((more) => more <= 0), `${where}: a dialog is too wide`);
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`), [], where);
}

test("what one visitor shares another reads and comments on, until the share ends", async (t) => {
  const first = await visit(t);
  const second = await visit(t);
  const id = await idOf(second.page);
  await store(first.page, "minutes.txt", "What was said.");
  let dialog = await details(first.page, "minutes.txt");
  await share(dialog, { with: "withPrincipal", id, right: "comment" });
  await dialog.locator(`.rows code >> text=${id}`).waitFor();
  await close(first.page);

  const { page } = second;
  await page.reload();
  await page.waitForSelector(".others th >> text=minutes.txt");
  assert.equal(await page.textContent(".others td[data-label=Right]"), "You may comment");
  assert.deepEqual(await downloaded(page, page.locator(".others a >> text=Download")), { name: "minutes.txt", content: "What was said." });
  dialog = await details(page, "minutes.txt");
  assert.equal(await dialog.locator("h3").count(), 2, "they may neither edit nor share it");
  await dialog.locator("textarea").fill("I was not there.");
  await dialog.locator("button >> text=Comment").click();
  await says(page, "Your comment is stored.");

  // Its owner reads it, and ends the share.
  dialog = await details(first.page, "minutes.txt");
  await dialog.locator(".said >> text=I was not there.").waitFor();
  assert.equal(await dialog.locator(".meta code").textContent(), id);
  await dialog.locator(`button[aria-label="End: ${id} · read and comment"]`).click();
  await answerYes(first.page);
  await says(first.page, "The share has ended.");
  await dialog.locator("text=Nobody but you.").waitFor();

  // Whoever has it open is told, and it is gone from the list.
  const theirs = page.locator("dialog.details");
  await theirs.locator("textarea").fill("And now?");
  await theirs.locator("button >> text=Comment").click();
  await theirs.locator(".problem-title >> text=There is no such document").waitFor();
  await close(page);
  await page.reload();
  await page.waitForSelector("text=Nothing is shared with you.");
  assert.deepEqual([...first.faults, ...second.faults], []);
});

test("the script of the details comes with the first that are opened", async (t) => {
  const { page } = await visit(t);
  await store(page, "a.txt", "a");
  const scripts = [];
  page.on("request", (request) => request.url().endsWith(".js") && scripts.push(request.url()));
  await page.reload({ waitUntil: "networkidle" });
  // By what they say and not by their names, which are the bundler's.
  const speaking = async (urls) => (await Promise.all(urls.map(async (url) => (await fetch(url)).text()))).filter((code) => code.includes("Somebody else was faster"));
  const first = [...scripts];
  assert.ok(first.length > 0);
  assert.equal((await speaking(first)).length, 0, first.join());
  await details(page, "a.txt");
  const later = scripts.filter((url) => !first.includes(url));
  assert.equal((await speaking(later)).length, 1, later.join());
  assert.ok(later.every((url) => url.endsWith(".immutable.js")), later.join());

  // Where it cannot be had, that is told, and can be tried again.
  await page.reload({ waitUntil: "networkidle" });
  await page.route("**/gatehouse/details*", (route) => route.abort());
  await page.click("button[data-details]");
  await page.waitForSelector(".problems >> text=The site could not be reached");
});

test("the dialog is used with the keyboard alone, and gives the focus back", async (t) => {
  const { page } = await visit(t);
  await store(page, "a.txt", "a");
  await page.focus("button[data-details]");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog.details[open]");
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.dataset.details || document.activeElement.textContent);
  assert.equal(await focused(), "details-title");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Close");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog.details", { state: "detached" });
  await page.waitForFunction(() => document.activeElement.dataset.details !== undefined);

  // After a change the list is another one, and the focus is still where it was.
  const dialog = await details(page, "a.txt");
  await dialog.locator("input[name=filename]").fill("b.txt");
  await dialog.locator("input[name=tags]").fill("later, draft，later");
  await page.keyboard.press("Enter");
  await says(page, "The changes are saved.");
  assert.equal(await dialog.locator("input[name=tags]").inputValue(), "draft, later");
  assert.equal(await dialog.locator("h2").textContent(), "b.txt");
  await page.keyboard.press("Escape");
  await page.waitForSelector(".listing th >> text=b.txt");
  await page.waitForFunction(() => document.activeElement.dataset.details !== undefined);
});

test("a link opens with its passphrase alone, tells what is wrong, and stays closed after too many", async (t) => {
  const first = await visit(t, "/documents", { permissions: ["clipboard-read", "clipboard-write"] });
  await store(first.page, "plans.txt", "Behind a link.");
  const dialog = await details(first.page, "plans.txt");
  await share(dialog, { with: "withLink", passphrase: "正确的马 battery" });
  const url = await address(dialog);
  assert.match(url, new RegExp(`^${site.url}/shared#[\\w-]{43}$`));
  await dialog.locator('button[aria-label="Copy the address"]').click();
  await says(first.page, "Copied to the clipboard.");
  assert.equal(await first.page.evaluate(() => navigator.clipboard.readText()), url);
  await close(first.page);
  await details(first.page, "plans.txt");
  assert.equal(await dialog.locator(".told-once input").count(), 0, "it is shown once");

  const reader = await visit(t, url.slice(site.url.length));
  const { page } = reader;
  const asked = [];
  page.on("request", (request) => !request.isNavigationRequest() && asked.push(request.url()));
  await page.waitForSelector("#passphrase");
  assert.equal(await page.evaluate(() => document.activeElement.id), "passphrase");
  const open = async (passphrase) => {
    await page.fill("#passphrase", passphrase);
    await page.keyboard.press("Enter");
  };
  await open("wrong");
  await page.waitForSelector(".wrong >> text=That is not the passphrase.");
  await open("正确的马 battery");
  await page.waitForSelector("h1 >> text=plans.txt");
  assert.match(await page.textContent(".opened"), /14 bytes.*text\/plain/s);
  assert.deepEqual(await downloaded(page, page.locator(".opened button")), { name: "plans.txt", content: "Behind a link." });
  const token = url.split("#")[1];
  assert.ok(asked.length > 2 && !asked.some((url) => url.includes(token)), "no path has the token");
  if (site.output) assert.ok(!site.output().includes(token), "no log has the token");

  // The page in the other language opens it too.
  await page.click("header.site a[hreflang]");
  await page.waitForURL(`**/zh/shared#${token}`);
  await page.waitForSelector("text=此文档需要口令才能打开。");

  await page.goto(url);
  await page.reload();
  for (let wrong = 0; wrong < 10; wrong += 1) {
    const input = await page.waitForSelector("#passphrase");
    const answered = page.waitForResponse((response) => response.url().includes("/v1/shared/"));
    await open(`wrong ${wrong}`);
    if ((await answered).status() === 429) break;
    // Each answer draws the form anew; what is written into the old one is lost.
    await page.waitForFunction((old) => !old.isConnected, input);
  }
  await page.reload();
  await page.waitForSelector("#passphrase, .problem");
  if (await page.isVisible("#passphrase")) await open("正确的马 battery");
  await page.waitForSelector(".problem-title >> text=This link is closed for a while");
  assert.match(await page.textContent(".problem button"), /Try again in \d+ minutes/);
  assert.deepEqual(reader.faults, []);
});

test("a link without a passphrase is ended, and says so even to who has it open", async (t) => {
  const first = await visit(t);
  await store(first.page, "open.txt", "For everybody.");
  const dialog = await details(first.page, "open.txt");
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 16);
  await share(dialog, { with: "withLink", expires_at: tomorrow });
  const url = await address(dialog);
  assert.match(await dialog.locator("li:has-text('whoever has a link')").textContent(), /until /);

  const { page } = await visit(t, url.slice(site.url.length));
  await page.waitForSelector("h1 >> text=open.txt");
  assert.deepEqual(await downloaded(page, page.locator(".opened button")), { name: "open.txt", content: "For everybody." });
  await dialog.locator("button >> text=End").click();
  await answerYes(first.page);
  await says(first.page, "The share has ended.");
  await page.click(".opened button");
  await page.waitForSelector(".problem-title >> text=This link opens nothing any more");
  await page.goto("/shared#abc");
  await page.waitForSelector(".problem-title >> text=This address is not complete");
});

test("a version is stored over what was seen, and a conflict is told and resolved", async (t) => {
  const left = await visit(t);
  await store(left.page, "draft.txt", "one");
  const right = await left.context.newPage();
  await right.goto("/documents", { waitUntil: "networkidle" });
  const dialogs = [await details(left.page, "draft.txt"), await details(right, "draft.txt")];
  const send = async (dialog, content) => {
    await dialog.locator("input[type=file]").setInputFiles(text("draft.txt", content));
    await dialog.locator("button >> text=Store").click();
  };
  await send(dialogs[0], "two, from the left");
  await says(left.page, "Version 2 is stored.");

  await send(dialogs[1], "two, from the right");
  const box = dialogs[1].locator(".conflict");
  await box.waitFor();
  assert.match(await box.textContent(), /Version 2 was stored meanwhile \(18 bytes, /);
  assert.equal(await right.evaluate(() => document.activeElement.textContent), "Somebody else was faster");
  assert.equal((await downloaded(right, box.locator("a"))).content, "two, from the left");
  await box.locator("button >> text=Leave theirs").click();
  await says(right, "Their version stays.");

  await send(dialogs[0], "three, from the left");
  await says(left.page, "Version 3 is stored.");
  await send(dialogs[1], "three, from the right");
  await box.locator("button >> text=Store mine").click();
  await says(right, "Version 4 is stored.");
  const rows = dialogs[1].locator("section:has(h3:text('Versions')) .rows li");
  await rows.nth(3).waitFor();
  assert.match(await rows.nth(0).textContent(), /Version 4 \(the present one\) · 21 bytes/);
  assert.equal(await rows.nth(0).locator("button").count(), 0, "the present one is the document itself");
  assert.equal((await downloaded(right, rows.nth(3).locator("a"))).content, "one");
  await rows.nth(3).locator("button").click();
  await answerYes(right);
  await says(right, "Version 1 was deleted.");
  await right.waitForFunction(() => document.querySelectorAll("dialog.details section:nth-of-type(2) .rows li").length === 3);

  // What is there already, as after an answer that was lost, is no conflict.
  await close(left.page);
  await send(await details(left.page, "draft.txt"), "five");
  await says(left.page, "Version 5 is stored.");
  await send(dialogs[1], "five");
  await says(right, "Version 5 is stored.");
});

test("a document that must stay is not deleted, and the page says until when", async (t) => {
  const { page } = await visit(t);
  await store(page, "contract.txt", "signed");
  const dialog = await details(page, "contract.txt");
  const until = new Date(Date.now() + 2 * 86_400_000);
  await dialog.locator("input[name=keep_until]").fill(until.toISOString().slice(0, 16));
  await dialog.locator("button >> text=Save").click();
  await says(page, "The changes are saved.");
  await dialog.locator("input[name=keep_until]").fill("2100-01-01T00:00");
  await dialog.locator("button >> text=Save").click();
  await dialog.locator(".problem-detail >> text=Use a time to come").waitFor();
  await close(page);
  await page.click("td button >> text=Delete");
  await page.click("dialog.confirm button.danger");
  await page.waitForSelector(".problem >> text=It stays until");
  const told = await page.textContent(".problem");
  assert.match(told, new RegExp(`It stays until .*${until.getUTCFullYear()}.*; until then nobody can delete it\\.`));
  assert.equal(await page.locator(".problem button").count(), 0, "there is nothing to try again");
  await page.waitForSelector(".listing th >> text=contract.txt");
});

test("comments are deleted by their author", async (t) => {
  const { page } = await visit(t);
  await store(page, "a.txt", "a");
  const dialog = await details(page, "a.txt");
  await dialog.locator("textarea").fill("Two\nlines <b>and</b> no markup");
  await dialog.locator("button >> text=Comment").click();
  await says(page, "Your comment is stored.");
  assert.equal(await dialog.locator(".said").textContent(), "Two\nlines <b>and</b> no markup");
  assert.match(await dialog.locator(".meta").textContent(), /^you · /);
  await dialog.locator(".comments button").click();
  await answerYes(page);
  await says(page, "The comment was deleted.");
  await dialog.locator("text=None yet.").waitFor();
});

for (const theme of ["light", "dark"]) {
  for (const size of SIZES) {
    test(`every screen is accessible: ${theme}, ${size.width} px`, async (t) => {
      const name = (screen) => `sharing-${screen}-${theme}-${size.width}`;
      const look = { theme, ...size };
      const view = await visit(t, "/documents", look);
      const { page } = view;
      await accessible(view, name("empty"));
      await store(page, "minutes of the meeting in January.txt", "What was said.");
      await accessible(view, name("list"));
      const dialog = await details(page, "minutes");
      await dialog.locator("input[name=tags]").fill("meeting, january");
      await dialog.locator("button >> text=Save").click();
      await says(page, "The changes are saved.");
      await dialog.locator("textarea").fill("It was in February, I think.");
      await dialog.locator("button >> text=Comment").click();
      await says(page, "Your comment is stored.");
      await accessible(view, name("details"));
      await dialog.locator("input[type=file]").setInputFiles(text("minutes.txt", "What was meant."));
      await dialog.locator("button >> text=Store").click();
      await says(page, "Version 2 is stored.");
      await dialog.locator(".rows li").nth(1).waitFor();
      await accessible(view, name("versions"));
      await share(dialog, { with: "withVisitors", right: "comment" });
      await share(dialog, { with: "withLink", passphrase: "correct horse" });
      await accessible(view, name("shares"));
      const url = await address(dialog);
      await dialog.locator("button >> text=End").first().click();
      await accessible(view, name("question"));
      await page.click("dialog.question button.quiet");
      await dialog.locator("textarea").scrollIntoViewIfNeeded();
      await accessible(view, name("comments"));

      const other = await visit(t, "/documents", look);
      await idOf(other.page);
      await other.page.reload({ waitUntil: "networkidle" });
      await other.page.waitForSelector(".others table");
      await accessible(other, name("others"));
      await details(other.page, "minutes");
      await accessible(other, name("their-details"));
      await close(page);

      const reader = await visit(t, url.slice(site.url.length), look);
      await reader.page.waitForSelector("#passphrase");
      await reader.page.fill("#passphrase", "not it");
      await reader.page.keyboard.press("Enter");
      await reader.page.waitForSelector(".wrong >> text=That is not");
      await accessible(reader, name("passphrase"));
      await reader.page.fill("#passphrase", "correct horse");
      await reader.page.keyboard.press("Enter");
      await reader.page.waitForSelector("h1 >> text=minutes");
      await accessible(reader, name("link"));
      await reader.page.goto("/shared#abc");
      await reader.page.waitForSelector(".problem");
      await accessible(reader, name("incomplete"));

      // In Chinese, over the same document.
      await page.goto("/zh/documents", { waitUntil: "networkidle" });
      assert.equal(await page.textContent("h1"), "文档存放");
      await accessible(view, name("zh-list"));
      await details(page, "minutes");
      assert.deepEqual(await page.locator("dialog.details h3").allTextContents(), ["概况", "版本", "共享", "评论"]);
      await accessible(view, name("zh-details"));
    });
  }
}
