// The operators' pages in a browser that runs no script, against the real Worker. Leaves pictures in `out`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { CANARIES } from "../edge/support/config.mjs";
import { authenticator } from "../edge/support/totp.mjs";
import { OUT, openPage, realSite, startBrowser } from "./browser.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TOKEN = "canary-admin-token-of-the-browser";
let site;
let browser;
let owner;

before(async () => {
  site = await realSite({ MASTER_KEY: CANARIES.MASTER_KEY, ADMIN_TOKEN: TOKEN });
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await site?.stop();
});

/** Both themes and both sizes, each with the other: a page that is wrong in one of them is seen. */
const LOOKS = [
  { theme: "light", width: 1280, height: 800 },
  { theme: "dark", width: 360, height: 740 },
];
const looks = [];

/** Axe needs scripts, so that it looks at a copy of the page where they run. */
async function look(page, name) {
  const html = await page.content();
  const faults = [];
  for (const [i, { theme, width, height }] of LOOKS.entries()) {
    if (!looks[i]) {
      const context = await browser.newContext({ colorScheme: theme, viewport: { width, height }, bypassCSP: true });
      looks[i] = await context.newPage();
      await looks[i].addInitScript(AXE);
    }
    const copy = looks[i];
    await copy.unrouteAll();
    await copy.route(`${site.url}/copy`, (route) => route.fulfill({ contentType: "text/html; charset=utf-8", body: html }));
    await copy.goto(`${site.url}/copy`);
    const { violations } = await copy.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const where = `${name}, ${theme}, ${width} px`;
    faults.push(...violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`));
    const { scroll, client } = await copy.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
    if (scroll > client) faults.push(`${where}: ${scroll} px wide in ${client} px`);
    await copy.screenshot({ path: join(OUT, `admin-${name}-${theme}-${width}.png`), fullPage: true });
  }
  return faults;
}

const copied = (page, label) => page.textContent(`pre[aria-label="${label}"]`);
const send = (page, call) => page.click(`form:has(input[name=call][value="${call}"]) button[type=submit]`);
const field = (page, call, name) => page.locator(`form:has(input[name=call][value="${call}"]) [name="${name}"]`);

test("from set-up to a revoked key, without JavaScript; every section in both themes and sizes", async () => {
  const { page, context, faults } = await openPage(browser, site.url, { scripts: false });
  const seen = [];
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));

  // The house is claimed.
  assert.equal((await page.goto("/admin")).status(), 200);
  assert.equal(await page.textContent("h1"), "Claim this house");
  seen.push(...(await look(page, "claim")));
  // Or what was there is put back: nothing, here.
  await page.click("text=Put a snapshot back");
  assert.equal(await page.textContent("h1"), "Put a snapshot back");
  seen.push(...(await look(page, "restore")));
  await page.fill("[name=token]", TOKEN);
  await send(page, "POST /restore");
  await page.waitForSelector("#error:focus");
  assert.match(await page.textContent("#error"), /holds no snapshot/);
  await page.goto("/admin");
  await page.fill("[name=token]", TOKEN);
  await page.fill("[name=name]", "Ada Lovelace");
  await send(page, "POST /claim");
  const key = await copied(page, "Operator key");
  assert.match(key, /^gho_/);
  const phone = authenticator(await copied(page, "Secret"));
  seen.push(...(await look(page, "factors")));
  await page.fill("[name=code]", await phone.code());
  await send(page, "POST /claim");
  assert.equal(await page.textContent("h1"), "Recovery codes");
  const recovery = await copied(page, "Recovery codes");
  seen.push(...(await look(page, "recovery")));
  await page.check("main input[type=checkbox]");
  await page.click("main form button");

  // A wrong code first: the summary has the focus, and the way is open again.
  assert.equal(await page.textContent("h1"), "Sign in");
  seen.push(...(await look(page, "sign-in")));
  await page.fill("[name=key]", key);
  await page.fill("[name=code]", "000000");
  await send(page, "POST /sign-in");
  await page.waitForSelector("#error:focus");
  seen.push(...(await look(page, "refused")));
  await page.fill("[name=key]", key);
  await page.fill("[name=code]", await phone.code());
  await page.press("[name=code]", "Enter");
  assert.equal(await page.textContent("h1"), "Overview");
  const cookies = await context.cookies();
  assert.ok(cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === "Strict"), JSON.stringify(cookies));

  // A key is made, rotated, revoked.
  await page.click("nav.contents >> text=API keys");
  assert.equal(await page.getAttribute("nav.contents a[aria-current=page]", "href"), "/admin/keys");
  for (const name of ["crawler", "newsletter <b>", "search"]) {
    await page.goto("/admin/keys");
    await field(page, "POST /keys", "name").fill(name);
    await page.getByLabel("Every model, also those to come").check();
    await send(page, "POST /keys");
    assert.match(await copied(page, "API key"), /^gh_tst_/);
  }
  const first = await copied(page, "API key");
  seen.push(...(await look(page, "key-once")));
  await page.click("text=To the key");
  assert.equal(await page.textContent("h1"), "search");
  seen.push(...(await look(page, "key")));
  const id = first.split("_")[2];
  await send(page, `POST /keys/${id}/rotate`);
  assert.notEqual(await copied(page, "API key"), first);
  await page.click("text=To the key");
  await send(page, `DELETE /keys/${id}`);
  assert.equal(await page.textContent("h1"), "Is this what you mean?");
  seen.push(...(await look(page, "confirm")));
  await send(page, `DELETE /keys/${id}`);
  assert.equal((await page.textContent("[role=status]")).trim(), "The key is revoked.");

  // Something to see everywhere, and a change that is undone.
  await page.goto("/admin/backups");
  await send(page, "POST /backups");
  assert.equal((await page.textContent("[role=status]")).trim(), "The snapshot is taken.");
  await page.goto("/admin/site-keys");
  await field(page, "POST /site-keys", "name").fill("Shop");
  await field(page, "POST /site-keys", "origins:list").fill("https://shop.example");
  await send(page, "POST /site-keys");
  await page.goto("/admin/budgets");
  await field(page, "PUT /budgets", "scope").fill("tenant");
  await field(page, "PUT /budgets", "budget.day_usd:number").fill("2.5");
  await send(page, "PUT /budgets");
  // It is asked about first.
  await send(page, "PUT /budgets");
  assert.match(await page.textContent("table"), /\$2\.5 in each day \(UTC\)/);
  await page.goto("/admin/lists");
  await field(page, "POST /blocks", "cidr").fill("203.0.113.0/24");
  await field(page, "POST /blocks", "reason").fill("Noise from one network");
  await send(page, "POST /blocks");
  assert.match(await page.textContent("table"), /203\.0\.113\.0\/24/);
  seen.push(...(await look(page, "notice")));
  await page.click("[role=status] >> text=Undo");
  assert.match(await page.textContent("main"), /No blocks\./);
  await page.goto("/admin/operators");
  await page.selectOption("[name=role] >> nth=-1", "analyst");
  await send(page, "POST /operators");
  assert.match(await copied(page, "Invite"), /^gh/);

  // The log is held against what was kept of it.
  await page.goto("/admin/audit");
  const [download] = await Promise.all([page.waitForEvent("download"), send(page, "GET /audit/checkpoint")]);
  const kept = readFileSync(await download.path(), "utf8");
  await field(page, "POST /audit/verify", "checkpoint").fill(kept);
  await send(page, "POST /audit/verify");
  assert.match(await page.textContent("[role=status]"), /Verdict: consistent/);

  // Every section.
  await page.goto("/admin");
  const sections = await page.locator("nav.contents a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  assert.equal(sections.length, 18);
  const visitor = "/admin/visitors/vis_0123456789abcdefghijkl";
  for (const path of sections) {
    const answer = await page.goto(path);
    assert.equal(answer.status(), 200, path);
    seen.push(...(await look(page, path.split("/")[2] ?? "overview")));
  }
  assert.deepEqual(seen, []);
  assert.ok([200, 404].includes((await page.goto(visitor)).status()));

  // Nothing secret was in an address or in the log.
  const secrets = [key, first, TOKEN, ...recovery.trim().split("\n")];
  const told = addresses.join("\n") + site.output().replace(/--var[^\n]*/g, "");
  for (const secret of secrets) assert.ok(!addresses.join("\n").includes(secret), "a secret in an address");
  for (const secret of secrets.filter((secret) => secret !== TOKEN)) assert.ok(!told.includes(secret), "a secret in the log");

  await page.click("text=Sign out");
  assert.equal(await page.textContent("h1"), "Sign in");
  assert.equal((await page.goto("/admin/keys")).status(), 401);
  assert.deepEqual(faults, []);
  owner = { key, phone };
  await context.close();
});

test("every control is reached by the keyboard", async () => {
  const { page, context } = await openPage(browser, site.url);
  await page.goto("/admin");
  await page.fill("[name=key]", owner.key);
  await page.fill("[name=code]", await owner.phone.code());
  await page.press("[name=code]", "Enter");
  await page.waitForSelector("h1 >> text=Overview");
  for (const path of ["/admin/keys", "/admin/lists", "/admin/audit"]) {
    await page.goto(path);
    const wanted = await page.evaluate(() => {
      const shown = (element) => element.checkVisibility({ visibilityProperty: true });
      return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")].filter(shown).length;
    });
    const reached = new Set();
    // A field of a time has a stop for each of its parts.
    for (let i = 0; i < wanted + 20; i += 1) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => (document.activeElement === document.body ? -1 : [...document.querySelectorAll("*")].indexOf(document.activeElement))));
      const outlined = await page.evaluate(() => document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none");
      assert.ok(outlined, `${path}: the focus is not seen at ${await page.evaluate(() => document.activeElement.outerHTML.slice(0, 120))}`);
    }
    reached.delete(-1);
    assert.ok(reached.size >= wanted, `${path}: ${reached.size} of ${wanted}`);
  }
  await context.close();
});

test("without the secret ADMIN_TOKEN there are steps and no form", async (t) => {
  const own = await realSite({ MASTER_KEY: CANARIES.MASTER_KEY });
  t.after(() => own.stop());
  const { page, context } = await openPage(browser, own.url, { scripts: false });
  const answer = await page.goto("/admin");
  assert.equal(answer.status(), 503);
  assert.match(await page.textContent("main"), /ADMIN_TOKEN/);
  assert.equal(await page.locator("main form").count(), 0);
  await context.close();
});
