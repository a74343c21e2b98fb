// Request bodies and heads: what is refused before anything is done, and for what.

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { after, before, test } from "node:test";

import { call, prompt, question, raw } from "./support/client.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";

let house;
let url;
before(async () => {
  house = await startHouse({ server: { max_body_bytes: 4096 } });
  url = house.worker.url;
});
after(() => house?.stop());

const post = (body, headers = {}, more = {}) =>
  call(url, { path: "/v1/chat/completions", body, headers: { "content-type": "application/json", ...headers }, ...more });

test("a body over the limit is refused, whether declared or sent in chunks", async () => {
  const large = JSON.stringify(question("good", { user: "x".repeat(5000) }));
  assertRefused(await post(large), "openai", 413, "payload_too_large");
  assertRefused(await post(large, {}, { chunked: true }), "openai", 413, "payload_too_large");
  assertRefused(await call(url, { path: "/v1/messages", body: large, headers: { "content-type": "application/json" } }), "anthropic", 413, "payload_too_large");
  assert.equal((await post(JSON.stringify(question("good")), {}, { chunked: true })).status, 200);
});

test("a body of another type or coding is refused", async () => {
  const body = JSON.stringify(question("good"));
  assertRefused(await post(body, { "content-type": "text/plain" }), "openai", 415, "unsupported_media_type");
  assertRefused(await post(body, { "content-type": undefined }), "openai", 415, "unsupported_media_type");
  assertRefused(await post(gzipSync(body), { "content-encoding": "gzip" }), "openai", 415, "unsupported_media_type");
  assertRefused(await post(body, { "content-encoding": "br" }), "openai", 415, "unsupported_media_type");
  assert.equal((await post(body, { "content-type": "application/json; charset=utf-8" })).status, 200);
});

test("a body that is not strict JSON is refused for what is wrong with it", async () => {
  const before = house.provider.requests.length;
  for (const [body, code] of [
    ["", "invalid_json"],
    ["{", "invalid_json"],
    ["[]", "invalid_json"],
    ["null", "invalid_json"],
    ['{"model":"good",}', "invalid_json"],
    ["{'model':'good'}", "invalid_json"],
    ['{"model":NaN}', "invalid_json"],
    ['{"a":1} {"b":2}', "invalid_json"],
    ['{"a":"\u0001"}', "invalid_json"],
    [`{"a":${"[".repeat(1500)}${"]".repeat(1500)}}`, "invalid_json"],
    ['{"model":"good","model":"builtin"}', "duplicate_key"],
    ['{"messages":[{"role":"user","role":"system","content":"x"}]}', "duplicate_key"],
    ['{"a":1,"\\u0061":2}', "duplicate_key"],
    [Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0xfe, 0x22, 0x7d]), "invalid_encoding"],
    ['{"a":"\\ud800"}', "invalid_encoding"],
  ]) {
    const answer = await post(body);
    assertRefused(answer, "openai", 400, code);
  }
  assert.equal(house.provider.requests.length, before);
});

test("a parameter that cannot stand is named", async () => {
  for (const [json, code, param] of [
    [{ messages: [] }, "missing_parameter", "model"],
    [{ model: "good" }, "missing_parameter", "messages"],
    [{ model: "good", messages: [] }, "invalid_parameter", "messages"],
    [{ model: "good", messages: [{ role: "robot", content: "x" }] }, "invalid_parameter", "messages[0].role"],
    [question("good", { temperature: 3 }), "invalid_parameter", "temperature"],
    [question("good", { max_tokens: -1 }), "invalid_parameter", "max_tokens"],
    [question("good", { max_tokens: 1.5 }), "invalid_parameter", "max_tokens"],
    [question("good", { max_tokens: "9" }), "invalid_parameter", "max_tokens"],
    [question("good", { stream: "yes" }), "invalid_parameter", "stream"],
    [question("good", { n: 1000 }), "unsupported_parameter", "n"],
  ]) {
    const answer = await call(url, { path: "/v1/chat/completions", json });
    assertRefused(answer, "openai", 400, code);
    assert.equal(answer.json().error.param, param);
  }
  const answer = await call(url, { path: "/v1/messages", json: prompt("claude-good", { max_tokens: undefined }) });
  assertRefused(answer, "anthropic", 400, "missing_parameter");
});

test("headers that are too large together are refused", async () => {
  const headers = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`x-filler-${i}`, "y".repeat(4000)]));
  assertRefused(await call(url, { path: "/v1/models", headers }), "openai", 431, "headers_too_large");
  assert.equal((await call(url, { path: "/v1/models" })).status, 200);
});

test("a request that could be read in two ways is answered once at most", async () => {
  const smuggled = "GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n";
  const answers = await raw(url, `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`);
  assert.ok((answers.match(/HTTP\/1\.1 \d{3}/g) ?? []).length <= 1, answers);
  const doubled = await raw(url, `POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 40\r\n\r\n${smuggled}`);
  assert.match(doubled, /^HTTP\/1\.1 400/);
});

test("a body that is cut leaves no trace upstream and the next request works", async () => {
  const before = house.provider.requests.length;
  const half = '{"model":"good","messages":[';
  const answer = await raw(url, `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n${half}`, { halfClose: true });
  assert.doesNotMatch(answer, /HTTP\/1\.1 200/);
  assert.equal(house.provider.requests.length, before);
  assert.equal((await call(url, { path: "/v1/models" })).status, 200);
});
