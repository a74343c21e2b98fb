// Pages of another origin: the official SDKs, unmodified, in a real browser, preflights and all.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { build } from "esbuild";

import { OUT, realSite, startBrowser } from "./browser.mjs";

const PAGE = `<!doctype html><meta charset="utf-8"><title>Elsewhere</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`;

/** What the page offers to the tests. */
const CODE = `
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
const question = [{ role: "user", content: "Where are the keys kept?" }];
window.ask = {
  async openai(url, apiKey) {
    const client = new OpenAI({ baseURL: url + "/v1", apiKey, dangerouslyAllowBrowser: true, maxRetries: 0 });
    const { data, response } = await client.chat.completions.create({ model: "site", messages: question, stream: true }).withResponse();
    let text = "";
    for await (const chunk of data) text += chunk.choices[0]?.delta?.content ?? "";
    return { text, id: response.headers.get("x-request-id"), left: response.headers.get("x-ratelimit-remaining-requests") };
  },
  async anthropic(url, apiKey) {
    const client = new Anthropic({ baseURL: url, apiKey, dangerouslyAllowBrowser: true, maxRetries: 0 });
    let text = "";
    const stream = client.messages.stream({ model: "site", max_tokens: 300, messages: question });
    stream.on("text", (piece) => (text += piece));
    await stream.finalMessage();
    return { text };
  },
  async refused(url) {
    try {
      await this.openai(url, "sk-unknown");
    } catch (error) {
      return { name: error.constructor.name, status: error.status, code: error.code, id: error.requestID };
    }
  },
  async files(url) {
    const form = new FormData();
    form.set("purpose", "user_data");
    form.set("file", new File(["x"], "x.txt"));
    return fetch(url + "/v1/files", { method: "POST", body: form, credentials: "include" }).then((r) => r.status, (e) => e.name);
  },
};
window.ready = true;
`;

let elsewhere;
let stranger;
let site;
let browser;

/** A page server on a port of its own, which makes it another origin. */
async function startPage(script) {
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : PAGE);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

before(async () => {
  browser = await startBrowser();
  const outfile = join(OUT, "elsewhere.js");
  const bundled = await build({
    stdin: { contents: CODE, resolveDir: import.meta.dirname },
    bundle: true,
    format: "esm",
    platform: "browser",
    write: false,
    outfile,
    logLevel: "error",
  });
  elsewhere = await startPage(bundled.outputFiles[0].text);
  stranger = await startPage(bundled.outputFiles[0].text);
  site = await realSite({ ALLOWED_ORIGINS: elsewhere.url });
});

after(async () => {
  await browser?.close();
  elsewhere?.stop();
  stranger?.stop();
  await site?.stop();
});

async function open(url) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(url);
  await page.waitForFunction(() => window.ready);
  return page;
}

test("the OpenAI SDK streams from an allowed origin and can read ids and limits", async () => {
  const page = await open(elsewhere.url);
  const { text, id, left } = await page.evaluate((url) => window.ask.openai(url, "visitor"), site.url);
  assert.match(text, /secret/i);
  assert.match(id, /^req_/);
  assert.match(left, /^\d+$/);
});

test("the Anthropic SDK streams from an allowed origin", async () => {
  const page = await open(elsewhere.url);
  const { text } = await page.evaluate((url) => window.ask.anthropic(url, "visitor"), site.url);
  assert.match(text, /secret/i);
});

test("a refusal is readable from an allowed origin, with its class and request id", async () => {
  const page = await open(elsewhere.url);
  const error = await page.evaluate((url) => window.ask.refused(url), site.url);
  assert.equal(error.status, 401);
  assert.equal(error.code, "invalid_api_key");
  assert.match(error.id, /^req_/);
});

test("a page of an origin that is not listed gets nothing", async () => {
  const page = await open(stranger.url);
  const outcome = await page.evaluate((url) => window.ask.openai(url, "visitor").then(() => "answered", (e) => e.constructor.name), site.url);
  assert.notEqual(outcome, "answered");
});

test("documents cannot be written from another origin, even an allowed one", async () => {
  const page = await open(elsewhere.url);
  const outcome = await page.evaluate((url) => window.ask.files(url), site.url);
  assert.ok(outcome === 403 || outcome === "TypeError", String(outcome));
});
