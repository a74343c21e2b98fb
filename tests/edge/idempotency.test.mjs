// One key, one call: storms, replays, conflicts, failures and crashes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, open, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";
import { visitor } from "./support/visitor.mjs";
import { until, within } from "./support/wait.mjs";

const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const STORM = 20;

let house;
let url;
let provider;
const aliases = [];
/** An alias with a model of its own; its name tells dialect and fault. */
function alias(tag, dialect, fault) {
  const name = `${tag}-${dialect}`;
  aliases.push({ name, public: true, target: [{ provider: PROVIDER[dialect], model: `${fault}:${name}` }] });
  return { dialect, name, model: `${fault}:${name}` };
}
const EVERY = Object.keys(CALLERS).flatMap((dialect) => [false, true].map((stream) => ({ dialect, stream })));
const storms = EVERY.map(({ dialect, stream }) => ({ stream, ...alias(`storm-${stream}`, dialect, "held") }));
const plain = Object.fromEntries(Object.keys(CALLERS).map((dialect) => [dialect, alias("plain", dialect, "good")]));
const failing = EVERY.map(({ dialect, stream }) => ({ stream, ...alias(`failing-${stream}`, dialect, "one_500") }));
const cut = Object.keys(CALLERS).map((dialect) => alias("cut", dialect, "cut_once"));
const crashed = alias("crashed", "chat", "held");
const other = alias("other", "chat", "good");

