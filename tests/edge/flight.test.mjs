// Identical questions at the same time: one call upstream where the answer could be kept, and never otherwise.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, open, secretsIn } from "./support/client.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";
import { until, within } from "./support/wait.mjs";

const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const MANY = 20;

let house;
let url;
let provider;
const aliases = [];
function alias(name, dialect, fault, more = {}) {
  const model = `${fault}:${name}`;
  aliases.push({ name, public: true, store_responses: false, target: [{ provider: PROVIDER[dialect], model }], ...more });
  return { dialect, name, model };
}
const EVERY = Object.keys(CALLERS).flatMap((dialect) => [false, true].map((stream) => ({ dialect, stream })));
const shared = EVERY.map(({ dialect, stream }) => ({ stream, ...alias(`shared-${dialect}-${stream}`, dialect, "held") }));
const one = alias("one", "chat", "held");
aliases.push({ name: "two", public: true, target: [{ provider: "openai", model: one.model }] });
const warm = alias("warm", "chat", "good");
const never = alias("never", "chat", "good", { cache: "never" });
const failing = alias("failing", "chat", "status_400");
const broken = alias("broken", "chat", "cut_once");
const forgotten = alias("forgotten", "chat", "ceiling");
const leaving = alias("leaving", "chat", "held");
const dripping = alias("dripping", "chat", "drip");

before(async () => {
  house = await startHouse({ aliases, retry: { attempts_per_target: 1, attempts: 1 } });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

/** A question that may be kept: temperature 0. */
const ask = ({ dialect, name }, { more, text, ...options } = {}) => {
  const caller = CALLERS[dialect];
  return call(url, { path: caller.path, json: caller.body(name, text, { temperature: 0, ...more }), ...options });
};

const soon = () => new Promise((resolve) => setTimeout(resolve, 200));

test(`${MANY} equal questions at once are one call, in every dialect, streamed and whole`, async () => {
  for (const way of shared) {
    const arrived = provider.next(way.model);
    const asked = Array.from({ length: MANY }, (_, i) => ask(way, { more: { stream: way.stream }, address: `100.64.${i}.1` }));
    const seen = await arrived;
    await soon();
    seen.release();
    const answers = await Promise.all(asked);
    const what = `${way.dialect}, ${way.stream}`;
    assert.equal(provider.of(way.model).length, 1, what);
    const texts = answers.map((answer) => {
      assert.equal(answer.status, 200, `${what}: ${answer.text}`);
      const said = read(CALLERS[way.dialect], answer, way.stream);
      assert.deepEqual([said.finish, said.ended, said.error], ["stop", true, undefined], what);
      return said.text;
    });
    assert.equal(new Set(texts).size, 1, what);
    assert.equal(answers.filter(({ headers }) => headers["x-gatehouse-attached"] !== "true").length, 1, what);
    // It was paid for once: the line of the call itself, which may be written after those of who asked.
    const lines = await Promise.all(answers.map((answer) => house.worker.log(answer.headers["x-request-id"])));
    const ids = new Set(lines.map((line) => line.request_id));
    const logged = () => house.worker.logs().filter((line) => ids.has(line.request_id));
    await until(() => logged().find((line) => line.method === "CALL"), `the line of the call, ${what}`);
    assert.equal(logged().filter((line) => (line.tokens_out ?? 0) > 0).length, 1, what);
  }
});

test("equal questions to two aliases are two calls, although one model answers both", async () => {
  const asked = [ask(one), ask(one), ask({ ...one, name: "two" }), ask({ ...one, name: "two" })];
  await soon();
  await soon();
  assert.equal(provider.of(one.model).length, 2);
  for (const seen of provider.of(one.model)) seen.release();
  for (const answer of await Promise.all(asked)) assert.equal(answer.status, 200);
});

test("questions whose answers are not kept are never merged", async () => {
  for (const [way, options] of [
    [warm, { more: { temperature: 0.7 } }],
    [warm, { more: { temperature: undefined } }],
    [warm, { headers: { "cache-control": "no-store" } }],
    [warm, { headers: { "cache-control": "no-cache" } }],
    [never, {}],
  ]) {
    const before = provider.of(way.model).length;
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask(way, options)));
    assert.equal(provider.of(way.model).length, before + 5, JSON.stringify(options));
    assert.ok(answers.every(({ headers }) => headers["x-gatehouse-attached"] === undefined));
  }
});

test("a refusal is told to everyone who asked at once, and to nobody who asks later", async () => {
  const before = provider.of(failing.model).length;
  for (const answer of await Promise.all(Array.from({ length: 5 }, () => ask(failing)))) assertRefused(answer, "openai", 400, "upstream_rejected");
  const asked = provider.of(failing.model).length - before;
  assert.ok(asked >= 1 && asked <= 5, String(asked));
  assertRefused(await ask(failing), "openai", 400, "upstream_rejected");
  assert.equal(provider.of(failing.model).length, before + asked + 1);
});

test("an answer that broke is not given to somebody who asks a moment later", async () => {
  const first = read(CALLERS.chat, await ask(broken, { more: { stream: true } }), true);
  assert.deepEqual([first.error, first.ended], ["upstream_disconnected", false]);
  const second = read(CALLERS.chat, await ask(broken, { more: { stream: true } }), true);
  assert.deepEqual([second.error, second.finish], [undefined, "stop"]);
});

test("an equal question is asked anew once the shared answer is forgotten", async () => {
  const caller = CALLERS.chat;
  for (let i = 1; i <= 3; i += 1) {
    // This answer is shared, but never kept: it stopped at its ceiling.
    const answer = await ask(forgotten);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(read(caller, answer, false).finish, "length");
    assert.equal(provider.of(forgotten.model).length, i);
    // It is forgotten a second after its end.
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
});

test("one of several who leaves takes nothing from the others", async () => {
  const caller = CALLERS.chat;
  const arrived = provider.next(leaving.model);
  const json = caller.body(leaving.name, undefined, { temperature: 0, stream: true });
  const first = await Promise.all([open(url, { path: caller.path, json }), arrived]);
  const other = ask(leaving, { more: { stream: true } });
  await soon();
  first[0].abort();
  await soon();
  first[1].release();
  const said = read(caller, await other, true);
  assert.deepEqual([said.error, said.finish], [undefined, "stop"]);
  assert.equal(provider.of(leaving.model).length, 1);
});

test("a question that nobody waits for any more is let go", async () => {
  const caller = CALLERS.chat;
  const arrived = provider.next(dripping.model);
  const answer = await open(url, { path: caller.path, json: caller.body(dripping.name, undefined, { temperature: 0, stream: true }) });
  const seen = await arrived;
  answer.response.once("data", () => answer.abort());
  await within(seen.closed(), "the provider's connection to close", 2000);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
