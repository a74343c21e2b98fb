// The surface: routes, dialects, ids, origins, credentials.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, prompt, question, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";

const ELSEWHERE = "https://blog.example.org";

let house;
let url;
before(async () => {
  house = await startHouse({ server: { allowed_origins: [ELSEWHERE], max_body_bytes: 4096 } });
  url = house.worker.url;
});
after(() => house?.stop());

const ANTHROPIC = { "anthropic-version": "2023-06-01" };

// === routes ===

test("what does not exist is not found, in the dialect of its path", async () => {
  for (const [path, dialect, headers] of [
    ["/v1/nothing", "openai"],
    ["/v1/chat/completions/", "openai"],
    ["/v1/models/", "openai"],
    ["/v1/models/a/b", "anthropic", ANTHROPIC],
    ["/v1/messages/msg_x/other", "anthropic"],
    [`/v1/${"a".repeat(3000)}`, "openai"],
  ]) {
    const answer = await call(url, { path, headers });
    assertRefused(answer, dialect, 404, "not_found");
  }
});

test("an answer that is not stored is not found, whatever its id looks like", async () => {
  for (const [path, dialect] of [
    ["/v1/messages/batches", "anthropic"],
    ["/v1/messages/msg_AAAAAAAAAAAAAAAAAAAAAA", "anthropic"],
    ["/v1/chat/completions/chatcmpl-AAAAAAAAAAAAAAAAAAAAAA", "openai"],
    ["/v1/responses/resp_AAAAAAAAAAAAAAAAAAAAAA", "openai"],
    ["/v1/responses/msg_AAAAAAAAAAAAAAAAAAAAAA", "openai"],
    ["/v1/responses/resp_AAAAAAAAAAAAAAAAAAAAAA/input_items", "openai"],
    ["/v1/chat/completions/chatcmpl-AAAAAAAAAAAAAAAAAAAAAA?stream=true", "openai"],
  ]) {
    assertRefused(await call(url, { path }), dialect, 404, "response_not_found");
  }
});

test("a path with an encoded slash is no other spelling of a route", async () => {
  const answer = await call(url, { path: "/v1%2fmodels" });
  assert.ok(answer.status === 404 || answer.headers.location === "/v1/models", String(answer.status));
  assert.ok(!answer.text.includes("builtin"));
});

test("a wrong method is told the right ones, in the dialect of its path", async () => {
  for (const [method, path, dialect, allow, headers] of [
    ["GET", "/v1/chat/completions", "openai", "POST"],
    ["PUT", "/v1/messages", "anthropic", "POST"],
    ["DELETE", "/v1/models", "anthropic", "GET, HEAD", ANTHROPIC],
    ["PATCH", "/v1/files", "openai", "GET, HEAD, POST"],
    ["PUT", "/v1/files/file-x", "openai", "GET, HEAD, POST, DELETE"],
    ["POST", "/healthz", "problem", "GET, HEAD"],
    ["DELETE", "/readyz", "problem", "GET, HEAD"],
    ["GET", "/ask", "page", "POST"],
  ]) {
    const answer = await call(url, { method, path, headers });
    assertRefused(answer, dialect, 405, "method_not_allowed");
    assert.equal(answer.headers.allow, allow, `${method} ${path}`);
    assert.equal(answer.headers["x-should-retry"], "false");
  }
});

test("HEAD has the headers of GET and no body", async () => {
  for (const path of ["/healthz", "/readyz", "/v1/models", "/v1/models/builtin", "/v1/nothing"]) {
    const [got, head] = [await call(url, { path }), await call(url, { path, method: "HEAD" })];
    assert.equal(head.status, got.status);
    assert.equal(head.text, "");
    assert.equal(head.headers["content-length"], String(got.bytes.length), path);
    assert.deepEqual(Object.keys(head.headers).sort(), Object.keys(got.headers).sort(), path);
  }
});