before(async () => {
  house = await startHouse({ aliases, retry: { attempts_per_target: 1, attempts: 1 } });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

let keys = 0;
const fresh = () => `key ${(keys += 1)}`;

const ask = ({ dialect, name }, key, { more, headers, ...options } = {}) => {
  const caller = CALLERS[dialect];
  return call(url, { path: caller.path, json: caller.body(name, undefined, more), headers: { "idempotency-key": key, ...headers }, ...options });
};

test(`a storm of ${STORM} requests with one key causes exactly one call, and all get the same bytes`, async () => {
  for (const way of storms) {
    const key = fresh();
    const arrived = provider.next(way.model);
    const asked = Array.from({ length: STORM }, () => ask(way, key, { more: { stream: way.stream } }));
    const seen = await arrived;
    // Everyone is under way before the first answer can be over.
    await new Promise((resolve) => setTimeout(resolve, 200));
    seen.release();
    const answers = await Promise.all(asked);
    const what = `${way.dialect}, ${way.stream ? "streamed" : "whole"}`;
    for (const answer of answers) {
      assert.equal(answer.status, 200, `${what}: ${answer.text}`);
      assertDressed(answer);
      assert.ok(answer.bytes.equals(answers[0].bytes), what);
    }
    assert.equal(read(CALLERS[way.dialect], answers[0], way.stream).finish, "stop");
    assert.equal(answers.filter(({ headers }) => headers["x-gatehouse-attached"] === "true").length, STORM - 1, what);
    assert.equal(provider.of(way.model).length, 1, what);
  }
});

test("a repeated key gets the finished answer byte for byte, also after a crash of everything", async () => {
  const first = {};
  for (const { dialect, stream } of EVERY) {
    const key = fresh();
    const way = plain[dialect];
    const answer = await ask(way, key, { more: { stream } });
    assert.equal(answer.status, 200, answer.text);
    const before = provider.of(way.model).length;
    const again = await ask(way, key, { more: { stream } });
    assert.ok(again.bytes.equals(answer.bytes));
    assert.deepEqual([again.headers["x-gatehouse-attached"], provider.of(way.model).length], ["true", before]);
    for (const name of ["content-type", "x-gatehouse-target", "x-gatehouse-attempts", "x-gatehouse-tokens-out"]) {
      assert.equal(again.headers[name], answer.headers[name], name);
    }
    first[`${dialect} ${stream}`] = { key, answer };
  }
  const before = provider.requests.length;
  await house.worker.restart({ hard: true });
  url = house.worker.url;
  for (const { dialect, stream } of EVERY) {
    const { key, answer } = first[`${dialect} ${stream}`];
    const again = await ask(plain[dialect], key, { more: { stream } });
    assert.ok(again.bytes.equals(answer.bytes), `${dialect} ${stream}`);
  }
  assert.equal(provider.requests.length, before);
});

test("a key with another body is a conflict, and the order of fields is no other body", async () => {
  for (const way of Object.values(plain)) {
    const key = fresh();
    const first = await ask(way, key, { more: { temperature: 0.5, top_p: 0.5 } });
    assert.equal(first.status, 200);
    const conflict = await ask(way, key, { more: { temperature: 0.6, top_p: 0.5 } });
    assertRefused(conflict, CALLERS[way.dialect].dialect, 422, "idempotency_conflict");
    assert.equal(conflict.headers["x-should-retry"], "false");
    const same = await ask(way, key, { more: { top_p: 0.5, temperature: 0.5 } });
    assert.ok(same.bytes.equals(first.bytes));
  }
});

test("a call that failed frees its key", async () => {
  for (const way of failing) {
    const key = fresh();
    const more = { stream: way.stream };
    assertRefused(await ask(way, key, { more }), CALLERS[way.dialect].dialect, 502, "upstream_error");
    const answer = await ask(way, key, { more });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(read(CALLERS[way.dialect], answer, way.stream).finish, "stop");
    assert.ok((await ask(way, key, { more })).bytes.equals(answer.bytes), "and now it is taken");
    assert.equal(provider.of(way.model).length, 2);
  }
});

test("a stream that broke after its first token frees its key: its beginning is no answer to be had for ever", async () => {
  for (const way of cut) {
    const key = fresh();
    const more = { stream: true };
    const first = read(CALLERS[way.dialect], await ask(way, key, { more }), true);
    assert.deepEqual([first.error, first.ended], ["upstream_disconnected", false]);
    const said = read(CALLERS[way.dialect], await ask(way, key, { more }), true);
    assert.deepEqual([said.error, said.finish, said.ended], [undefined, "stop", true]);
    assert.equal(provider.of(way.model).length, 2);
  }
});

test("a crash in the middle of a call frees its key", async () => {
  const key = fresh();
  const arrived = provider.next(crashed.model);
  const lost = ask(crashed, key).catch(() => undefined);
  await arrived;
  await house.worker.restart({ hard: true });
  url = house.worker.url;
  await lost;
  const next = provider.next(crashed.model);
  const again = ask(crashed, key);
  (await within(next, "the call to be made again")).release();
  assert.equal((await again).status, 200);
});

test("a caller who leaves and asks again gets what the first call made", async () => {
  const key = fresh();
  const arrived = provider.next(crashed.model);
  const caller = CALLERS.chat;
  const first = await Promise.all([
    open(url, { path: caller.path, json: caller.body(crashed.name, undefined, { stream: true }), headers: { "idempotency-key": key } }),
    arrived,
  ]);
  first[0].response.once("data", () => first[0].abort());
  await until(() => first[0].response.destroyed, "the client to leave");
  const again = ask(crashed, key, { more: { stream: true } });
  first[1].release();
  const answer = await again;
  assert.equal(answer.headers["x-gatehouse-attached"], "true");
  assert.deepEqual(read(caller, answer, true).finish, "stop");
});

test("one key of two visitors, two addresses or two routes is two keys", async () => {
  const [a, b] = [visitor(house), visitor(house)];
  for (const who of [a, b]) assert.equal((await who.upload("hello")).status, 200);
  const key = fresh();
  const callers = [
    { headers: { cookie: a.jar.cookie }, address: a.address },
    { headers: { cookie: b.jar.cookie }, address: b.address },
    { address: "100.66.7.1" },
    { address: "100.66.8.1" },
  ];
  const before = provider.of(other.model).length;
  const answers = [];
  for (const who of callers) answers.push(await ask(other, key, who));
  assert.deepEqual(answers.map(({ headers }) => headers["x-gatehouse-attached"]), [undefined, undefined, undefined, undefined]);
  assert.equal(provider.of(other.model).length, before + 4);
  // A visitor is the same at another address.
  const moved = await ask(other, key, { headers: { cookie: a.jar.cookie }, address: "100.66.9.1" });
  assert.ok(moved.bytes.equals(answers[0].bytes));
  // Another route, where the alias speaks it too, is asked anew.
  const messages = await call(url, { path: "/v1/messages", json: CALLERS.messages.body(other.name), headers: { "idempotency-key": key, cookie: a.jar.cookie }, address: a.address });
  assert.deepEqual([messages.status, messages.headers["x-gatehouse-attached"]], [200, undefined]);
});

test("without a key, honest repeats are never merged", async () => {
  const before = provider.of(other.model).length;
  const caller = CALLERS.chat;
  const answers = await Promise.all(Array.from({ length: 5 }, () => call(url, { path: caller.path, json: caller.body(other.name) })));
  assert.equal(provider.of(other.model).length, before + 5);
  assert.equal(new Set(answers.map(({ text }) => text)).size, 5);
});

test("a key that cannot be one is refused before anything is asked", async () => {
  const before = provider.requests.length;
  for (const key of ["", "x".repeat(256), "caf\u00e9"]) {
    const answer = await ask(other, key);
    assertRefused(answer, "openai", 400, "invalid_parameter");
    assert.equal(answer.json().error.param, "Idempotency-Key");
  }
  assert.equal(provider.requests.length, before);
  assert.equal((await ask(other, "x".repeat(255))).status, 200);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
