// The first minute: no key, no provider; the site, its form without JavaScript, and the built-in answerer.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, events, prompt, question } from "./support/client.mjs";
import { assertDressed, assertRefused } from "./support/house.mjs";
import { startWorker } from "./support/worker.mjs";

let worker;
let url;
before(async () => {
  // The configuration that ships, with no key set.
  worker = await startWorker(undefined, { CANARY_OPENAI_KEY: undefined, CANARY_ANTHROPIC_KEY: undefined });
  url = worker.url;
});
after(() => worker?.stop());

const FORM = { "content-type": "application/x-www-form-urlencoded" };
const ask = (fields, headers) => call(url, { path: "/ask", body: new URLSearchParams(fields).toString(), headers: { ...FORM, ...headers } });

/** Links of a page to its own site. */
const links = (html) => [...html.matchAll(/href="(\/[^"]*)"/g)].map((match) => match[1].replaceAll("&amp;", "&"));

test("the first page is there with its policy and without the Worker", async () => {
  const page = await call(url, { path: "/" });
  assert.equal(page.status, 200);
  assert.match(page.headers["content-type"], /^text\/html/);
  const policy = page.headers["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  assert.equal(page.headers["x-content-type-options"], "nosniff");
  assert.match(page.headers["cache-control"], /must-revalidate/);
  assert.equal(page.headers["x-request-id"], undefined);
  assert.doesNotMatch(page.text, /<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=/);
});

test("every link and file of the first page is there", async () => {
  const page = await call(url, { path: "/" });
  const files = [...page.text.matchAll(/(?:href|src)="(\/[^"#]*)/g)].map((match) => match[1]);
  assert.ok(files.length > 5);
  for (const path of new Set(files)) {
    const { status } = await call(url, { path });
    assert.ok(status === 200 || (path === "/ask" && status === 405) || status === 307, `${path}: ${status}`);
  }
});

test("hashed files are kept for ever, pages are asked for again", async () => {
  const page = await call(url, { path: "/" });
  const hashed = [...page.text.matchAll(/(?:href|src)="(\/[^"]*\.[0-9a-f]{12}\.immutable\.(?:css|js|svg))"/g)].map((match) => match[1]);
  assert.ok(hashed.length >= 2, page.text.slice(0, 2000));
  for (const path of hashed) {
    const { status, headers } = await call(url, { path });
    assert.equal(status, 200);
    assert.match(headers["cache-control"], /max-age=31536000, immutable/, path);
  }
  const again = await call(url, { path: "/", headers: { "if-none-match": page.headers.etag } });
  assert.equal(again.status, 304);
});

test("what is not there is a page that says so", async () => {
  const page = await call(url, { path: "/no/such/page" });
  assert.equal(page.status, 404);
  assert.match(page.headers["content-type"], /^text\/html/);
  assert.match(page.headers["content-security-policy"], /default-src 'none'/);
  assert.ok(links(page.text).includes("/"));
});

test("the form answers with a page that quotes the site and links to what it quotes", async () => {
  const answer = await ask({ question: "How are provider keys kept?" });
  assert.equal(answer.status, 200);
  assertDressed(answer);
  assert.match(answer.headers["content-type"], /^text\/html/);
  assert.equal(answer.headers["cache-control"], "no-store");
  assert.match(answer.headers["x-gatehouse-answerer"], /built-in/);
  assert.ok(answer.text.includes("How are provider keys kept?"));
  assert.match(answer.text, /<blockquote>/);
  const cited = /<a rel="noopener nofollow ugc" href="(\/[^"]*)"/.exec(answer.text);
  assert.ok(cited, answer.text);
  const [path, anchor] = cited[1].split("#");
  const source = await call(url, { path });
  assert.equal(source.status === 307 ? 200 : source.status, 200, path);
  if (anchor && source.status === 200) assert.ok(source.text.includes(`id="${decodeURIComponent(anchor)}"`), cited[1]);
});

test("every quoted passage stands in the page that is cited", async () => {
  const answer = await call(url, { path: "/v1/chat/completions", json: question("site", { messages: [{ role: "user", content: "How are provider keys kept?" }] }) });
  const text = answer.json().choices[0].message.content;
  const quotes = text.split("\n\n").filter((block) => block.startsWith(">")).map((block) => block.replace(/^> ?/gm, " ").trim());
  const cited = [...text.matchAll(/\]\((\/[^)#]*)/g)].map((match) => match[1]);
  assert.ok(quotes.length > 0 && cited.length > 0, text);
  const words = (given) => given.replace(/<[^>]*>/g, "").replace(/&quot;/g, '"').replace(/&#39;|&#x27;/g, "'").replace(/&amp;/g, "&").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/[\s`*_\\]+/g, "");
  const pages = (await Promise.all(cited.map((path) => call(url, { path })))).map((page) => words(page.text));
  for (const quote of quotes) {
    for (const sentence of quote.split(" … ")) {
      assert.ok(pages.some((page) => page.includes(words(sentence))), sentence);
    }
  }
});

test("a question in Chinese gets an answer in Chinese, and the page is Chinese when that is asked for", async () => {
  const answer = await ask({ question: "密钥保存在哪里？" }, { "accept-language": "zh-CN,zh;q=0.9" });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-language"], "zh-Hans");
  assert.match(answer.text, /[\u4e00-\u9fff]{4}/);
});

test("what a visitor types is shown, never obeyed", async () => {
  const answer = await ask({ question: `<img src=x onerror=alert(1)><script>1</script>"'` });
  assert.equal(answer.status, 200);
  assert.doesNotMatch(answer.text, /<img src=x|<script>1/);
  assert.ok(answer.text.includes("&lt;img src=x"));
});

test("a form that cannot be answered gets a page that says why", async () => {
  assertRefused(await ask({ question: "" }), "page", 400, "missing_parameter");
  assertRefused(await ask({ question: "x".repeat(8001) }), "page", 400, "invalid_parameter");
  assertRefused(await ask({ question: "x", model: "nobody" }), "page", 404, "model_not_found");
  assertRefused(await ask({ question: "x" }, { origin: "https://evil.example" }), "page", 403, "origin_not_allowed");
  assertRefused(await ask({ question: "x" }, { "sec-fetch-site": "cross-site" }), "page", 403, "cross_site_refused");
  assertRefused(await ask({ question: "x" }, { "content-type": "text/plain" }), "page", 415, "unsupported_media_type");
});

test("the default alias answers without a key, marked as built-in, and says what to add to which file", async () => {
  const models = (await call(url, { path: "/v1/models" })).json().data;
  const [site] = models;
  assert.deepEqual([site.id, site.gatehouse.builtin, site.gatehouse.default], ["site", true, true]);
  assert.match(site.gatehouse.hint, /OPENAI_API_KEY=.*\.dev\.vars/);
  const answer = await call(url, { path: "/v1/chat/completions", json: question("site", { stream: true }) });
  assert.equal(answer.headers["x-gatehouse-answerer"], "built-in, no model");
  const seen = events(answer.text);
  assert.equal(seen.at(-1).data, "[DONE]");
  assert.ok(seen.length > 3 && JSON.parse(seen[0].data).gatehouse.answerer === "built-in, no model");
  const message = await call(url, { path: "/v1/messages", json: prompt("site") });
  assert.equal(message.json().gatehouse.answerer, "built-in, no model");
});

test("an alias without a provider says which variable to set", async () => {
  const answer = await call(url, { path: "/v1/embeddings", json: { model: "embed", input: "x" } });
  assertRefused(answer, "openai", 503, "provider_not_configured");
  assert.match(answer.json().error.message, /OPENAI_API_KEY|OPENAI_BASE_URL/);
});

test("every error that is answered has its page", async () => {
  for (const code of ["rate_limited", "not_found", "upstream_stalled", "invalid_credentials"]) {
    const page = await call(url, { path: `/docs/errors/${code}` });
    assert.equal(page.status, 200, code);
    assert.ok(page.text.includes(code));
  }
});

test("without the master key documents answer with the step that is left, and everything else works", async () => {
  const bare = await startWorker(undefined, { MASTER_KEY: "", CANARY_OPENAI_KEY: undefined, CANARY_ANTHROPIC_KEY: undefined });
  try {
    const upload = await call(bare.url, { path: "/v1/files", body: "--x--", headers: { "content-type": "multipart/form-data; boundary=x" } });
    assertRefused(upload, "openai", 503, "setup_required");
    assert.match(upload.json().error.message, /MASTER_KEY/);
    assert.equal((await call(bare.url, { path: "/v1/chat/completions", json: question("site") })).status, 200);
    const ready = await call(bare.url, { path: "/readyz" });
    assert.equal(ready.status, 503);
    assert.equal(ready.json().checks.find((check) => check.name === "MASTER_KEY").ok, false);
  } finally {
    await bare.stop();
  }
});

test("a configuration that is not valid answers with the step that is left", async () => {
  const broken = await startWorker({ provider: [], alias: [], limit: [] });
  try {
    const answer = await call(broken.url, { path: "/v1/models" });
    assert.equal(answer.status, 503);
    assert.equal(answer.json().code ?? answer.json().error.gatehouse.code, "setup_required");
  } finally {
    await broken.stop();
  }
});
