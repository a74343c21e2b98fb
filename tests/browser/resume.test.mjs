// An answer outlives its connection and its page: nothing is lost and nothing comes twice.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { openPage, startBrowser } from "./browser.mjs";
import { INSTEAD, PARTS, startFakeServer } from "./fake-server.mjs";
import { backoff } from "../../tools/site/pages/js/connection.js";

/** What the page shows of a `held` answer before it goes on, and of a whole one. The page drops the space at the end. */
const HALF = PARTS.slice(0, 8).join("").trim();
const WHOLE = PARTS.join("").trim();

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
  server.state.resumable = true;
  view = await openPage(browser, server.url);
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
const said = async () => (await last(".said").textContent()).trim();
const status = () => page.textContent("[role=status]");
const until = (text) => page.waitForFunction((wanted) => document.querySelector("[role=status]").textContent === wanted, text);
const untilSaid = (text) => page.waitForFunction((wanted) => [...document.querySelectorAll(".turn.assistant .said")].at(-1)?.textContent.trim() === wanted, text);
const eventually = async (condition, what) => {
  for (let tries = 0; tries < 1500; tries += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(what);
};

/** Notes every text of the status line from now on. */
const listen = () =>
  page.evaluate(() => {
    window.__said = [];
    const line = document.querySelector("[role=status]");
    new MutationObserver(() => window.__said.push(line.textContent)).observe(line, { childList: true, characterData: true, subtree: true });
  });
const heard = () => page.evaluate(() => window.__said);

test("an answer whose connection is cut goes on: nothing lost, nothing twice, one question", async () => {
  await listen();
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await eventually(() => server.state.attached.length === 1, "the page did not come back");
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.deepEqual(server.state.attached.map(({ after }) => after), [7]);
  assert.equal(server.state.asked.length, 1);
  assert.equal(await last(".problem").count(), 0);
  assert.deepEqual(await heard(), [
    "Waiting for the answer …",
    "The answer is arriving …",
    "Connection lost. Reconnecting …",
    "Connected again. The answer goes on …",
    "The answer is complete.",
  ]);
  assert.deepEqual(server.state.cancelled, []);
});

test("connections that are all torn inside an event bring the whole answer all the same, in both dialects", async () => {
  for (const alias of ["site", "claude"]) {
    await page.selectOption("#model", alias);
    server.state.attached = [];
    // Each connection brings four events and a half.
    server.state.cutAfter = 4;
    await ask("slow");
    await until("The answer is complete.");
    assert.equal(await said(), WHOLE, alias);
    const numbers = server.state.attached.map(({ after }) => after);
    // Of what was sent before a cut the last may be lost on the way, but half an event is never taken for a whole one.
    const gained = numbers.map((number, i) => number - (numbers[i - 1] ?? -1));
    assert.ok(gained.length >= 5 && gained.every((events) => events >= 1 && events <= 4), `${alias}: ${numbers}`);
    await page.click(".restart");
  }
});

test("what a server sends again is not shown again", async () => {
  server.state.forgetful = true;
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await eventually(() => server.state.attached.length === 1, "the page did not come back");
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
});

test("a reload goes on with the answer, shows the conversation, and the next question knows it", async () => {
  await ask("usual first");
  await until("The answer is complete.");
  await ask("held");
  await untilSaid(HALF);
  await page.reload({ waitUntil: "domcontentloaded" });
  await untilSaid(HALF);
  assert.deepEqual(await page.locator(".turn.user .said").allTextContents(), ["usual first", "held"]);
  assert.equal(await page.locator(".turn.assistant blockquote").first().textContent(), "Provider keys are Worker secrets.");
  assert.equal(await page.isVisible(".stop"), true);
  assert.equal(await page.locator(".suggestions").count(), 0);
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.deepEqual(server.state.attached.map(({ after }) => after), [7]);
  assert.equal(server.state.asked.length, 2);
  assert.deepEqual(server.state.cancelled, [], "to leave is not to stop");

  await ask("and more");
  await until("The answer is complete.");
  const told = server.state.asked.at(-1).messages;
  assert.deepEqual(told.map(({ role }) => role), ["user", "assistant", "user", "assistant", "user"]);
  assert.equal(told[3].content.trim(), WHOLE);
  assert.deepEqual(view.faults, []);
  assert.deepEqual(await view.violations(), []);
  assert.ok((await view.shift()) < 0.01, `layout shift of ${await view.shift()}`);
});

test("an answer goes on after a visit to another page, more than once, and after it was whole at the server", async () => {
  await ask("held");
  await untilSaid(HALF);
  await page.goto("/docs/");
  await page.goto("/");
  await untilSaid(HALF);
  await page.goto("/docs/");
  server.release();
  await page.goto("/");
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  // What is complete is not asked for again.
  const before = server.state.attached.length;
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await said(), WHOLE);
  assert.equal(server.state.attached.length, before);
});

