// What an alias can ask for beyond an ordinary call: answers of similar questions, structured output that is held to its
// schema; and keyed calls whose answer is passed on.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, question } from "./support/client.mjs";
import { ONCE } from "./support/config.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";
import { until } from "./support/wait.mjs";

const target = [{ provider: "openai", model: "good" }];

let house;
let url;
before(async () => {
  const similar = { alias: "vectors", threshold: 0.95 };
  house = await startHouse({
    aliases: [
      { name: "vectors", public: true, serves: "embeddings", cache: "never", target },
      { name: "alike", public: true, cache: "always", similar, target },
      { name: "held-to", public: true, validate_schema: true, retry: { ...ONCE, attempts: 2, attempts_per_target: 2 }, target },
    ],
  });
  url = house.worker.url;
});
after(() => house?.stop());

const chats = () => house.provider.requests.filter((seen) => seen.path === "/v1/chat/completions").length;
const ask = (...messages) => call(url, { path: "/v1/chat/completions", json: { model: "alike", messages } });
const user = (content) => ({ role: "user", content });

test("a similar question gets the kept answer, marked with its score, and another context never does", async () => {
  const first = await ask(user("How do I set the key of a provider?"));
  assert.equal(first.headers["x-cache"], "miss");
  const before = chats();
  // What is kept is written after the answer has gone. The fake's embeddings grow alike with a question's length.
  const hit = await until(async () => {
    const answer = await ask(user(`How do I set the key of a provider ${"?".repeat(1 + (chats() - before))}`));
    return answer.headers["x-cache"] === "similar" && answer;
  }, "the answer of a similar question");
  assert.ok(Number(hit.headers["x-cache-score"]) >= 0.95);
  assert.equal(hit.json().choices[0].message.content, first.json().choices[0].message.content);
  const asked = chats();
  const other = await ask({ role: "system", content: "Be brief." }, user("How do I set the key of a provider??"));
  assert.equal(other.headers["x-cache"], "miss");
  // One letter against many: below the threshold.
  assert.equal((await ask(user("?"))).headers["x-cache"], "miss");
  assert.equal(chats(), asked + 2);
});

test("an answer that does not follow its schema is asked for once more and then refused", async () => {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "weather", schema } };
  const before = chats();
  const answer = await call(url, { path: "/v1/chat/completions", json: question("held-to", { response_format }) });
  assertRefused(answer, "openai", 502, "upstream_protocol");
  assert.equal(chats(), before + 2);
  assert.equal((await call(url, { path: "/v1/chat/completions", json: question("held-to") })).status, 200, "without a schema nothing is held");
});

test("a keyed embeddings call asks the provider once, is given again byte for byte, and knows another body", async () => {
  const embed = (input, key = "e-1") =>
    call(url, { path: "/v1/embeddings", json: { model: "vectors", input }, headers: { "idempotency-key": key } });
  const count = () => house.provider.requests.filter((seen) => seen.path === "/v1/embeddings").length;
  const before = count();
  const [first, again] = [await embed("hello"), await embed("hello")];
  assert.deepEqual([first.status, again.status], [200, 200]);
  assert.ok(first.bytes.equals(again.bytes));
  assert.equal(again.headers["x-gatehouse-attached"], "true");
  assertRefused(await embed("other"), "openai", 422, "idempotency_conflict");
  assert.equal(count(), before + 1);
  assert.equal((await embed("hello", "e-2")).headers["x-gatehouse-attached"], undefined);
});
