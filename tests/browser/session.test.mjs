// Pages and sessions: the puzzle that solves itself, what goes wrong, and pages of another origin, over the real Worker;
// Turnstile over a stand-in for its script.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { config } from "../edge/support/config.mjs";
import { startWorker } from "../edge/support/worker.mjs";
import { openPage, startBrowser } from "./browser.mjs";
import { startFakeServer } from "./fake-server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PROOF = new URL("../../tools/site/pages/js/proof.js", import.meta.url);

/** A puzzle and a Worker that starts take longer on a busy machine: 90 s. */
const PATIENCE_MS = 90_000;

let browser;
let elsewhere;
let site;

/** A page of another origin, as its author would write it; the policy is the strictest that it can have. */
const elsewherePage = (house) => `<!doctype html><meta charset="utf-8"><title>Elsewhere</title><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; script-src 'self' ${house}; worker-src blob:; connect-src ${house}; require-trusted-types-for 'script'">
<script type="module" src="/page.js"></script>`;
const elsewhereCode = (house) => `
import { Session } from "${house}/gatehouse/session.js";
const make = (siteKey) => new Session({ base: "${house}", siteKey });
const session = make();
const ask = (own) => own.fetch("/v1/chat/completions", { method: "POST", headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "site", messages: [{ role: "user", content: "Where are the keys kept?" }] }) });
const told = async (response) => ({ status: response.status, code: (await response.json()).code });
window.page = {
  ask: () => ask(session).then(told),
  wrongKey: () => ask(make("pk_tst_0000000000000000")).then(told),
  me: () => session.fetch("/api/me").then((r) => r.json()),
  end: () => session.end().then((r) => r.status),
  kept: () => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
};
`;

before(async () => {
  browser = await startBrowser();
  const server = createServer((request, response) => {
    const script = request.url === "/page.js";
    response.setHeader("content-type", script ? "text/javascript" : "text/html");
    response.end(script ? elsewhereCode(site.url) : elsewherePage(site.url));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  elsewhere = { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
  site = await startWorker({
    ...config({ url: "http://127.0.0.1:9" }, { server: { allowed_origins: [elsewhere.url] } }),
    session: { proof: "work", work_bits: 12 },
    alias: [{ name: "site", title: "Site assistant", public: true, session: true, target: [{ provider: "builtin" }] }],
  });
});

after(async () => {
  await browser?.close();
  elsewhere?.stop();
  await site?.stop();
});

/** A page of the house with the requests that it sent to the API for sessions, and what they met. */
async function open(context, url = site.url, path = "/") {
  const view = await openPage(browser, url);
  context.after(() => view.context.close());
  view.page.setDefaultTimeout(PATIENCE_MS);
  const seen = [];
  view.page.on("response", (response) => {
    const at = new URL(response.url());
    if (/^\/(api|v1\/chat)/.test(at.pathname)) seen.push(`${response.request().method()} ${at.pathname} ${response.status()}`);
  });
  await view.page.goto(path, { waitUntil: "networkidle" });
  return { ...view, seen };
}

async function ask(page, question = "Where are the keys kept?") {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
}

const said = (page, text) => page.waitForFunction((wanted) => document.querySelector("[role=status]").textContent === wanted, text);

/** Every status that the page tells, from now on. */
const listen = (page) =>
  page.evaluate(() => {
    window.told = [];
    const status = document.querySelector("[role=status]");
    new MutationObserver(() => window.told.push(status.textContent)).observe(status, { childList: true, characterData: true, subtree: true });
  });

const clean = async ({ faults, violations }) => assert.deepEqual([faults, await violations()], [[], []]);

async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(violations.map(({ id }) => id), []);
}

// === the hash ===

test("the hash is SHA-256, whatever the length, and the number found is the first that solves", async () => {
  const { digests, solve } = await import(PROOF);
  const hash = (text) => createHash("sha256").update(text).digest();
  for (let length = 0; length < 200; length += 1) {
    const prefix = Array.from({ length }, (_, i) => String.fromCharCode(33 + ((i * 7) % 90))).join("");
    for (const end of ["", "0", "123456789"]) {
      const words = digests(prefix)(end).map((word) => (word >>> 0).toString(16).padStart(8, "0"));
      assert.equal(words.join(""), hash(prefix + end).toString("hex"), `${length} and ${end}`);
    }
  }
  const tries = [];
  const zeros = (n) => Math.clz32(hash(`challenge.${n}`).readUInt32BE());
  const found = Number(solve("challenge", 14, (count) => tries.push(count)));
  assert.ok(zeros(found) >= 14);
  for (let n = 0; n < found; n += 1) assert.ok(zeros(n) < 14);
  assert.equal(tries.length, Math.floor(found / 8192));
});

// === the site's own pages ===

test("the first question gets its session by itself, the next ones have it", async (context) => {
  const view = await open(context);
  const { page, seen } = view;
  await listen(page);
  await ask(page);
  await said(page, "The answer is complete.");
  assert.deepEqual(seen, ["POST /v1/chat/completions 401", "GET /api/session 200", "POST /api/session 200", "POST /v1/chat/completions 200"]);
  const told = await page.evaluate(() => window.told);
  assert.ok(told.includes("Checking that you are a person …"), told.join("\n"));
  assert.equal(await page.locator(".check").count(), 0);
  const cookies = await view.context.cookies();
  assert.deepEqual(cookies.map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite]).sort(), [
    ["gatehouse", true, "Strict"],
    ["gatehouse-session", true, "Strict"],
  ]);
  assert.equal(await page.evaluate(() => document.cookie), "");
  await ask(page, "And how many may ask?");
  await page.waitForFunction(() => document.querySelectorAll(".turn .tools").length === 2);
  assert.equal(seen.filter((line) => line.includes("session")).length, 2);
  await clean(view);
});

