// Documents that are meant to run: a browser is led to their content in every way that a page has, and nothing runs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { config } from "../edge/support/config.mjs";
import { startWorker } from "../edge/support/worker.mjs";
import { openPage, startBrowser } from "./browser.mjs";

let site;
let browser;
let view;
let page;

/** What a script of a document would do: leave a trace that the page sees. */
const ATTACK = "try{localStorage.setItem('ran',document.domain+document.cookie)}catch(e){};try{(self.opener||self.parent||self).postMessage('ran','*')}catch(e){};self.ran=1;";

const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

/** By name: content, declared type, and whether it may be refused when it is uploaded. */
const DOCUMENTS = {
  "page.html": [`<!doctype html><script>${ATTACK}</script><body onload="${ATTACK}">`, "text/html"],
  "page.xhtml": [`<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>${ATTACK}</script></html>`, "application/xhtml+xml"],
  "image.svg": [`<svg xmlns="http://www.w3.org/2000/svg" onload="${ATTACK}"><script>${ATTACK}</script></svg>`, "image/svg+xml", true],
  "image.txt": [`<svg xmlns="http://www.w3.org/2000/svg"><script>${ATTACK}</script></svg>`, "text/plain", true],
  "sheet.xml": [
    `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#s"?><!DOCTYPE x [<!ATTLIST xsl:stylesheet id ID #REQUIRED>]><x><xsl:stylesheet id="s" version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/"><html xmlns="http://www.w3.org/1999/xhtml"><script>${ATTACK}</script></html></xsl:template></xsl:stylesheet></x>`,
    "text/xml",
  ],
  "script.js": [ATTACK, "text/javascript"],
  "script.txt": [ATTACK, "text/plain"],
  "worker.js": [`${ATTACK}self.addEventListener("fetch", () => {});`, "text/javascript"],
  "style.css": ["body { --ran: 1; background: red }", "text/css"],
  "form.pdf": [`%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF`, "application/pdf"],
  "both.gif": [Buffer.from(`GIF89a/*\0\0\0\0\0*/=1;${ATTACK}//;`, "latin1"), "image/gif"],
  "both.pdf": [`%PDF-1.7\n<html><script>${ATTACK}</script></html>\n%%EOF`, "text/html"],
  "both.png": [Buffer.concat([PNG, Buffer.from(`<html><script>${ATTACK}</script></html>`), Buffer.from("PK\x03\x04\x14\0\0\0\0\0")]), "image/png"],
};

/** The documents that were taken, by name. */
const ids = {};
const contentOf = (name) => `/v1/files/${ids[name]}/content`;

before(async () => {
  // As where an operator lets disguises pass: by default they are held back, and nobody gets so far.
  const house = config({ url: "http://127.0.0.1:9" }, { documents: { scan: { disguises: "flag" } } });
  [browser, site] = await Promise.all([startBrowser(), startWorker(house)]);
  view = await openPage(browser, site.url);
  page = view.page;
  await page.setExtraHTTPHeaders({ "cf-connecting-ip": "100.68.1.1" });
  await page.goto("/documents");
  for (const [name, [content, type, refused]] of Object.entries(DOCUMENTS)) {
    const bytes = [...Buffer.from(content)];
    const told = await page.evaluate(
      async ([name, bytes, type]) => {
        const form = new FormData();
        form.append("purpose", "user_data");
        form.append("file", new File([new Uint8Array(bytes)], name, { type }));
        const answer = await fetch("/v1/files", { method: "POST", body: form });
        return { status: answer.status, body: await answer.json() };
      },
      [name, bytes, type],
    );
    assert.equal(told.status, refused ? 415 : 200, `${name}: ${JSON.stringify(told.body)}`);
    if (!refused) ids[name] = told.body.id;
  }
});

after(async () => {
  await browser?.close();
  await site?.stop();
});

/** A new page of the site that notes whether something ran. */
async function freshPage() {
  const tab = await view.context.newPage();
  await tab.setExtraHTTPHeaders({ "cf-connecting-ip": "100.68.1.1" });
  await tab.goto("/documents");
  await tab.evaluate(() => {
    localStorage.removeItem("ran");
    window.messages = [];
    addEventListener("message", (event) => window.messages.push(event.data));
  });
  return tab;
}

async function assertNothingRan(tab, what) {
  await tab.waitForTimeout(150);
  const seen = await tab.evaluate(() => [localStorage.getItem("ran"), window.ran ?? null, (window.messages ?? []).filter((message) => message === "ran").length]);
  assert.deepEqual(seen, [null, null, 0], what);
}

test("the content of every document comes with a policy under which nothing runs", async () => {
  assert.equal(Object.keys(ids).length, Object.values(DOCUMENTS).filter(([, , refused]) => !refused).length);
  for (const name of Object.keys(ids)) {
    const answer = await page.request.get(contentOf(name));
    const headers = answer.headers();
    assert.equal(answer.status(), 200, name);
    assert.equal(headers["x-content-type-options"], "nosniff", name);
    assert.match(headers["content-security-policy"], /default-src 'none';.*; sandbox$/, name);
    assert.match(headers["content-disposition"], /^attachment;/, name);
    assert.equal(headers["cross-origin-resource-policy"], "same-origin", name);
    assert.doesNotMatch(headers["content-type"], /html|svg|xml|script|css/, name);
  }
});

