// Readiness, the log, and what happens when a request panics.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, open, question, secretsIn } from "./support/client.mjs";
import { ONCE } from "./support/config.mjs";
import { assertRefused, codeOf, startHouse } from "./support/house.mjs";
import { until, within } from "./support/wait.mjs";

const ELSEWHERE = "https://blog.example.org";
const ANTHROPIC = { "anthropic-version": "2023-06-01" };

let house;
let url;
before(async () => {
  house = await startHouse({ retry: ONCE, server: { allowed_origins: [ELSEWHERE] } });
  url = house.worker.url;
});
after(() => house?.stop());

test("readiness names every part and the value of none", async () => {
  const answer = await call(url, { path: "/readyz" });
  const { status, environment, checks } = answer.json();
  assert.deepEqual([answer.status, status, environment], [200, "ready", "test"]);
  for (const name of ["ASSETS", "CACHE", "DOCUMENTS", "LIMITER", "LEDGER", "OWNER", "DIRECTORY", "MASTER_KEY", "openai", "anthropic", "builtin", "embed"]) {
    const found = checks.find((check) => check.name === name);
    assert.equal(found?.ok, true, name);
  }
  assert.deepEqual(secretsIn(answer.text), []);
  assert.ok(!answer.text.includes("127.0.0.1"), "not even the provider's address");
});

test("a request leaves one log line, with what happened and without what was said", async () => {
  const answer = await call(url, {
    path: "/v1/chat/completions?api_key=in-the-query",
    json: { ...question("good"), messages: [{ role: "user", content: "my secret question" }] },
    headers: { "x-request-id": "log-line-probe-1", authorization: "Bearer visitor", cookie: "session=abc", "user-agent": "probe/9" },
    address: "198.51.100.77",
  });
  assert.equal(answer.status, 200);
  const line = await house.worker.log("log-line-probe-1");
  assert.equal(house.worker.logs().filter((other) => other.request_id === "log-line-probe-1").length, 1);
  assert.deepEqual(
    [line.level, line.method, line.route, line.principal, line.status, line.alias, line.target, line.stream],
    ["info", "POST", "/v1/chat/completions", "anonymous", 200, "good", "openai/good", false],
  );
  assert.deepEqual([line.tokens_in, line.tokens_out, line.cache], [11, 7, "bypass"]);
  assert.ok(answer.headers.traceparent.includes(line.trace_id));
  assert.ok(line.ms_total >= line.ms_to_headers && !Number.isNaN(Date.parse(line.time)));
  for (const hidden of ["secret question", "198.51.100", "session=abc", "in-the-query", "probe/9", "Answer"]) {
    assert.ok(!JSON.stringify(line).includes(hidden), hidden);
  }
  const refused = await call(url, { path: "/v1/chat/completions", json: question("nobody") });
  const refusedLine = await house.worker.log(refused.headers["x-request-id"]);
  assert.deepEqual([refusedLine.status, refusedLine.code], [404, "model_not_found"]);
});

// === panics ===

test("a panic is answered as our mistake and the next request works", async () => {
  assertRefused(await call(url, { path: "/v1/test/panic" }), "openai", 500, "internal");
  assertRefused(await call(url, { path: "/v1/test/panic", headers: ANTHROPIC }), "anthropic", 500, "internal");
  const cors = await call(url, { path: "/v1/test/panic", headers: { origin: ELSEWHERE } });
  assert.equal(cors.headers["access-control-allow-origin"], ELSEWHERE);
  assert.equal((await call(url, { path: "/v1/chat/completions", json: question("good") })).status, 200);
});

test("a request that waits while another panics is answered, not left hanging", async () => {
  const waiting = call(url, { path: "/v1/chat/completions", json: question("slow_head") });
  await house.provider.next("slow_head");
  await call(url, { path: "/v1/test/panic" });
  const answer = await waiting;
  assert.ok(answer.status === 500 || answer.status === 504, String(answer.status));
  assert.ok(["internal", "upstream_timeout"].includes(codeOf(answer)));
});

test("a stream that runs while another request panics loses nothing and comes to an end", async () => {
  const arrived = house.provider.next("held");
  const answer = await open(url, { path: "/v1/chat/completions", json: question("held", { stream: true, stream_options: { include_usage: true } }) });
  const seen = await arrived;
  await call(url, { path: "/v1/test/panic" });
  seen.release();
  const parts = [];
  answer.response.on("data", (part) => parts.push(part));
  await within(new Promise((resolve) => answer.response.on("close", resolve)), "the end of the stream");
  assert.deepEqual(Buffer.concat(parts), seen.sent());
});

test("an inspected stream, which only the lost instance could write, is cut and not ended as if it were whole", async () => {
  const arrived = house.provider.next("held");
  const answer = await open(url, { path: "/v1/chat/completions", json: question("held", { stream: true }) });
  const seen = await arrived;
  const parts = [];
  answer.response.on("data", (part) => parts.push(part));
  const closed = new Promise((resolve) => answer.response.on("close", resolve));
  await until(() => parts.length > 0, "the first token");
  await call(url, { path: "/v1/test/panic" });
  await within(closed, "the end of the stream");
  seen.release();
  assert.ok(!Buffer.concat(parts).includes("[DONE]"));
  assert.equal(answer.response.complete, false, "the transfer itself is cut short");
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
