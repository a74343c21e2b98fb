// What every visitor must be able to do. Against the real Worker.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { CANARIES } from "../edge/support/config.mjs";
import { startProvider } from "../edge/support/fake-provider.mjs";
import { openPage, realSite, startBrowser } from "./browser.mjs";

let site;
let browser;

before(async () => {
  site = await realSite();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await site?.stop();
});

async function visit(path, options) {
  const view = await openPage(browser, site.url, options);
  await view.page.goto(path, { waitUntil: "networkidle" });
  return view;
}

test("a first question is answered with a link into the site's own pages", async () => {
  const { page, context, faults, violations, shift } = await visit("/");
  await page.fill("#question", "Do keys ever reach the browser?");
  await page.press("#question", "Enter");
  await page.waitForSelector(".turn.assistant .tools");
  assert.equal(await page.textContent("[role=status]"), "The answer is complete.");
  const link = page.locator(".turn.assistant .said a[href^='/']").first();
  const path = await link.getAttribute("href");
  await page.goto(path);
  const anchor = path.split("#")[1];
  if (anchor) assert.equal(await page.locator(`[id="${decodeURIComponent(anchor)}"]`).count(), 1, `${path} has no such section`);
  assert.deepEqual(faults, []);
  assert.deepEqual(await violations(), []);
  assert.ok((await shift()) < 0.01);
  await context.close();
});

test("an answer of a model goes on after a reload, and a stop reaches the provider", async (context) => {
  if (process.env.GATEHOUSE_URL) return context.skip("needs a provider of its own");
  const provider = await startProvider();
  context.after(() => provider.stop());
  const own = await realSite({ OPENAI_BASE_URL: `${provider.url}/v1`, OPENAI_MODEL: "held", MASTER_KEY: CANARIES.MASTER_KEY });
  context.after(() => own.stop());
  const { page, context: tab, faults } = await openPage(browser, own.url);
  await page.goto("/", { waitUntil: "networkidle" });
  const said = async () => (await page.locator(".turn.assistant .said").last().textContent()).trim();
  const ask = async () => {
    const asked = provider.next("held");
    await page.fill("#question", "Hello?");
    await page.press("#question", "Enter");
    const seen = await asked;
    await page.waitForFunction(() => [...document.querySelectorAll(".turn.assistant .said")].at(-1)?.textContent.includes("Answer"));
    return seen;
  };

  const seen = await ask();
  // In between the visitor becomes one who is known.
  const other = await tab.newPage();
  await other.goto("/documents", { waitUntil: "networkidle" });
  await other.setInputFiles("#file", { name: "hello.txt", mimeType: "text/plain", buffer: Buffer.from("hello") });
  await other.waitForSelector("th >> text=hello.txt");
  await page.reload({ waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => document.querySelector(".turn.assistant .said")?.textContent.includes("Answer"));
  seen.release();
  await page.waitForFunction(() => document.querySelector("[role=status]").textContent === "The answer is complete.");
  assert.equal(await said(), "Answer 1: good day, 世界。");
  assert.equal(provider.requests.length, 1);

  const stopped = await ask();
  await page.click(".stop");
  await stopped.closed();
  assert.equal(await page.textContent("[role=status]"), "You stopped the answer.");
  assert.deepEqual(faults, []);
  await tab.close();
});

test("without JavaScript the same question is answered by a page", async () => {
  const { page, context } = await visit("/", { scripts: false });
  await page.fill("#question", "Do keys ever reach the browser?");
  await page.click("form.gatehouse-chat button[type=submit]");
  await page.waitForURL("**/ask");
  assert.equal(await page.textContent("h1"), "Do keys ever reach the browser?");
  assert.ok((await page.textContent("article.answer")).trim().length > 10);

  // The answer page has the form too; its own policy must let the browser name its origin.
  await page.fill("#question", "How do I set an OpenAI key?");
  await page.click("form.gatehouse-ask button[type=submit]");
  await page.waitForSelector("h1 >> text=How do I set an OpenAI key?");
  await context.close();
});

test("a document is stored, listed and deleted", async () => {
  const { page, context, faults } = await visit("/documents");
  await page.setInputFiles("#file", { name: "hello.txt", mimeType: "text/plain", buffer: Buffer.from("hello") });
  await page.waitForSelector("th >> text=hello.txt");
  await page.reload();
  await page.waitForSelector("th >> text=hello.txt");
  await page.click("td button >> text=Delete");
  await page.click("dialog button.danger");
  await page.waitForSelector("text=No documents yet.");
  assert.deepEqual(faults, []);
  await context.close();
});

test("a missing page is a page", async () => {
  const { page, context } = await openPage(browser, site.url);
  const response = await page.goto("/no-such-page");
  assert.equal(response.status(), 404);
  assert.equal(await page.textContent("h1"), "There is nothing at this address");
  await context.close();
});
