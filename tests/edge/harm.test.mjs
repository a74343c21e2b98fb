// Requests that are made to harm others: whatever one caller sends, the next one's answer comes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call } from "./support/client.mjs";
import { assertRefused, codeOf, startHouse } from "./support/house.mjs";
import { BOUNDARY } from "./support/visitor.mjs";

const CHAT = "/v1/chat/completions";
let house;
let url;
before(async () => {
  const on = (name, model, more = {}, target = {}) => ({ name, public: true, ...more, target: [{ provider: "openai", model, ...target }] });
  house = await startHouse({
    retry: { attempts_per_target: 1, attempts: 1 },
    aliases: [
      { name: "dropping", public: true, on_unsupported: "drop", target: [{ provider: "anthropic", model: "good" }] },
      on("judging", "schema:judged", { validate_schema: true }),
      on("judged-too", "schema:judged"),
      on("waiting", "patient:m", { deadlines: { first_token_ms: 5000 } }),
      on("waiting-too", "patient:m", { deadlines: { first_token_ms: 5000 } }),
      on("crowded", "busy:m", { deadlines: { first_token_ms: 400, whole_ms: 400 } }, { max_concurrent: 1, queue: 10 }),
      on("crowded-too", "busy:m", {}, { max_concurrent: 1, queue: 10 }),
      on("transcriber", "media:transcriptions", { serves: "transcriptions" }),
    ],
  });
  url = house.worker.url;
  const said = (text) => ({ id: "c", object: "chat.completion", created: 1, model: "m", choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: text } }], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } });
  const later = (ms) => ({ response }) => setTimeout(() => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(said("Good day."))), ms);
  house.provider.own.patient = later(300);
  house.provider.own.busy = later(1200);
});
after(() => house?.stop());

const ask = (model, more = {}, headers = {}) => call(url, { path: CHAT, headers, json: { model, messages: [{ role: "user", content: "hi" }], ...more } });

async function assertAnswers(model) {
  const answer = await ask(model);
  assert.equal(answer.status, 200, answer.text);
}

test("names of fields that no header can carry end nothing, and are told as far as they can be", async () => {
  for (const name of ["\u0000", "a\u0001b", "x\r\nset-cookie: a=b", "日本", "a".repeat(5000)]) {
    const others = Promise.all([ask("good"), ask("good", { stream: true }), ask("dropping", { stream: true })]);
    const answer = await ask("dropping", { [name]: 1 });
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.headers["x-gatehouse-dropped"], /^[ -~]{1,200}$/);
    assert.equal(answer.headers["set-cookie"], undefined);
    for (const other of await others) assert.equal(other.status, 200);
  }
  const many = Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`unknown_${i}`, 1]));
  const answer = await ask("dropping", many);
  assert.ok(answer.headers["x-gatehouse-dropped"].length < 1000);
});

test("a schema that grows without bounds is given up, and the isolate goes on", async () => {
  const next = (i) => ({ $ref: `#/$defs/${i + 1}` });
  const level = (i) => ({ anyOf: [{ ...next(i), required: ["zz"] }, { allOf: [next(i), next(i)] }] });
  const $defs = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [i, level(i)]));
  const schema = { $defs: { ...$defs, 25: { required: ["zz"] } }, $ref: "#/$defs/0" };
  const response_format = { type: "json_schema", json_schema: { name: "bomb", schema } };
  const [bomb, other] = await Promise.all([ask("judging", { response_format }), ask("good")]);
  assert.equal(other.status, 200);
  // Nothing can be told of it.
  assert.equal(bomb.status, 200, bomb.text);
});

test("no schema, no hurry and no crowd closes a target for others", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "no", schema: { not: {} } } };
  for (let i = 0; i < 6; i += 1) assertRefused(await ask("judging", { response_format }), "openai", 502, "upstream_protocol");
  await assertAnswers("judged-too");

  for (let i = 0; i < 6; i += 1) {
    const hurried = await ask("waiting", { stream: true }, { "x-gatehouse-first-token-ms": "1" });
    assertRefused(hurried, "openai", 504, "upstream_timeout");
  }
  await assertAnswers("waiting-too");

  // One place: the first has it for longer than the others wait. None of them was sent, and nobody is to blame.
  const first = ask("crowded-too");
  const crowd = await Promise.all(Array.from({ length: 6 }, () => ask("crowded")));
  assert.equal((await first).status, 200);
  for (const answer of crowd) {
    if (answer.status !== 200) assert.ok(["upstream_busy", "upstream_timeout"].includes(codeOf(answer)), answer.text);
  }
  assert.ok(crowd.some((answer) => codeOf(answer) === "upstream_busy"));
  await assertAnswers("crowded-too");
});

test("a form cannot name a second model", async () => {
  const part = (name, value) => `--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const body = `${part("model", "transcriber")}${part("model", "dearest")}--${BOUNDARY}--\r\n`;
  const answer = await call(url, { path: "/v1/audio/transcriptions", method: "POST", body, headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` } });
  assertRefused(answer, "openai", 400, "invalid_parameter");
  assert.equal(answer.json().error.param, "model");
});
