// The answer cache: what is kept, for whom, and what is never kept.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

import { call, events, leaks, prompt, question, secretsIn } from "./support/client.mjs";
import { ONCE } from "./support/config.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";
import { fileHolds, until } from "./support/wait.mjs";

const WRITES = 6;
const TARGET = [{ provider: "openai", model: "good" }];

let house;
let url;
before(async () => {
  house = await startHouse({
    retry: ONCE,
    cache: { writes_per_hour: WRITES },
    limits: { chat: { burst: { requests: 30, seconds: 3600 } } },
    aliases: [
      { name: "always", public: true, cache: "always", target: TARGET },
      { name: "never", public: true, cache: "never", target: TARGET },
      { name: "twin", public: true, target: TARGET },
    ],
  });
  url = house.worker.url;
});
after(() => house?.stop());

let clients = 0;
/** A client that wrote nothing yet, in a network of its own. */
const fresh = () => `100.64.${(clients += 1)}.1`;

let questions = 0;
/** A question that nobody asked yet. */
const ask = (more = {}, model = "good") => {
  questions += 1;
  return { ...question(model, { temperature: 0, ...more }), messages: [{ role: "user", content: `Question ${questions}` }] };
};

const send = (json, { path = "/v1/chat/completions", address = fresh(), headers } = {}) => call(url, { path, json, address, headers });
const word = (answer) => answer.headers["x-cache"];

/** Asks until the answer, which is kept after the last byte, is in the cache; the number of calls upstream must not grow. */
async function hit(json, options) {
  return until(async () => {
    const answer = await send(json, options);
    return word(answer) === "hit" && answer;
  }, "a hit");
}

test("the same question is answered from the cache, also for another visitor", async () => {
  const json = ask();
  const first = await send(json);
  assert.equal(word(first), "miss");
  assert.equal(first.headers.age, undefined);
  const upstream = house.provider.requests.length;
  const again = await hit(json);
  assert.match(again.headers.age, /^\d+$/);
  assert.equal(again.json().choices[0].message.content, first.json().choices[0].message.content);
  assert.equal(again.json().usage.completion_tokens, 7);
  assert.ok(house.provider.requests.length <= upstream + 1);
  const line = await house.worker.log(again.headers["x-request-id"]);
  assert.deepEqual([line.cache, line.tokens_in, line.tokens_out], ["hit", 0, 0]);
});

test("delivery and labels do not matter, everything else does", async () => {
  const json = ask({ max_tokens: 20 });
  const upper = structuredClone(json);
  upper.messages[0].content += "?";
  await send(json);
  await hit(json);
  for (const same of [{ ...json, user: "someone" }, { ...json, metadata: { a: "b" } }, { ...json, temperature: 0.0 }, { ...json, top_p: null }]) {
    assert.equal(word(await send(same)), "hit", JSON.stringify(same));
  }
  for (const other of [
    { ...json, max_tokens: 21 },
    { ...json, seed: 1 },
    { ...json, top_p: 0.5 },
    { ...json, stop: ["x"] },
    { ...json, model: "twin" },
    { ...json, unknown_field: 1 },
    { ...json, messages: [{ role: "system", content: "Be brief." }, ...json.messages] },
    upper,
  ]) {
    assert.equal(word(await send(other)), "miss", JSON.stringify(other));
  }
});

test("only temperature 0 is kept unless the alias says otherwise", async () => {
  for (const [model, more, expected] of [
    ["good", { temperature: undefined }, "bypass"],
    ["good", { temperature: 0.1 }, "bypass"],
    ["good", { tools: [{ type: "function", function: { name: "f" } }] }, "bypass"],
    ["good", { logprobs: true }, "bypass"],
    ["never", {}, "bypass"],
    ["always", { temperature: 1 }, "miss"],
  ]) {
    const json = ask(more, model);
    assert.equal(word(await send(json)), expected, JSON.stringify([model, more]));
    if (expected === "miss") await hit(json);
    else assert.equal(word(await send(json)), "bypass");
  }
});

test("the caller's no-store keeps nothing, no-cache asks anew", async () => {
  const json = ask();
  assert.equal(word(await send(json, { headers: { "cache-control": "no-store" } })), "bypass");
  assert.equal(word(await send(json)), "miss");
  const kept = await hit(json);
  assert.equal(word(await send(json, { headers: { "cache-control": "no-store" } })), "bypass");
  const anew = await send(json, { headers: { "cache-control": "no-cache" } });
  assert.equal(word(anew), "miss");
  assert.notEqual(anew.json().choices[0].message.content, kept.json().choices[0].message.content);
});

