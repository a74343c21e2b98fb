// The chat against a server that misbehaves.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { openPage, startBrowser } from "./browser.mjs";
import { startFakeServer } from "./fake-server.mjs";

let server;
let browser;
let view;
let page;

before(async () => {
  browser = await startBrowser();
});

after(() => browser?.close());

beforeEach(async (context) => {
  server = await startFakeServer();
  view = await openPage(browser, server.url, { permissions: ["clipboard-read", "clipboard-write"] });
  page = view.page;
  context.after(async () => {
    await view.context.close();
    await server.stop();
  });
  await page.goto("/", { waitUntil: "networkidle" });
});

async function ask(question) {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
}

const last = (selector) => page.locator(".turn.assistant").last().locator(selector);
const status = () => page.textContent("[role=status]");
const until = (text) => page.waitForFunction((wanted) => document.querySelector("[role=status]").textContent === wanted, text);
const eventually = async (condition, what) => {
  for (let tries = 0; tries < 200; tries += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(what);
};

test("an answer arrives as safe elements, and the conversation goes on", async () => {
  await ask("keys");
  await until("The answer is complete.");
  assert.equal(await last("blockquote").textContent(), "Provider keys are Worker secrets.");
  assert.equal(await last("ol li").count(), 2);
  assert.equal(await last("pre code").count(), 1);
  assert.deepEqual((await last("thead th").allTextContents()).map((text) => text.trim()), ["name", "size"]);
  const links = await last(".said a").evaluateAll((all) => all.map((a) => [a.getAttribute("href"), a.rel]));
  assert.deepEqual(links, [
    ["/about#keys-never-reach-the-browser", "noopener nofollow ugc"],
    ["https://example.org/a", "noopener nofollow ugc"],
    ["mailto:a@example.org", "noopener nofollow ugc"],
  ]);
  await ask("and more");
  await eventually(() => server.state.asked.length === 2, "the second question was not sent");
  assert.deepEqual(server.state.asked[1].messages.map(({ role }) => role), ["user", "assistant", "user"]);
  assert.match(server.state.asked[1].messages[1].content, /Provider keys are Worker secrets/);
  assert.equal(server.state.asked[1].stream, true);
});

test("what a model writes can neither run nor load anything", async () => {
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await ask("hostile");
  await until("The answer is complete.");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await last(".said :is(img, script, iframe, style)").count(), 0);
  const links = await last(".said a[href]").evaluateAll((all) => all.map((a) => a.getAttribute("href")));
  assert.deepEqual(links, ["https://evil.example/p.png", "https://ok.example/"]);
  assert.ok(requests.every((url) => url.startsWith(server.url)), requests.join("\n"));
  assert.deepEqual(await view.violations(), []);
});

test("escaped punctuation is shown as it was meant", async () => {
  await ask("escaped");
  await until("The answer is complete.");
  assert.equal(await last(".said").textContent(), "rate_limited at http://127.0.0.1:11434/v1 *not bold*");
  assert.equal(await last(".said a").count(), 0);
});

test("the built-in answerer is marked, and the mark goes when another alias is chosen", async () => {
  assert.match(await page.textContent(".hint"), /^Built-in answers, no model: .* OPENAI_API_KEY=/);
  await ask("keys");
  await until("The answer is complete.");
  assert.equal(await last(".who").textContent(), "Site assistant · built-in, no model");
  await page.selectOption("#model", "claude");
  assert.equal(await page.isVisible(".hint"), false);
  assert.deepEqual(await page.locator("#model option").allTextContents(), ["Site assistant", "Anthropic alias"]);
});

test("an alias of Anthropic's dialect is asked in it", async () => {
  await page.selectOption("#model", "claude");
  await ask("keys");
  await until("The answer is complete.");
  assert.equal(await last(".who").textContent(), "Anthropic alias");
  assert.equal(await last("blockquote").textContent(), "Provider keys are Worker secrets.");
  const [asked] = server.state.asked;
  assert.equal(asked.model, "claude");
  assert.ok(asked.max_tokens > 0);
});