test("a page that crashed goes on from what it last wrote down", async () => {
  await ask("held");
  await untilSaid(HALF);
  // The page never hears that it goes away; text and place were written by the clock, and belong together.
  await page.waitForFunction(() => JSON.parse(sessionStorage.getItem("gatehouse.chat:/#0")).turns[0].place?.after === 7);
  await page.evaluate(() => {
    const kept = sessionStorage.getItem("gatehouse.chat:/#0");
    const record = JSON.parse(kept);
    record.turns[0].place.after = 2;
    record.turns[0].answer = "part0 part1 part2 ";
    window.addEventListener("pagehide", () => sessionStorage.setItem("gatehouse.chat:/#0", JSON.stringify(record)));
  });
  server.release();
  await page.reload();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.deepEqual(server.state.attached.map(({ after }) => after), [2]);
});

test("the length limit is told after a reload as it would have been without", async () => {
  await ask("ceiling");
  await untilSaid("Cut at its ceiling");
  await page.reload();
  await untilSaid("Cut at its ceiling");
  server.release();
  await until("The answer reached the length limit and was cut there.");
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await last(".note").textContent(), "The answer reached the length limit and was cut there.");
});

test("to stop is told to the server, with the button, the key, and starting over", async () => {
  for (const stop of [() => page.click(".stop"), () => page.keyboard.press("Escape")]) {
    const before = server.state.cancelled.length;
    await ask("held");
    await untilSaid(HALF);
    await stop();
    await until("You stopped the answer.");
    await eventually(() => server.state.cancelled.length === before + 1, "the server was not told");
    await eventually(() => server.state.connections.size === 0, "the connection stayed open");
    assert.equal(await said(), HALF);
  }
  assert.deepEqual(server.state.cancelled, [...server.state.kept.keys()]);
  await ask("held");
  await untilSaid(HALF);
  await page.click(".restart");
  await eventually(() => server.state.cancelled.length === 3, "the server was not told");
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await page.locator(".turn").count(), 0, "what was begun anew must not come back");
  assert.deepEqual(server.state.attached, []);
});

test("an answer can be stopped while its connection is lost, and stays stopped after a reload", async () => {
  server.state.instead = Array.from({ length: 9 }, () => INSTEAD.busy);
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await page.waitForFunction(() => document.querySelector("[role=status]").textContent.startsWith("Connection lost."));
  await page.click(".stop");
  await until("You stopped the answer.");
  await eventually(() => server.state.cancelled.length === 1, "the server was not told");
  const attached = server.state.attached.length;
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await said(), HALF);
  assert.equal(await last(".note").textContent(), "You stopped the answer.");
  assert.equal(server.state.attached.length, attached);
});

test("an answer that is gone leaves what was received, marked, and can be asked for anew", async () => {
  server.state.instead = [INSTEAD.gone];
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await page.waitForSelector(".problem");
  assert.equal(await said(), HALF);
  assert.equal(await last(".problem-title").textContent(), "The rest of the answer is gone");
  assert.match(await last(".problem-facts").textContent(), /req_fake/);
  assert.equal(await status(), "This answer is incomplete.");

  // The mark stays with it.
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await said(), HALF);
  assert.equal(await last(".note").textContent(), "This answer is incomplete.");
  assert.equal(server.state.attached.length, 1);
  await last("button >> text=Try again").click();
  await untilSaid(HALF);
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.equal(server.state.asked.length, 2);
  assert.equal(server.state.asked[1].messages.length, 1, "the broken answer must not be repeated to the model");
});

test("an answer that is gone at a reload is told as gone", async () => {
  await ask("held");
  await untilSaid(HALF);
  server.state.kept.clear();
  await page.reload();
  await page.waitForSelector(".problem");
  assert.equal(await said(), HALF);
  assert.equal(await last(".problem-title").textContent(), "The rest of the answer is gone");
});