test("models are the public aliases, in both dialects, and never what stands behind them", async () => {
  const openai = (await call(url, { path: "/v1/models" })).json();
  assert.equal(openai.object, "list");
  assert.ok(openai.data.every((model) => model.object === "model" && model.owned_by === "gatehouse" && Number.isInteger(model.created)));
  assert.ok(!openai.data.some((model) => model.id === "private"));
  assert.ok(!JSON.stringify(openai).includes("embedder"));
  const anthropic = (await call(url, { path: "/v1/models", headers: ANTHROPIC })).json();
  assert.equal(anthropic.has_more, false);
  assert.deepEqual(anthropic.data.map((model) => model.id), openai.data.map((model) => model.id));
  assert.ok(anthropic.data.every((model) => model.type === "model" && !Number.isNaN(Date.parse(model.created_at))));
  const page = async (query) => (await call(url, { path: `/v1/models?${query}`, headers: ANTHROPIC })).json();
  const [first, second] = anthropic.data.map((model) => model.id);
  assert.deepEqual(await page("limit=1").then((p) => [p.data.length, p.first_id, p.has_more]), [1, first, true]);
  assert.deepEqual(await page(`limit=1&after_id=${first}`).then((p) => [p.data.length, p.last_id]), [1, second]);
  assertRefused(await call(url, { path: "/v1/models?limit=0", headers: ANTHROPIC }), "anthropic", 400, "invalid_parameter");
  assertRefused(await call(url, { path: "/v1/models/private" }), "openai", 404, "model_not_found");
  assert.equal((await call(url, { path: "/v1/models/embed" })).json().id, "embed");
});

test("an alias that is not there, not public, or for another endpoint is refused without a call upstream", async () => {
  const before = house.provider.requests.length;
  for (const [path, json, dialect, status, code] of [
    ["/v1/chat/completions", question("gpt-5"), "openai", 404, "model_not_found"],
    ["/v1/chat/completions", question("private"), "openai", 403, "model_not_public"],
    ["/v1/chat/completions", question("embed"), "openai", 400, "endpoint_not_carried"],
    ["/v1/responses", { model: "embed", input: "a" }, "openai", 400, "endpoint_not_carried"],
    ["/v1/moderations", { model: "good", input: "a" }, "openai", 400, "endpoint_not_carried"],
    ["/v1/embeddings", { model: "good", input: "a" }, "openai", 400, "endpoint_not_carried"],
  ]) {
    assertRefused(await call(url, { path, json }), dialect, status, code);
  }
  assert.equal(house.provider.requests.length, before);
});

// === ids ===

test("a request id is kept when it is safe and replaced when it is not", async () => {
  const kept = await call(url, { path: "/healthz", headers: { "x-request-id": "caller-1234_ABC" } });
  assert.equal(kept.headers["x-request-id"], "caller-1234_ABC");
  for (const bad of ["a b", "x".repeat(500), "<script>", "a\u00e9b", '"}{"level":"x'] ) {
    const answer = await call(url, { path: "/v1/nothing", headers: { "x-request-id": bad } });
    assert.match(answer.headers["x-request-id"], /^req_[0-9a-f]{32}$/);
    assert.ok(!answer.text.includes(bad));
  }
});

test("a trace is continued with a span of our own; anything else begins a new one", async () => {
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const kept = await call(url, { path: "/healthz", headers: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } });
  assert.match(kept.headers.traceparent, new RegExp(`^00-${trace}-(?!00f067aa0ba902b7)[0-9a-f]{16}-00$`));
  const fresh = await call(url, { path: "/healthz", headers: { traceparent: `00-${trace.toUpperCase()}-00f067aa0ba902b7-01` } });
  assert.match(fresh.headers.traceparent, /^00-[0-9a-f]{32}-/);
  assert.ok(!fresh.headers.traceparent.toLowerCase().includes(trace));
});

// === origins ===

test("a preflight of an allowed origin gets back the header names that SDKs ask for", async () => {
  const asked = "authorization, content-type, x-stainless-lang, x-stainless-retry-count, anthropic-version, anthropic-dangerous-direct-browser-access, user-agent";
  for (const path of ["/v1/chat/completions", "/v1/messages", "/v1/models", "/v1/embeddings"]) {
    const answer = await call(url, {
      method: "OPTIONS",
      path,
      headers: { origin: ELSEWHERE, "access-control-request-method": "POST", "access-control-request-headers": asked },
    });
    assert.equal(answer.status, 204);
    assertDressed(answer);
    assert.equal(answer.headers["access-control-allow-origin"], ELSEWHERE);
    assert.equal(answer.headers["access-control-allow-headers"], asked);
    assert.match(answer.headers["access-control-allow-methods"], /POST/);
    assert.match(answer.headers.vary, /Access-Control-Request-Headers/);
    assert.equal(answer.headers["access-control-allow-credentials"], undefined);
  }
});

