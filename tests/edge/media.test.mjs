// What is passed through: counts, moderations, pictures and sound, with the real model put in and the call booked.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { AUDIO, MEDIA } from "./support/speak.mjs";
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
      // Of the same kind, but another model.
      { name: "other-transcriptions", public: true, serves: "transcriptions", target: [{ provider: "openai", model: "media:other" }] },
      { name: "failing", public: true, serves: "moderations", retry: { attempts_per_target: 1, attempts: 1 }, target: [{ provider: "openai", model: "moody:m" }] },
      { name: "fallback", public: true, serves: "moderations", target: [{ provider: "openai", model: "status_503:m" }, { provider: "openai", model: "media:second" }] },
      { name: "helped", public: true, system: "You answer in verse.", target: [{ provider: "openai", model: "good" }] },
    ],
    prices: [{ model: "media:images", input: 1, output: 10 }],
  });
  ({ provider } = house);
  /** Refuses once, then answers. */
  provider.own.moody = ({ count, body, response }) => {
    const [type, text] = MEDIA["/v1/moderations"](body);
    response.writeHead(count === 1 ? 503 : 200, { "content-type": type }).end(count === 1 ? "{}" : text);
  };
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

/** A form that a client wrote anew, as on a retry: another boundary, the same content. */
const reworded = (bytes) => Buffer.from(bytes.toString("latin1").replaceAll(BOUNDARY, "----another-boundary"), "latin1");
/** The same form with one byte of its file changed, which stands for no character, neither before nor after. */
function touched(bytes) {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(0xfe);
  assert.ok(at > 0);
  copy[at] = 0xff;
  return copy;
}

/** Calls that take a key: what is asked, the same in other words, and what is another body. */
const json = (model, more) => ({ json: { model, ...more } });
const sound = (body) => ({ body, headers: multipart });
const again = { body: reworded(form("transcriptions", true)), headers: { "content-type": "multipart/form-data; boundary=----another-boundary" } };
const KEYED = [
  ["/v1/moderations", json("moderations", { input: "Is this fine?" }), { json: { input: "Is this fine?", model: "moderations" } }, [json("moderations", { input: "And this?" })]],
  ["/v1/images/generations", json("images", { prompt: "a house", n: 1 }), { json: { n: 1, prompt: "a house", model: "images" } }, [json("images", { prompt: "a barn", n: 1 })]],
  ["/v1/images/edits", sound(form("images", true)), sound(form("images", true)), [sound(touched(form("images", true)))]],
  ["/v1/audio/speech", json("speech", { input: "Good day.", voice: "alloy" }), { json: { voice: "alloy", input: "Good day.", model: "speech" } }, [json("speech", { input: "Good day.", voice: "echo" })]],
  [
    "/v1/audio/transcriptions",
    sound(form("transcriptions", true)),
    again,
    [sound(touched(form("transcriptions", true))), sound(Buffer.from(form("transcriptions", true).toString("latin1").replace("\r\nde\r\n", "\r\nen\r\n"), "latin1")), sound(form("other-transcriptions", true))],
  ],
];

for (const [path, asked, same, others] of KEYED) {
  test(`one key is one call of ${path}: the same bytes for all who send it, and a conflict for another body`, async () => {
    const asking = (given, key) => call(url, { path, ...given, headers: { ...given.headers, "idempotency-key": key } });
    const key = `key of ${path}`;
    const count = () => provider.requests.filter((seen) => seen.path === path).length;
    const before = count();
    const answers = await Promise.all(Array.from({ length: 5 }, () => asking(asked, key)));
    answers.push(await asking(asked, key), await asking(same, key));
    for (const answer of answers) {
      assert.equal(answer.status, 200, answer.text);
      assertDressed(answer);
      assert.ok(answer.bytes.length > 0 && answer.bytes.equals(answers[0].bytes));
      assert.equal(answer.headers["content-type"], answers[0].headers["content-type"]);
    }
    assert.equal(answers.filter(({ headers }) => headers["x-gatehouse-attached"] === "true").length, answers.length - 1);
    assert.equal(count(), before + 1);
    assert.ok(answers[0].bytes.equals(provider.requests.findLast((seen) => seen.path === path).sent()));
    for (const other of others) assertRefused(await asking(other, key), "openai", 422, "idempotency_conflict");
    assert.equal(count(), before + 1);
    const fresh = await asking(others[0], `${key}, another`);
    assert.deepEqual([fresh.status, fresh.headers["x-gatehouse-attached"], count()], [200, undefined, before + 2]);
  });
}

test("a passed-on call that failed frees its key", async () => {
  const asked = { path: "/v1/moderations", json: { model: "failing", input: "x" }, headers: { "idempotency-key": "moody" } };
  assertRefused(await call(url, asked), "openai", 502, "upstream_error");
  const answer = await call(url, asked);
  assert.deepEqual([answer.status, answer.headers["x-gatehouse-attached"]], [200, undefined], answer.text);
  assert.ok((await call(url, asked)).bytes.equals(answer.bytes));
  assert.equal(provider.of("moody:m").length, 2);
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