test("an answer that the server lost is told from the catalogue, at once", async () => {
  server.state.instead = [INSTEAD.lost];
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await page.waitForSelector(".problem");
  const catalogue = await (await fetch(`${server.url}/gatehouse/errors.en.json`)).json();
  assert.equal(await last(".problem-title").textContent(), catalogue.stream_lost.title);
  assert.equal(server.state.attached.length, 1);
});

test("a busy server, a network's sign-in page and an empty reply are passed over", async () => {
  server.state.instead = [INSTEAD.busy, INSTEAD.signIn, INSTEAD.nothing];
  await page.evaluate(() => {
    Math.random = () => 0;
  });
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await eventually(() => server.state.attached.length === 4, "the page gave up");
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.deepEqual(server.state.attached.map(({ after }) => after), [7, 7, 7, 7]);
});

test("a stream that ends in order without its end mark is incomplete, not complete and not read for ever", async () => {
  await ask("held");
  await untilSaid(HALF);
  // Somebody else stopped it.
  [...server.state.kept.values()].at(-1).destroy();
  await page.waitForSelector(".problem");
  assert.equal(await last(".problem-title").textContent(), "The answer ended too early");
  assert.equal(await said(), HALF);
  assert.equal(server.state.attached.length, 2);
});

test("a wait that the server asks for and that is long is the reader's to decide; the retry reads on", async () => {
  server.state.instead = [INSTEAD.limited];
  await ask("held");
  await untilSaid(HALF);
  await page.clock.install();
  server.drop();
  await page.clock.runFor(2000);
  await page.waitForSelector(".problem");
  assert.match(await last(".problem button").textContent(), /^Try again in (90 seconds|89 seconds|88 seconds)$/);
  assert.equal(await said(), HALF);
  await page.clock.runFor(91_000);
  await last(".problem button").click();
  await eventually(() => server.state.attached.length === 2, "the page did not read on");
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.equal(server.state.asked.length, 1, "the question must not be asked anew");
  assert.equal(await page.locator(".turn.assistant").count(), 1);
});

test("waits double up to a ceiling, and chance spreads them over the upper half", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 60].map((attempt) => backoff(attempt, 0)), [250, 500, 1000, 2000, 4000, 7500, 7500, 7500]);
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 60].map((attempt) => backoff(attempt, 1)), [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
});

test("attempts come ever more rarely and end; then a retry, or a reload, goes on where the answer stopped", async () => {
  server.state.instead = Array.from({ length: 50 }, () => INSTEAD.busy);
  await page.clock.install();
  await page.evaluate(() => {
    Math.random = () => 0.5;
  });
  await listen();
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  for (let tries = 0; tries < 300 && (await last(".problem").count()) === 0; tries += 1) await page.clock.runFor(500);
  const catalogue = await (await fetch(`${server.url}/gatehouse/errors.en.json`)).json();
  assert.equal(await last(".problem-title").textContent(), catalogue.storage_unavailable.title);
  assert.equal(server.state.attached.length, 9);
  // 0.75 × 0.5, 1, 2, 4, 8, 15, 15, … s; what is said twice in a row is not said again.
  const lost = (await heard()).filter((text) => text.startsWith("Connection lost."));
  assert.deepEqual(lost, ["Connection lost. Reconnecting …", ...[2, 3, 6, 12].map((wait) => `Connection lost. Next try in ${wait} seconds.`)]);
  assert.equal(await said(), HALF);

  server.state.instead = [];
  server.release();
  await page.reload();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.equal(server.state.asked.length, 1);
});

test("while the browser is offline the page says so and waits; back online the answer goes on at once", async () => {
  await page.clock.install({ time: 0 });
  await ask("held");
  await untilSaid(HALF);
  await page.clock.pauseAt(3_600_000);
  await view.context.setOffline(true);
  await until("You are offline. The answer waits.");
  assert.equal(await last(".problem").count(), 0);
  // The clock stands: only the event can end the wait.
  await view.context.setOffline(false);
  await eventually(() => server.state.attached.length === 1, "the page did not come back");
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
  assert.equal(server.state.asked.length, 1);
});

test("being offline for long costs no attempts", async () => {
  await page.clock.install();
  await ask("held");
  await untilSaid(HALF);
  await view.context.setOffline(true);
  await until("You are offline. The answer waits.");
  for (let minutes = 0; minutes < 10; minutes += 1) {
    await page.clock.runFor(60_000);
    assert.equal(await status(), "You are offline. The answer waits.");
  }
  await view.context.setOffline(false);
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
});