test("answers and refusals alike can be read by an allowed origin, with ids and waits exposed", async () => {
  for (const [path, status] of [["/v1/models", 200], ["/v1/nothing", 404], ["/v1/chat/completions", 405]]) {
    const answer = await call(url, { path, headers: { origin: ELSEWHERE } });
    assert.equal(answer.status, status);
    assertDressed(answer);
    assert.equal(answer.headers["access-control-allow-origin"], ELSEWHERE);
    const exposed = answer.headers["access-control-expose-headers"].split(", ");
    for (const name of ["x-request-id", "request-id", "retry-after", "retry-after-ms", "x-should-retry", "x-cache", "ratelimit"]) {
      assert.ok(exposed.includes(name), name);
    }
    assert.equal(answer.headers["access-control-allow-credentials"], undefined);
  }
});

test("a refusal for any reason is dressed as a success is", async () => {
  const headers = { origin: ELSEWHERE };
  const path = "/v1/chat/completions";
  for (const [options, status] of [
    [{ path, json: question("nobody") }, 404],
    [{ path, json: question("private") }, 403],
    [{ path, json: question("good", { user: "x".repeat(5000) }) }, 413],
    [{ path, body: "{}", headers: { "content-type": "text/plain" } }, 415],
    [{ path, body: "{", headers: { "content-type": "application/json" } }, 400],
    [{ path, json: question("good"), headers: { authorization: "Bearer x" } }, 401],
    [{ path, json: question("status_500") }, 502],
    [{ path, json: question("wait_seconds") }, 503],
    [{ path, json: question("slow_head") }, 504],
  ]) {
    const answer = await call(url, { ...options, headers: { ...headers, ...options.headers } });
    assert.equal(answer.status, status, answer.text);
    assertDressed(answer);
    assert.equal(answer.headers["access-control-allow-origin"], ELSEWHERE);
    assert.equal(answer.headers["cache-control"], "no-store");
  }
});

test("any other origin is refused and may not read why", async () => {
  for (const origin of ["https://evil.example", "null", `${ELSEWHERE}.evil.example`, "https://evil-blog.example.org", "http://blog.example.org", `${ELSEWHERE}:444`, `${ELSEWHERE}/`]) {
    const answer = await call(url, { path: "/v1/models", headers: { origin } });
    assertRefused(answer, "openai", 403, "origin_not_allowed");
    assert.equal(answer.headers["access-control-allow-origin"], undefined, origin);
    const preflight = await call(url, { method: "OPTIONS", path: "/v1/models", headers: { origin, "access-control-request-method": "GET" } });
    assert.equal(preflight.headers["access-control-allow-origin"], undefined, origin);
    assert.equal(preflight.headers["access-control-allow-methods"], undefined, origin);
  }
});

// === credentials ===

test("no credential and the placeholder are welcome, any other is refused alike", async () => {
  for (const headers of [{}, { authorization: "Bearer visitor" }, { authorization: "bearer visitor" }, { "x-api-key": "visitor" }]) {
    assert.equal((await call(url, { path: "/v1/models", headers })).status, 200, JSON.stringify(headers));
  }
  const bodies = new Set();
  for (const headers of [
    { authorization: "Bearer sk-unknown" },
    { authorization: "Basic dmlzaXRvcg==" },
    { authorization: "visitor" },
    { authorization: "Bearer visitor, Bearer other" },
    { "x-api-key": "sk-unknown" },
    { authorization: "Bearer visitor", "x-api-key": "sk-unknown" },
  ]) {
    const answer = await call(url, { path: "/v1/models", headers });
    assertRefused(answer, "openai", 401, "invalid_credentials");
    bodies.add(answer.text.replaceAll(answer.headers["x-request-id"], ""));
  }
  assert.equal(bodies.size, 1, "the answer does not tell what is wrong with a credential");
  assertRefused(await call(url, { path: "/v1/messages", json: prompt("claude-good"), headers: { "x-api-key": "x" } }), "anthropic", 401, "invalid_credentials");
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
