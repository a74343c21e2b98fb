// Every page in both themes, on a phone and on a desk: accessible, still, within its policy. Leaves pictures in `out`.

import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { OUT, openPage, startBrowser } from "./browser.mjs";
import { INSTEAD, startFakeServer } from "./fake-server.mjs";

const SITE = join(dirname(fileURLToPath(import.meta.url)), "../../build/site");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const SIZES = [
  { width: 360, height: 740 },
  { width: 1280, height: 800 },
];

const answered = async (page) => {
  await page.fill("#question", "What does the site say about keys?");
  await page.press("#question", "Enter");
  await page.waitForSelector(".turn .tools");
};

const refused = async (page) => {
  await page.fill("#question", "limit");
  await page.press("#question", "Enter");
  await page.waitForSelector(".problem");
};

/** In the middle of an answer that outlives its connection. */
const halfway = async (page) => {
  server.state.resumable = true;
  await page.fill("#question", "held");
  await page.press("#question", "Enter");
  await page.waitForFunction(() => document.querySelector(".turn.assistant .said")?.textContent.includes("part7"));
};

const status = (page, start) => page.waitForFunction((text) => document.querySelector("[role=status]").textContent.startsWith(text), start);

const reconnecting = async (page) => {
  await halfway(page);
  server.state.instead = Array.from({ length: 9 }, () => INSTEAD.busy);
  server.drop();
  await status(page, "Connection lost. Next try");
};

const offline = async (page) => {
  await halfway(page);
  await page.context().setOffline(true);
  await status(page, "You are offline.");
};

const gone = async (page) => {
  await halfway(page);
  server.state.instead = [INSTEAD.gone];
  server.drop();
  await page.waitForSelector(".problem");
};

const reloaded = async (page) => {
  await halfway(page);
  await page.reload({ waitUntil: "domcontentloaded" });
  await status(page, "Reading the rest");
  await page.waitForFunction(() => document.querySelector("#model").options.length > 1);
};

const broken = async (page) => {
  await gone(page);
  await page.reload({ waitUntil: "networkidle" });
  await page.waitForSelector(".turn .note");
};

const PAGES = {
  home: ["/"],
  "home-answered": ["/", answered],
  "home-refused": ["/", refused],
  "home-reconnecting": ["/", reconnecting],
  "home-offline": ["/", offline],
  "home-gone": ["/", gone],
  "home-reloaded": ["/", reloaded],
  "home-incomplete": ["/", broken],
  chinese: ["/zh"],
  about: ["/about"],
  documents: ["/documents", (page) => page.waitForSelector(".listing table")],
  "documents-chinese": ["/zh/documents", (page) => page.waitForSelector(".listing table")],
  "shared-incomplete": ["/shared", (page) => page.waitForSelector(".problem")],
  "shared-incomplete-chinese": ["/zh/shared", (page) => page.waitForSelector(".problem")],
  docs: ["/docs/"],
  configuration: ["/docs/configuration"],
  models: ["/docs/models"],
  sdk: ["/docs/sdk"],
  errors: ["/docs/errors/"],
  error: ["/docs/errors/rate_limited"],
  "error-chinese": ["/zh/docs/errors/rate_limited"],
  missing: ["/no-such-page"],
};

let server;
let browser;

before(async () => {
  server = await startFakeServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
}

for (const [name, [path, prepare]] of Object.entries(PAGES)) {
  test(`${name}: no axe violation, no layout shift, nothing blocked by the policy`, async () => {
    for (const theme of ["light", "dark"]) {
      for (const size of SIZES) {
        Object.assign(server.state, { admitted: false, resumable: false, instead: [] });
        server.state.files = [
          { id: "file-1", object: "file", bytes: 1_234_567, expires_at: 1_800_000_000, filename: "minutes of the meeting in January.pdf" },
          { id: "file-2", object: "file", bytes: 12, expires_at: null, filename: "a.txt" },
        ];
        const { page, context, faults, shift, violations } = await openPage(browser, server.url, { theme, ...size });
        const where = `${name}, ${theme}, ${size.width} px`;
        await page.goto(path, { waitUntil: "networkidle" });
        await prepare?.(page);
        assert.ok((await shift()) < 0.01, `${where}: layout shift of ${await shift()}`);
        assert.deepEqual(await violations(), [], where);
        assert.deepEqual(faults, [], where);
        const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
        assert.ok(scroll <= client, `${where}: ${scroll} px wide in ${client} px`);
        await page.screenshot({ path: join(OUT, `${name}-${theme}-${size.width}.png`) });
        assert.deepEqual(await axe(page), [], where);
        await context.close();
      }
    }
  });
}

test("without JavaScript the form is sent and a page comes back", async () => {
  for (const path of ["/", "/zh"]) {
    const { page, context } = await openPage(browser, server.url, { scripts: false });
    await page.goto(path);
    await page.fill("#question", "Where <are> the keys?");
    await page.click("form.gatehouse-chat button[type=submit]");
    await page.waitForURL("**/ask");
    assert.equal(await page.textContent("h1"), "Where <are> the keys?");
    assert.equal(await page.textContent("article.answer"), "\nA plain answer.\n");
    await page.screenshot({ path: join(OUT, `ask-${path === "/" ? "en" : "zh"}.png`) });
    await context.close();
  }
  // A policy of `no-referrer` would send `null`, which the Worker could not tell from a foreign page.
  assert.deepEqual(server.state.origins, [server.url, server.url]);
});

test("the answer page is accessible in both themes and sizes", async () => {
  for (const theme of ["light", "dark"]) {
    for (const size of SIZES) {
      const { page, context, faults } = await openPage(browser, server.url, { theme, ...size });
      await page.goto("/");
      await page.evaluate(() => {
        const form = document.querySelector("form.gatehouse-chat");
        form.elements.namedItem("question").value = "Where are the keys?";
        form.submit();
      });
      await page.waitForURL("**/ask");
      await page.screenshot({ path: join(OUT, `ask-${theme}-${size.width}.png`) });
      assert.deepEqual(await axe(page), []);
      assert.deepEqual(faults, []);
      await context.close();
    }
  }
});

test("all scripts of Gatehouse together are at most 88 KiB", () => {
  const folder = join(SITE, "gatehouse");
  const scripts = readdirSync(folder).filter((name) => name.endsWith(".js") && !name.includes(".immutable."));
  const total = scripts.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  assert.ok(total > 1000 && total <= 88 * 1024, `${total} bytes`);
});

test("hashed files are kept for a year, pages are revalidated", async () => {
  const home = await fetch(`${server.url}/`);
  const html = await home.text();
  const style = /href="(\/gatehouse\/style\.[0-9a-f]{12}\.immutable\.css)"/.exec(html)?.[1];
  assert.match((await fetch(server.url + style)).headers.get("cache-control"), /max-age=31536000, immutable/);
  assert.match(home.headers.get("cache-control"), /max-age=0, must-revalidate/);
  assert.match(home.headers.get("content-security-policy"), /require-trusted-types-for 'script'/);
});