test("the attack itself works where it may run", async () => {
  // Otherwise the other tests would show nothing.
  const tab = await view.context.newPage();
  await tab.route("**/attack.html", (route) => route.fulfill({ contentType: "text/html", body: DOCUMENTS["page.html"][0] }));
  await tab.goto("/attack.html");
  assert.notEqual(await tab.evaluate(() => localStorage.getItem("ran")), null);
  await tab.close();
});

test("opening it is a download, and shows nothing", async () => {
  for (const name of Object.keys(ids)) {
    const tab = await freshPage();
    const download = tab.waitForEvent("download");
    await tab.goto(contentOf(name)).catch((error) => assert.match(error.message, /Download is starting|ERR_ABORTED/, name));
    assert.equal((await download).suggestedFilename(), name);
    await assertNothingRan(tab, name);
    // The same in a window of its own, which has an opener.
    const opened = tab.waitForEvent("popup");
    await tab.evaluate((address) => void window.open(address), contentOf(name));
    await opened;
    await assertNothingRan(tab, `${name} in a window`);
    await tab.close();
  }
});

test("frames, objects, images, scripts, styles and workers of it do nothing, even under a page that allows all", async () => {
  const tab = await view.context.newPage();
  await tab.setExtraHTTPHeaders({ "cf-connecting-ip": "100.68.1.1" });
  // A page of the site without any policy: what is left are the answers' own headers.
  await tab.route("**/open.html", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>open</title>" }));
  for (const name of Object.keys(ids)) {
    await tab.goto("/open.html");
    await tab.evaluate(() => {
      localStorage.removeItem("ran");
      window.messages = [];
      addEventListener("message", (event) => window.messages.push(event.data));
    });
    const told = await tab.evaluate(async (address) => {
      const wait = (element) =>
        new Promise((resolve) => {
          element.onload = () => resolve("loaded");
          element.onerror = () => resolve("failed");
          setTimeout(() => resolve("nothing"), 400);
        });
      const add = (tag, attributes) => {
        const element = Object.assign(document.createElement(tag), attributes);
        const done = wait(element);
        document.body.append(element);
        return done;
      };
      const frame = document.createElement("iframe");
      frame.src = address;
      document.body.append(frame);
      const all = {
        script: add("script", { src: address }),
        module: add("script", { src: address, type: "module" }),
        object: add("object", { data: address }),
        objectAsPage: add("object", { data: address, type: "text/html" }),
        embed: add("embed", { src: address }),
        image: add("img", { src: address }),
        style: add("link", { rel: "stylesheet", href: address }),
        worker: new Promise((resolve) => {
          const worker = new Worker(address);
          worker.onmessage = () => resolve("ran");
          worker.onerror = () => resolve("failed");
          setTimeout(() => resolve("nothing"), 400);
        }),
        service: navigator.serviceWorker.register(address, { scope: "/v1/files/" }).then(
          () => "registered",
          () => "failed",
        ),
        imported: (() => {
          const style = document.createElement("style");
          style.textContent = `@import url("${address}")`;
          const done = wait(style);
          document.head.append(style);
          return done;
        })(),
        dynamic: import(address).then(
          () => "ran",
          () => "failed",
        ),
      };
      const told = {};
      for (const [way, done] of Object.entries(all)) told[way] = await done;
      let frameDocument = null;
      try {
        frameDocument = frame.contentDocument?.documentElement?.textContent ?? null;
      } catch {
        // Another origin.
      }
      told.frame = frameDocument;
      told.ruleOfStyle = getComputedStyle(document.body).getPropertyValue("--ran");
      told.workers = (await navigator.serviceWorker.getRegistrations()).filter((one) => (one.active ?? one.installing ?? one.waiting)?.scriptURL.includes("/v1/files/")).length;
      return told;
    }, contentOf(name));
    await assertNothingRan(tab, name);
    assert.notEqual(told.script, "loaded", `${name} as a script`);
    assert.equal(told.module, "failed", `${name} as a module`);
    assert.notEqual(told.worker, "ran", `${name} as a worker`);
    assert.equal(told.service, "failed", `${name} as a service worker`);
    assert.equal(told.workers, 0, name);
    assert.equal(told.dynamic, "failed", `${name} by import()`);
    assert.equal(told.ruleOfStyle, "", `${name} as a style`);
    assert.notEqual(told.style, "loaded", `${name} as a style`);
    assert.ok(!told.frame, `${name} in a frame showed ${told.frame}`);
  }
  await tab.close();
});

test("a page of another origin gets nothing of it, with the visitor's cookie or without", async () => {
  const other = await browser.newContext();
  await other.addCookies(await view.context.cookies());
  const tab = await other.newPage();
  await tab.route("http://other.test/**", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>other</title>" }));
  await tab.goto("http://other.test/");
  for (const name of ["page.html", "script.js", "both.gif", "both.png"]) {
    const told = await tab.evaluate(async (address) => {
      const script = document.createElement("script");
      script.src = address;
      const done = new Promise((resolve) => {
        script.onload = () => resolve("loaded");
        script.onerror = () => resolve("failed");
      });
      document.head.append(script);
      const image = new Image();
      const shown = new Promise((resolve) => {
        image.onload = () => resolve("loaded");
        image.onerror = () => resolve("failed");
      });
      image.src = address;
      const read = await fetch(address, { credentials: "include" }).then(
        () => "read",
        () => "failed",
      );
      return [await done, await shown, read, window.ran ?? null];
    }, `${site.url}${contentOf(name)}`);
    assert.deepEqual(told, ["failed", "failed", "failed", null], name);
  }
  await other.close();
});