test("a connection that falls silent is given up for another one", async () => {
  await page.clock.install();
  await ask("held");
  await untilSaid(HALF);
  await page.clock.runFor(46_000);
  await page.clock.runFor(1000);
  await eventually(() => server.state.attached.length === 1, "the page waits on a dead connection");
  server.release();
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);
});

test("an answer without a number or an id is asked for once, and is incomplete after a reload", async () => {
  server.state.resumable = false;
  await ask("stall");
  await untilSaid("The beginning");
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await said(), "The beginning");
  assert.equal(await last(".note").textContent(), "This answer is incomplete.");
  assert.equal(await page.isVisible(".stop"), false);
  assert.equal(server.state.asked.length, 1);
  assert.deepEqual([server.state.attached, server.state.cancelled], [[], []]);
  await last("button >> text=Try again").click();
  await eventually(() => server.state.asked.length === 2, "the question was not sent again");
});

test("a question whose answer had not begun can be asked again after a reload", async () => {
  await ask("mute");
  await until("Waiting for the answer …");
  await page.reload({ waitUntil: "networkidle" });
  assert.equal(await page.locator(".turn.user .said").textContent(), "mute");
  assert.equal(await last(".note").textContent(), "The answer did not arrive.");
  await last("button >> text=Try again").click();
  await until("The answer is complete.");
  assert.equal(server.state.asked.length, 2);
});

test("a browser that keeps nothing still holds a conversation, and a strange record is ignored", async () => {
  await page.addInitScript(() => {
    Storage.prototype.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });
  await page.goto("/about");
  await page.goto("/", { waitUntil: "networkidle" });
  await ask("slow");
  await until("The answer is complete.");
  assert.equal(await said(), WHOLE);

  const other = await openPage(browser, server.url);
  const turn = { question: "q", answer: "a", who: "w", state: "complete", isTruncated: false };
  const records = [
    "{", "null", "7", '{"version":1}', JSON.stringify({ version: 0, turns: [turn] }), '{"version":1,"turns":[null,{"question":1}]}',
    JSON.stringify({ version: 1, turns: [{ ...turn, state: "running", place: { dialect: "openai", id: "../../files", after: 1 } }] }),
    JSON.stringify({ version: 1, turns: [{ ...turn, state: "walking" }] }),
  ];
  for (const record of records) {
    await other.page.goto("/about");
    await other.page.evaluate((text) => sessionStorage.setItem("gatehouse.chat:/#0", text), record);
    await other.page.goto("/", { waitUntil: "networkidle" });
    assert.equal(await other.page.isVisible("#question"), true);
    assert.equal(await other.page.locator(".turn").count(), 0, record);
    assert.deepEqual(other.faults, [], record);
  }
  // A dialect that no page of ours wrote.
  const strange = JSON.stringify({ version: 1, turns: [{ ...turn, state: "running", place: { dialect: "__proto__", id: "x", after: 1 } }] });
  await other.page.goto("/about");
  await other.page.evaluate((text) => sessionStorage.setItem("gatehouse.chat:/#0", text), strange);
  await other.page.goto("/", { waitUntil: "networkidle" });
  assert.equal(await other.page.textContent(".problem-title"), "The rest of the answer is gone");
  assert.deepEqual(other.faults, []);
  assert.deepEqual(server.state.attached, []);
  await other.context.close();
});

test("what stands in the record is text: it cannot run or load anything", async () => {
  await page.evaluate(() => {
    const place = { dialect: "openai", id: "x", after: 0 };
    const turn = { question: "<img src=x onerror=alert(1)>", answer: "<script>window.hacked=1</script> [x](javascript:alert(1))", who: "<b>w</b>", state: "running", isTruncated: false, place };
    window.addEventListener("pagehide", () => sessionStorage.setItem("gatehouse.chat:/#0", JSON.stringify({ version: 1, turns: [turn], hint: "<i>h</i>" })));
  });
  await page.reload();
  await page.waitForSelector(".problem");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator(".log :is(img, script, b, i)").count(), 0);
  assert.equal(await page.locator(".log a[href^='javascript']").count(), 0);
  assert.deepEqual(view.faults, []);
});

test("the Chinese page tells it in Chinese", async () => {
  await page.goto("/zh", { waitUntil: "networkidle" });
  server.state.instead = [INSTEAD.gone];
  await ask("held");
  await untilSaid(HALF);
  server.drop();
  await page.waitForSelector(".problem");
  assert.equal(await last(".problem-title").textContent(), "回答的其余部分已不存在");
  assert.equal(await status(), "此回答不完整。");
});