test("an answer kept whole is streamed as the official SDK expects, and the reverse", async () => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "visitor", defaultHeaders: { "cf-connecting-ip": fresh() } });
  const [whole, streamed] = [ask(), ask()];
  const first = await send(whole);
  await hit(whole);
  const stream = await client.chat.completions.create({ ...whole, stream: true, stream_options: { include_usage: true } }).withResponse();
  assert.equal(stream.response.headers.get("x-cache"), "hit");
  let text = "";
  let usage;
  for await (const chunk of stream.data) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, first.json().choices[0].message.content);
  assert.equal(usage.total_tokens, 18);

  const original = await send({ ...streamed, stream: true });
  assert.equal(word(original), "miss");
  await hit(streamed);
  const answer = await client.chat.completions.create(streamed).withResponse();
  assert.equal(answer.response.headers.get("x-cache"), "hit");
  const deltas = events(original.text).filter(({ data }) => data !== "[DONE]");
  assert.equal(answer.data.choices[0].message.content, deltas.map(({ data }) => JSON.parse(data).choices[0]?.delta.content ?? "").join(""));
  assert.equal(answer.data.choices[0].finish_reason, "stop");
});

test("messages are kept apart from chat completions and streamed as their SDK expects", async () => {
  const client = new Anthropic({ baseURL: url, apiKey: "visitor", defaultHeaders: { "cf-connecting-ip": fresh() } });
  const json = { ...prompt("claude-good", { temperature: 0 }), messages: [{ role: "user", content: "Only here" }] };
  const first = await send(json, { path: "/v1/messages" });
  assert.equal(word(first), "miss");
  await hit(json, { path: "/v1/messages" });
  const stream = client.messages.stream(json);
  const message = await stream.finalMessage();
  assert.equal((await stream.withResponse()).response.headers.get("x-cache"), "hit");
  assert.equal(message.content[0].text, first.json().content[0].text);
  assert.equal(message.stop_reason, "end_turn");
});

test("an answer that was cut, failed or stopped at its ceiling is never kept", async () => {
  const cases = [
    ["reset", true],
    ["no_end", true],
    ["cut_event", true],
    ["failed_inside", true],
    ["ceiling", true],
    ["ceiling", false],
    ["status_500", false],
    ["too_short", false],
  ];
  const questions = cases.map(([model, stream]) => ask({ stream }, model));
  const counts = () => cases.map(([model]) => house.provider.of(model).length);
  await Promise.all(questions.map((json) => send(json)));
  const before = counts();
  // For a second after its end an answer is still shared by those who ask the same "at once".
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const again = await Promise.all(questions.map((json) => send(json)));
  for (const answer of again) assert.notEqual(word(answer), "hit");
  // `ceiling` stands here twice, streamed and whole.
  assert.deepEqual(counts(), cases.map(([model], i) => before[i] + cases.filter(([other]) => other === model).length));
});

test("a client can cause so many entries and no more", async () => {
  const address = fresh();
  const asked = Array.from({ length: WRITES + 3 }, () => ask());
  for (const json of asked) {
    const answer = await send(json, { address });
    await house.worker.log(answer.headers["x-request-id"]);
  }
  await hit(asked[0], { address });
  const words = [];
  for (const json of asked) words.push(word(await send(json, { address, headers: {} })));
  assert.deepEqual(words.slice(0, WRITES), Array(WRITES).fill("hit"));
  assert.deepEqual(words.slice(WRITES), Array(3).fill("miss"));
});

test("limits are asked before the cache", async () => {
  const json = ask();
  await send(json);
  await hit(json);
  const address = fresh();
  const answers = await Promise.all(Array.from({ length: 40 }, () => send(json, { address })));
  assert.equal(answers.filter((answer) => word(answer) === "hit").length, 30);
  for (const answer of answers.filter((answer) => answer.status !== 200)) assertRefused(answer, "openai", 429, "rate_limited");
});

test("embeddings are kept as they came", async () => {
  const json = { model: "embed", input: "keep me" };
  const first = await send(json, { path: "/v1/embeddings" });
  assert.equal(word(first), "miss");
  const again = await hit(json, { path: "/v1/embeddings" });
  assert.deepEqual(again.bytes, first.bytes);
  assert.equal(word(await send({ ...json, dimensions: 2 }, { path: "/v1/embeddings" })), "miss");
});

/** Every file below a folder. */
const files = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

test("what is kept outlives a restart and holds no question in the clear", async () => {
  const json = ask();
  const first = await send(json);
  await hit(json);
  const stored = files(join(house.worker.folder, "v3/kv"));
  assert.ok(stored.some((file) => fileHolds(file, "good day")), "answers are there");
  assert.ok(!stored.some((file) => fileHolds(file, json.messages[0].content)), "questions are not");
  await house.worker.restart({ hard: true });
  url = house.worker.url;
  const upstream = house.provider.requests.length;
  const again = await send(json);
  assert.equal(word(again), "hit");
  assert.equal(again.json().choices[0].message.content, first.json().choices[0].message.content);
  assert.equal(house.provider.requests.length, upstream);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
