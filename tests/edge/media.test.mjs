// What is passed through: counts, moderations, pictures and sound, with the real model put in and the call booked.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { AUDIO } from "./support/speak.mjs";
import { BOUNDARY } from "./support/visitor.mjs";

let house;
let url;
let provider;
before(async () => {
  const serving = (serves) => ({ name: serves, public: true, serves, target: [{ provider: "openai", model: `media:${serves}` }] });
  house = await startHouse({
    retry: { base_ms: 10, max_ms: 20 },
    aliases: [
      ...["moderations", "images", "speech", "transcriptions"].map(serving),
      { name: "fallback", public: true, serves: "moderations", target: [{ provider: "openai", model: "status_503:m" }, { provider: "openai", model: "media:second" }] },
      { name: "helped", public: true, system: "You answer in verse.", target: [{ provider: "openai", model: "good" }] },
    ],
    prices: [{ model: "media:images", input: 1, output: 10 }],
  });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

const last = (model) => provider.of(model).at(-1);

test("tokens of a messages request are counted here, more for more, and marked as an estimate", async () => {
  const count = async (text, model = "good", more = {}) => {
    const answer = await call(url, { path: "/v1/messages/count_tokens", json: { model, messages: [{ role: "user", content: text }], ...more } });
    assert.equal(answer.status, 200, answer.text);
    assertDressed(answer);
    assert.equal(answer.json().gatehouse.estimated, true);
    return answer.json().input_tokens;
  };
  const before = provider.requests.length;
  const [short, long] = [await count("Good day."), await count("Good day. ".repeat(100))];
  assert.ok(short > 0 && long > short + 100 && long < short + 500, `${short} and ${long}`);
  assert.ok((await count("Good day.", "helped")) > short, "the alias's own system prompt counts");
  assert.ok((await count("Good day.", "good", { tools: [{ name: "f", description: "Does something.", input_schema: { type: "object" } }] })) > short);
  assert.equal(provider.requests.length, before);
  const refused = await call(url, { path: "/v1/messages/count_tokens", json: { model: "nobody", messages: [{ role: "user", content: "x" }] } });
  assertRefused(refused, "anthropic", 404, "model_not_found");
});

test("moderations, generated pictures and speech go up with the real model and come back as they are", async () => {
  for (const [path, model, more] of [
    ["/v1/moderations", "moderations", { input: "Is this fine?" }],
    ["/v1/images/generations", "images", { prompt: "a house", size: "1024x1024" }],
    ["/v1/audio/speech", "speech", { input: "Good day.", voice: "alloy" }],
  ]) {
    const answer = await call(url, { path, json: { model, ...more } });
    assert.equal(answer.status, 200, answer.text);
    assertDressed(answer);
    const seen = last(`media:${model}`);
    assert.deepEqual([seen.path, seen.body], [path, { model: `media:${model}`, ...more }]);
    assert.ok(answer.bytes.equals(seen.sent()), path);
    assert.equal(answer.headers["x-gatehouse-target"], `openai/media:${model}`);
  }
  const speech = await call(url, { path: "/v1/audio/speech", json: { model: "speech", input: "Good day.", voice: "alloy" } });
  assert.equal(speech.headers["content-type"], "audio/wav");
  assert.ok(speech.bytes.equals(AUDIO));
});

test("a picture's tokens are booked", async () => {
  const answer = await call(url, { path: "/v1/images/generations", json: { model: "images", prompt: "a house" } });
  assert.deepEqual([answer.headers["x-gatehouse-tokens-in"], answer.headers["x-gatehouse-tokens-out"]], ["9", "100"]);
  const line = await house.worker.log(answer.headers["x-request-id"]);
  assert.deepEqual([line.tokens_in, line.tokens_out, line.cost_micros, line.route], [9, 100, 9 + 1000, "/v1/images/generations"]);
});

/** A form with a file in it; every byte value stands in the file, and so does what looks like the form's own words. */
const FILE = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.from('\r\nname="model"\r\n\r\nnot-this-one\r\n')]);
function form(model, modelFirst) {
  const field = (name, value) => Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  const file = Buffer.concat([
    Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n`),
    FILE,
    Buffer.from("\r\n"),
  ]);
  const end = Buffer.from(`--${BOUNDARY}--\r\n`);
  const rest = field("language", "de");
  const parts = modelFirst ? [field("model", model), file, rest, end] : [file, rest, field("model", model), end];
  return Buffer.concat(parts);
}
const multipart = { "content-type": `multipart/form-data; boundary=${BOUNDARY}` };

test("a form with a file passes as it is but for the model, wherever that stands", async () => {
  for (const [path, model] of [["/v1/audio/transcriptions", "transcriptions"], ["/v1/images/edits", "images"]]) {
    for (const modelFirst of [true, false]) {
      const answer = await call(url, { path, body: form(model, modelFirst), headers: multipart });
      assert.equal(answer.status, 200, `${path}, model ${modelFirst ? "first" : "last"}: ${answer.text}`);
      const seen = provider.requests.at(-1);
      assert.equal(seen.path, path);
      assert.ok(seen.bytes.equals(form(`media:${model}`, modelFirst)), `${path}, model ${modelFirst ? "first" : "last"}`);
      assert.equal(seen.headers["content-type"], multipart["content-type"]);
      assert.ok(answer.bytes.equals(seen.sent()));
    }
  }
});

test("what is no form, or names no model, is refused", async () => {
  const path = "/v1/audio/transcriptions";
  assertRefused(await call(url, { path, json: { model: "transcriptions" } }), "openai", 415, "unsupported_media_type");
  const without = Buffer.from(form("x", true).toString("latin1").replaceAll('name="model"', 'name="other"'), "latin1");
  assertRefused(await call(url, { path, body: without, headers: multipart }), "openai", 400, "missing_parameter");
  assertRefused(await call(url, { path, body: form("images", true), headers: multipart }), "openai", 400, "endpoint_not_carried");
  assertRefused(await call(url, { path: "/v1/moderations", json: { input: "x" } }), "openai", 400, "missing_parameter");
});

test("retries and the next target are there for these calls too", async () => {
  const answer = await call(url, { path: "/v1/moderations", json: { model: "fallback", input: "x" } });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual([answer.headers["x-gatehouse-target"], answer.headers["x-gatehouse-attempts"]], ["openai/media:second", "3"]);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