test("Escape and the button stop an answer, what arrived stays, and the server sees the connection close", async () => {
  await ask("stall");
  await until("The answer is arriving …");
  await page.keyboard.press("Escape");
  await until("You stopped the answer.");
  assert.equal(await last(".said").textContent(), "The beginning ");
  assert.equal(await last(".problem").count(), 0);
  await eventually(() => server.state.closed.length === 1, "the connection stayed open");

  await ask("stall again");
  await until("The answer is arriving …");
  await page.click(".stop");
  await until("You stopped the answer.");
  assert.equal(await page.evaluate(() => document.activeElement.id), "question");
});

test("a stream without its end is shown as incomplete, whichever way it broke, and can be tried again", async () => {
  for (const [word, text] of [["cut", "Half an answer"], ["markless", "An answer without its end mark"]]) {
    await ask(word);
    await page.waitForFunction((count) => document.querySelectorAll(".problem").length === count, 1);
    assert.equal(await last(".said").textContent(), text);
    assert.equal(await last(".problem-title").textContent(), "The answer ended too early");
    assert.match(await last(".problem-facts").textContent(), /req_fake/);
    const before = server.state.asked.length;
    await last(".problem button").click();
    await eventually(() => server.state.asked.length === before + 1, "the question was not sent again");
    assert.equal(server.state.asked.at(-1).messages.at(-1).content, word);
    assert.ok(!server.state.asked.at(-1).messages.some(({ content }) => content === text), "the broken answer must not be repeated to the model");
    await page.waitForSelector(".problem");
    await page.goto("/", { waitUntil: "networkidle" });
  }
});

test("an error inside a stream is told from the catalogue, in both dialects", async () => {
  for (const alias of ["site", "claude"]) {
    await page.selectOption("#model", alias);
    await ask("inband");
    await page.waitForSelector(".problem");
    const catalogue = await (await fetch(`${server.url}/gatehouse/errors.en.json`)).json();
    assert.equal(await last(".problem-title").textContent(), catalogue.upstream_stalled.title);
    assert.match(await last("[role=alert]").textContent(), new RegExp(catalogue.upstream_stalled.fix.slice(0, 20)));
    assert.equal(await last(".problem-facts a").getAttribute("href"), "/docs/errors/upstream_stalled");
    assert.equal(await last(".said").textContent(), "It began well, but ");
    await page.goto("/", { waitUntil: "networkidle" });
  }
});

test("a refusal tells cause, next step, wait and request id, and the retry opens when it can succeed", async () => {
  await ask("limit");
  const button = page.locator(".problem button");
  await button.waitFor();
  assert.match(await button.textContent(), /^Try again in [12] seconds?$/);
  assert.equal(await button.getAttribute("aria-disabled"), "true");
  await button.click({ force: true });
  assert.equal(server.state.asked.length, 1, "the button must not send before its time");
  assert.equal(await page.locator(".problem code").allTextContents().then((all) => all.join(" ")), "rate_limited req_fake");
  await page.waitForFunction(() => document.querySelector(".problem button")?.textContent === "Try again");
  assert.equal(await status(), "You can try again now.");
  await button.click();
  await until("The answer is complete.");
});

test("an answer that is no API answer, and no answer at all, are told in plain words", async () => {
  await ask("page");
  await page.waitForSelector(".problem");
  assert.equal(await last(".problem-title").textContent(), "The site answered in a way this page does not understand");
  await view.context.setOffline(true);
  await ask("keys");
  await page.waitForFunction(() => document.querySelectorAll(".problem").length === 2);
  assert.equal(await last(".problem-title").textContent(), "The site could not be reached");
  await view.context.setOffline(false);
  await last(".problem button").click();
  await until("The answer is complete.");
});

test("Enter sends, Shift and Enter makes a line, an input method's Enter does not send", async () => {
  await page.focus("#question");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  assert.equal(await page.inputValue("#question"), "one\ntwo");
  await page.dispatchEvent("#question", "keydown", { key: "Enter", isComposing: true });
  assert.equal(server.state.asked.length, 0);
  await page.keyboard.press("Enter");
  await until("The answer is complete.");
  assert.equal(server.state.asked[0].messages[0].content, "one\ntwo");
  assert.equal(await page.evaluate(() => document.activeElement.id), "question", "focus stays where the person writes");
});