test("a session that was lost is asked for anew", async (context) => {
  const { page, seen, context: kept } = await open(context);
  await ask(page);
  await said(page, "The answer is complete.");
  await kept.clearCookies();
  await ask(page, "And how many may ask?");
  await page.waitForFunction(() => document.querySelectorAll(".turn .tools").length === 2);
  assert.equal(seen.filter((line) => line === "POST /api/session 200").length, 2);
});

test("while the puzzle is worked on the page answers, says so, and can be stopped", async (context) => {
  const view = await open(context);
  const { page } = view;
  // A puzzle that nobody solves.
  await page.route("**/api/session", (route) => route.fulfill({ json: { proof: "work", bits: 60, challenge: "never" } }));
  await ask(page);
  await page.waitForSelector(".check progress");
  await said(page, "Checking that you are a person …");
  await page.waitForFunction(() => document.querySelector(".check progress").value > 0 || performance.now() > 1e9);
  assert.equal(await page.getAttribute(".check progress", "aria-label"), "Checking that you are a person …");
  // The page runs its frames and takes keys meanwhile.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  await accessible(page);
  assert.equal(page.workers().length, 1);
  await page.press("#question", "Escape");
  await said(page, "You stopped the answer.");
  assert.equal(await page.locator(".check").count(), 0);
  for (let tries = 0; page.workers().length > 0; tries += 1) {
    assert.ok(tries < 100, "the worker goes on");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await clean(view);
});

test("a refused check is told like any other refusal, and the next attempt begins anew", async (context) => {
  const view = await open(context);
  const { page, seen } = view;
  let broken = 0;
  await page.route("**/api/session", (route) => {
    if (route.request().method() !== "POST" || broken++ > 0) return route.continue();
    return route.continue({ postData: JSON.stringify({ challenge: "pow1.x.0.1.x", nonce: "1" }) });
  });
  await ask(page);
  await page.waitForSelector(".problem code >> text=challenge_failed");
  await accessible(page);
  await page.click(".problem button");
  await said(page, "The answer is complete.");
  assert.equal(seen.filter((line) => line.startsWith("POST /v1/chat/completions")).length, 3, seen.join("\n"));
  await clean(view);
});

test("without a connection the check ends, and a retry succeeds when it is back", async (context) => {
  const { page } = await open(context);
  let offline = true;
  await page.route("**/api/session", (route) => (offline ? route.abort("internetdisconnected") : route.continue()));
  await ask(page);
  await page.waitForSelector("text=The site could not be reached");
  offline = false;
  await page.click(".problem button");
  await said(page, "The answer is complete.");
});

// === the documents page ===

test("who is known can end the session and be forgotten, and is asked before", async (context) => {
  const { page: chat, context: kept } = await open(context);
  await ask(chat);
  await said(chat, "The answer is complete.");
  const page = await kept.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const status = (text) => said(page, text);
  await page.goto(`${site.url}/documents`);
  await page.setInputFiles("#file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("x") });
  await status("notes.txt was stored.");
  await page.waitForSelector("th >> text=notes.txt");
  await page.waitForSelector(".kept .end");
  await accessible(page);
  await page.click(".kept .end");
  await status("The session has ended.");
  assert.equal(await page.isVisible(".kept .end"), false);
  assert.deepEqual((await kept.cookies()).map(({ name }) => name), ["gatehouse"]);

  await page.click(".kept .erase");
  await accessible(page);
  await page.click("dialog[open] button >> text=Keep");
  await page.waitForSelector("th >> text=notes.txt");
  await page.click(".kept .erase");
  await page.click("dialog[open] button.danger");
  await page.waitForSelector("text=No documents yet.");
  assert.equal(await page.isVisible(".kept"), false);
  assert.deepEqual(await kept.cookies(), []);
});

test("a stranger is offered nothing to forget", async (context) => {
  const { page } = await open(context, site.url, "/documents");
  await page.waitForSelector("text=No documents yet.");
  assert.equal(await page.isVisible(".kept"), false);
});

// === pages of another origin ===

test("a page of another origin imports the script, solves the puzzle and keeps its token in memory alone", async (context) => {
  const view = await openPage(browser, elsewhere.url);
  context.after(() => view.context.close());
  const { page } = view;
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto("/");
  await page.waitForFunction(() => window.page);
  assert.equal((await page.evaluate(() => window.page.ask())).status, 200);
  const me = await page.evaluate(() => window.page.me());
  assert.deepEqual([me.kind, me.session.origin], ["visitor", elsewhere.url]);
  assert.equal(await page.evaluate(() => window.page.kept()), '[{},{},""]');
  assert.deepEqual(await view.context.cookies(), []);
  const wrong = await page.evaluate(() => window.page.wrongKey());
  assert.deepEqual([wrong.status, wrong.code], [403, "origin_not_allowed"]);
  assert.equal(await page.evaluate(() => window.page.end()), 204);
  assert.equal((await page.evaluate(() => window.page.me())).kind, "anonymous");
  assert.equal((await page.evaluate(() => window.page.ask())).status, 200, "and a new one when it is wanted");
  await clean(view);
});

// === Turnstile ===

/** What the real script offers, as its documentation has it. */
const TURNSTILE = `window.turnstile = {
  render(box, options) {
    window.rendered = { sitekey: options.sitekey, action: options.action };
    const button = document.createElement("button");
    button.textContent = "I am a person";
    button.addEventListener("click", () => options.callback("turnstile-token"));
    box.append(button);
    return "widget-1";
  },
  remove(widget) { window.removed = widget; },
};`;

/** The fake server's site, whose policy lets Turnstile in as the build does where it is configured. */
async function turnstilePage(context, { letIn = true } = {}) {
  const server = await startFakeServer();
  context.after(() => server.stop());
  const view = await openPage(browser, server.url);
  context.after(() => view.context.close());
  const { page } = view;
  page.setDefaultTimeout(PATIENCE_MS);
  const loaded = [];
  const posted = [];
  await page.route("https://challenges.cloudflare.com/**", (route) => {
    loaded.push(route.request().url());
    return route.fulfill({ contentType: "text/javascript", body: TURNSTILE });
  });
  await page.route(`${server.url}/`, async (route) => {
    const response = await route.fetch();
    const headers = response.headers();
    const host = "https://challenges.cloudflare.com";
    if (letIn) headers["content-security-policy"] = headers["content-security-policy"].replace("script-src 'self'", `script-src 'self' ${host}; frame-src ${host}`);
    return route.fulfill({ response, headers });
  });
  await page.route("**/v1/chat/completions", (route) => {
    if (posted.length > 0) return route.continue();
    return route.fulfill({ status: 401, json: { error: { message: "x", code: "session_required", gatehouse: { code: "session_required" } } } });
  });
  await page.route("**/api/session", (route) => {
    if (route.request().method() === "GET") return route.fulfill({ json: { proof: "turnstile", turnstile_site_key: "1x0", ttl_seconds: 900 } });
    posted.push(route.request().postDataJSON());
    return route.fulfill({ json: { object: "session", expires_in: 900 } });
  });
  await page.goto("/", { waitUntil: "networkidle" });
  return { ...view, loaded, posted };
}

test("Turnstile is loaded when the terms ask for it, and its token is sent", async (context) => {
  const view = await turnstilePage(context);
  const { page, loaded, posted } = view;
  assert.deepEqual(loaded, []);
  await ask(page, "keys");
  await page.waitForSelector(".check button");
  await accessible(page);
  assert.deepEqual(await page.evaluate(() => window.rendered), { sitekey: "1x0", action: "session" });
  await page.click(".check button");
  await said(page, "The answer is complete.");
  assert.deepEqual(posted, [{ turnstile: "turnstile-token" }]);
  assert.equal(await page.evaluate(() => window.removed), "widget-1");
  assert.deepEqual(loaded, ["https://challenges.cloudflare.com/turnstile/v0/api.js?render=explicit"]);
  await clean(view);
});

test("where the site's policy does not let Turnstile in, the reader is told", async (context) => {
  const { page, loaded } = await turnstilePage(context, { letIn: false });
  await ask(page, "keys");
  await page.waitForSelector(".problem");
  assert.deepEqual(loaded, []);
});