test("a second question waits until the first is answered", async () => {
  await ask("stall");
  await until("The answer is arriving …");
  await ask("second");
  assert.equal(await status(), "The answer is still arriving. Press Escape to stop it.");
  assert.equal(await page.inputValue("#question"), "second");
  assert.equal(server.state.asked.length, 1);
});

test("copying gives the Markdown of the answer", async () => {
  await ask("keys");
  await until("The answer is complete.");
  await last(".tools button >> text=Copy").click();
  await until("Copied to the clipboard.");
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^Here is \*\*what the site says\*\*/);
});

test("a retry replaces the answer, in the log and in the conversation", async () => {
  await ask("keys");
  await until("The answer is complete.");
  await last(".tools button >> text=Try again").click();
  await eventually(() => server.state.asked.length === 2, "the question was not sent again");
  await page.waitForSelector(".turn .tools");
  assert.equal(await page.locator(".turn.assistant").count(), 1);
  assert.equal(await page.locator(".turn.user").count(), 1);
  assert.equal(server.state.asked[1].messages.length, 1);
});

test("starting over forgets the conversation, a running answer included", async () => {
  assert.equal(await page.isVisible(".restart"), false);
  await ask("keys");
  await until("The answer is complete.");
  await ask("stall");
  await until("The answer is arriving …");
  await page.click(".restart");
  assert.equal(await page.locator(".turn").count(), 0);
  assert.equal(await status(), "A new conversation begins.");
  await eventually(() => server.state.closed.includes("stall"), "the answer was not stopped");
  await ask("keys");
  await until("The answer is complete.");
  assert.equal(server.state.asked.at(-1).messages.length, 1);
  assert.equal(await page.locator(".turn.assistant").count(), 1);
});

test("the log is no live region; one polite line and alerts speak", async () => {
  assert.equal(await page.getAttribute("[role=log]", "aria-live"), "off");
  assert.equal(await page.locator("[role=status]").count(), 1);
  await ask("inband");
  await page.waitForSelector("[role=alert]");
  assert.equal(await page.locator("[role=alert] button").count(), 0, "the countdown must not be read aloud every second");
});

test("a long answer is shown from its question on, without moving the page", async () => {
  await ask("keys");
  await until("The answer is complete.");
  await ask("long");
  await until("The answer is complete.");
  const distance = await page.evaluate(() => {
    const questions = document.querySelectorAll(".turn.user");
    return questions[1].getBoundingClientRect().top - document.querySelector(".log").getBoundingClientRect().top;
  });
  assert.ok(Math.abs(distance) < 2, `the question stands ${distance} px below the top`);
  assert.ok((await view.shift()) < 0.01, `layout shift of ${await view.shift()}`);
});

test("on a phone an error is shown from its beginning", async () => {
  await page.setViewportSize({ width: 360, height: 500 });
  await ask("inband");
  await page.waitForSelector(".problem");
  const { log, title } = await page.evaluate(() => ({
    log: document.querySelector(".log").getBoundingClientRect().top,
    title: document.querySelector(".problem-title").getBoundingClientRect().top,
  }));
  assert.ok(title >= log, `the title is ${log - title} px above the log`);
});

test("a reader who scrolls is left alone while the answer arrives", async () => {
  await ask("keys");
  await until("The answer is complete.");
  await ask("long");
  await until("The answer is arriving …");
  await page.evaluate(() => {
    document.querySelector(".log").scrollTop = 0;
  });
  await until("The answer is complete.");
  assert.equal(await page.evaluate(() => document.querySelector(".log").scrollTop), 0);
});

test("an offered question is asked by one click", async () => {
  await page.click(".suggestion >> nth=0");
  await until("The answer is complete.");
  assert.equal(server.state.asked[0].messages[0].content, "How do I set an OpenAI key?");
  assert.equal(await page.locator(".suggestions").count(), 0);
});

test("the Chinese page speaks Chinese, errors included", async () => {
  await page.goto("/zh", { waitUntil: "networkidle" });
  await ask("limit");
  await page.waitForSelector(".problem");
  const catalogue = await (await fetch(`${server.url}/gatehouse/errors.zh.json`)).json();
  assert.equal(await last(".problem-title").textContent(), catalogue.rate_limited.title);
  assert.match(await last(".problem button").textContent(), /秒后可重试$/);
});
