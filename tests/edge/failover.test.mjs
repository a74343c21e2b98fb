// What a provider does wrong and what the caller gets: the sixteen scenarios of failoverbench, in both dialects, streamed
// and whole; then the breaker, hedging, weights, places and the last resort.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { BEHAVIOURS, FLAPS, LATE_MS, LONG_TEXT, TIRED_AFTER } from "./support/behaviours.mjs";
import { call, events, leaks, open, secretsIn } from "./support/client.mjs";
import { assertRefused, codeInBand, codeOf, startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";
import { until, within } from "./support/wait.mjs";

const GOOD = /^Answer \d+: good day, 世界。$/;
const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const DEADLINES = { first_token_ms: 900, idle_ms: 600, total_ms: 20_000 };
const RETRY = { base_ms: 20, max_ms: 80, max_retry_after_ms: 2000 };

/** Aliases that the tests below add, each named once. */
const aliases = [];
const cases = [];

/**
 * An alias of a chain; each target is `fault` or `[fault, more]`, and gets a model of its own.
 *
 * @returns {{name: string, models: string[]}}
 */
function chain(tag, provider, targets, more = {}) {
  const name = tag.toLowerCase();
  const target = targets.map((given) => {
    const [fault, settings = {}] = [given].flat();
    return { provider, model: `${fault}:${tag}`, ...settings };
  });
  aliases.push({ name, public: true, deadlines: DEADLINES, target, ...more });
  return { name, models: target.map(({ model }) => model) };
}

const WAYS = ["chat", "messages"].flatMap((dialect) => [false, true].map((stream) => ({ dialect, stream })));

/**
 * A scenario in both dialects, streamed and not: the chain's faults, and what is asserted. `check` gets the answer, what
 * it says, the requests of each model, the caller and the log line.
 */
function scenario(id, title, targets, { more = {}, ways = WAYS } = {}, check) {
  const all = ways.map((way) => {
    const tag = `${id}-${way.dialect}-${way.stream ? "stream" : "whole"}`;
    return { ...way, ...chain(tag, PROVIDER[way.dialect], targets, more) };
  });
  cases.push({ title: `${id}: ${title}`, all, check });
}

let house;
let url;
let provider;

async function ask({ dialect, stream, name }, options = {}) {
  const caller = CALLERS[dialect];
  const answer = await call(url, { path: caller.path, json: caller.body(name, undefined, { stream, ...options.more }), ...options });
  return answer;
}

const counts = ({ models }) => models.map((model) => provider.of(model).length);
const logOf = (answer) => house.worker.log(answer.headers["x-request-id"]);

/** An answer that is whole, of the target at that place of the chain. */
function assertWhole(way, answer, place, text = GOOD) {
  assert.equal(answer.status, 200, answer.text);
  const said = read(CALLERS[way.dialect], answer, way.stream);
  assert.equal(said.error, undefined);
  if (text instanceof RegExp) assert.match(said.text, text);
  else assert.equal(said.text, text);
  assert.deepEqual([said.finish, said.ended], ["stop", true]);
  if (place !== undefined) assert.equal(answer.headers["x-gatehouse-target"], `${PROVIDER[way.dialect]}/${way.models[place]}`);
  return said;
}

/** A stream that ends with an error of that code, and with nothing that could be taken for its end. */
function assertCut(way, answer, code) {
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.broken, false, "the transfer itself ends in order");
  const said = read(CALLERS[way.dialect], answer, true);
  assert.deepEqual([said.error, said.ended], [code, false]);
  return said;
}

const STREAMED = WAYS.filter(({ stream }) => stream);
const WHOLE = WAYS.filter(({ stream }) => !stream);

scenario("S01", "429 with Retry-After is waited for and asked again", ["wait_once"], {}, async (way, answer) => {
  assertWhole(way, answer, 0);
  const [first, second, ...more] = provider.of(way.models[0]);
  assert.equal(more.length, 0);
  assert.ok(second.at - first.at >= 990, `asked again after ${second.at - first.at} ms`);
  assert.equal(answer.headers["x-gatehouse-attempts"], "2");
});

scenario("S02", "a lasting 429 without a wait goes to the next target", ["wait_unnamed", "good"], {}, async (way, answer) => {
  assertWhole(way, answer, 1);
  assert.deepEqual(counts(way), [1, 1]);
});

scenario("S02b", "a lasting 429 with no other target is told with a wait, never as success", ["wait_unnamed"], {}, async (way, answer) => {
  assertRefused(answer, CALLERS[way.dialect].dialect, 503, "upstream_rate_limited");
  assert.ok(Number(answer.headers["retry-after"]) >= 1);
  assert.deepEqual(counts(way), [2]);
});

scenario("S03", "one 500 is asked again at the same target", ["one_500", "good"], {}, async (way, answer) => {
  assertWhole(way, answer, 0);
  assert.deepEqual(counts(way), [2, 0]);
});

scenario("S04", "a lasting 503 goes to the next target", ["status_503", "good"], {}, async (way, answer) => {
  assertWhole(way, answer, 1);
  assert.deepEqual(counts(way), [2, 1]);
  assert.equal(answer.headers["x-gatehouse-attempts"], "3");
  assert.equal((await logOf(answer)).attempts, 3);
});

scenario("S05", "a connection that is reset goes to the next target", ["reset_at_once", "good"], {}, async (way, answer) => {
  assertWhole(way, answer, 1);
});

scenario("S06", "a silent target is left when its first token is due", ["slow_head", "good"], {}, async (way, answer) => {
  assertWhole(way, answer, 1);
  await provider.of(way.models[0])[0].closed();
});

scenario("S07", "a late first token is not waited for, and nothing of it is delivered", ["late_token", "good"], {}, async (way, answer) => {
  assertWhole(way, answer, 1);
  const [late, good] = way.models.map((model) => provider.of(model)[0]);
  assert.ok(good.at - late.at < LATE_MS, "the next target was asked before the late token came");
  await late.closed();
});

scenario("S08", "a stream cut in its middle is continued, with no text lost or said twice", ["cut_mid", ["goes_on", { prefill: true }]], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  const said = assertWhole(way, answer, undefined, LONG_TEXT);
  const turns = provider.of(way.models[1])[0].body.messages;
  assert.equal(turns.at(-1).role, "assistant");
  const line = await logOf(answer);
  assert.deepEqual([line.attempts, line.target, line.code], [2, `${PROVIDER[way.dialect]}/${way.models[1]}`, undefined]);
  assert.ok(said.usage === undefined || said.usage[0] > 0);
});

scenario("S08b", "a stream cut in its middle where nothing may continue it ends with an error", ["cut_mid", "good"], { ways: STREAMED }, async (way, answer) => {
  const said = assertCut(way, answer, "upstream_disconnected");
  assert.ok(said.text.length > 0 && LONG_TEXT.startsWith(said.text));
  assert.deepEqual(counts(way), [1, 0]);
  assert.equal((await logOf(answer)).code, "upstream_disconnected");
});

scenario("S08c", "a whole answer that is cut is asked of the next target", ["cut_mid", "good"], { ways: WHOLE }, async (way, answer) => {
  assertWhole(way, answer, 1);
});

scenario("S09", "a stream that stalls is continued", ["stall_mid", ["goes_on", { prefill: true }]], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertWhole(way, answer, undefined, LONG_TEXT);
  await provider.of(way.models[0])[0].closed();
});

scenario("S09b", "a stream that stalls where nothing may continue it ends with an error", ["stall_mid", "good"], { ways: STREAMED }, async (way, answer) => {
  assertCut(way, answer, "upstream_stalled");
  await provider.of(way.models[0])[0].closed();
});

scenario("S10", "a stream with an event that cannot be read is continued", ["bad_json", ["goes_on", { prefill: true }]], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertWhole(way, answer, undefined, LONG_TEXT);
});

scenario("S10b", "a stream with an event that cannot be read ends with an error", ["bad_json", "good"], { ways: STREAMED }, async (way, answer) => {
  // On the native path what follows the bad event has passed already; the error stands behind it all the same.
  assert.equal(codeInBand(events(answer.text).at(-1)), "upstream_protocol");
  assert.equal((await logOf(answer)).code, "upstream_protocol");
});

scenario("S11", "a stream without its end marker ends with an error, rescue or not", ["no_end", "good"], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertCut(way, answer, "upstream_protocol");
});

scenario("S11b", "a whole answer without a finish reason is asked of the next target", ["no_finish", "good"], { ways: WHOLE }, async (way, answer) => {
  assertWhole(way, answer, 1);
});

const SMALL = { context_tokens: 8000 };
scenario("S12", "a conversation that is too long is asked of a larger target alone, once each", [["context_length", SMALL], ["other", SMALL], ["good", { context_tokens: 200_000 }]], {}, async (way, answer) => {
  assertWhole(way, answer, 2);
  assert.deepEqual(counts(way), [1, 0, 1]);
});

scenario("S12b", "a conversation that is too long for every target is the caller's to mend", [["context_length", SMALL], ["good", SMALL]], {}, async (way, answer) => {
  assertRefused(answer, CALLERS[way.dialect].dialect, 400, "input_too_long");
  assert.deepEqual(counts(way), [1, 0]);
  assert.equal(answer.headers["x-should-retry"], "false");
});

scenario("S13", "what a content filter refuses is a clean error and not asked again", ["content_filter", "good"], {}, async (way, answer) => {
  assertRefused(answer, CALLERS[way.dialect].dialect, 400, "content_filtered");
  assert.deepEqual(counts(way), [1, 0]);
});

scenario("S14", "a fallback that refuses a prefill is asked by an instruction", ["cut_mid", ["no_prefill", { prefill: true }]], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertWhole(way, answer, undefined, LONG_TEXT);
  const [refused, told] = provider.of(way.models[1]).map(({ body }) => body.messages.at(-1).role);
  assert.deepEqual([refused, told], ["assistant", "user"]);
});

scenario("S14b", "a target of which nothing is known is asked by an instruction at once", ["cut_mid", "no_prefill"], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertWhole(way, answer, undefined, LONG_TEXT);
  assert.deepEqual(counts(way), [1, 1]);
});

scenario("S14c", "a continuation that says its last words once more is joined without them", ["cut_mid", "repeats"], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertWhole(way, answer, undefined, LONG_TEXT);
});

scenario("S14d", "a tool call that was cut is never continued", ["cut_tool", "good"], { more: { rescue: true }, ways: STREAMED }, async (way, answer) => {
  assertCut(way, answer, "upstream_disconnected");
  assert.deepEqual(counts(way), [1, 0]);
});

scenario("S16", "the answer tells the fallback's model and its usage", ["status_503", "other_usage"], {}, async (way, answer) => {
  const said = assertWhole(way, answer, 1);
  assert.equal(said.model, way.models[1]);
  const line = await logOf(answer);
  assert.deepEqual([line.tokens_in, line.tokens_out, line.target], [1000, 500, `${PROVIDER[way.dialect]}/${way.models[1]}`]);
  if (way.stream) return;
  assert.deepEqual(said.usage, [1000, 500]);
  assert.deepEqual([answer.headers["x-gatehouse-tokens-in"], answer.headers["x-gatehouse-tokens-out"]], ["1000", "500"]);
});

// === further chains ===

const flapping = chain("S15", "openai", ["flapping", "good"], { retry: { ...RETRY, attempts_per_target: 1, attempts: 2 } });
const down = chain("breaker-down", "openai", ["status_503"], { retry: { ...RETRY, attempts_per_target: 1, attempts: 1 } });
aliases.push({ name: "breaker-twin", public: true, target: [{ provider: "openai", model: down.models[0] }] });
const refused = chain("refused-key", "openai", ["status_401"]);
const refusedFirst = chain("refused-first", "openai", ["status_401", "good"]);
const hedged = chain("hedged", "openai", ["tired", "good"], { hedge: true });
const weighted = chain("weighted", "openai", [["good", { weight: 3 }], ["other", { weight: 1 }], ["long", { weight: 0 }]], { choose: "weighted" });
const capped = chain("capped", "openai", [["held", { max_concurrent: 1, queue: 1 }]], { deadlines: { ...DEADLINES, first_token_ms: 15_000 } });
const lastBuiltin = chain("last-builtin", "openai", ["status_503"], { last_resort: ["builtin"] });
const lastStale = chain("last-stale", "openai", ["once_good"], { last_resort: ["stale", "builtin"] });
const mendable = chain("mendable", "openai", ["status_400"], { last_resort: ["builtin"] });
const patient = chain("patient", "openai", ["slow_head"], { deadlines: { ...DEADLINES, first_token_ms: 19_000 }, retry: { ...RETRY, attempts_per_target: 1, attempts: 1 } });
const trailed = chain("trailed", "openai", ["status_503", "other_usage"]);

/** A caller's stream that breaks at one provider and goes on at one of another protocol. */
const CROSSED = ["chat", "messages", "responses"].flatMap((dialect) =>
  Object.values(PROVIDER).flatMap((from) => Object.values(PROVIDER).map((to) => ({ dialect, from, to }))),
);
for (const { dialect, from, to } of CROSSED) {
  const name = `crossed-${dialect}-${from}-${to}`;
  aliases.push({
    name,
    public: true,
    rescue: true,
    deadlines: DEADLINES,
    target: [
      { provider: from, model: `cut_mid:${name}` },
      { provider: to, model: `goes_on:${name}`, prefill: to !== "anthropic" },
    ],
  });
}

before(async () => {
  house = await startHouse({
    aliases,
    retry: RETRY,
    prices: [{ model: trailed.models[1], input: 1, output: 2 }],
  });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

describe("the sixteen scenarios", () => {
  for (const { title, all, check } of cases) {
    test(title, () => Promise.all(all.map(async (way) => check(way, await ask(way)))));
  }

  test("S15: a primary that flaps is left alone, and is back within 30 seconds", async () => {
    const way = { dialect: "chat", stream: false, ...flapping };
    for (let i = 0; i < FLAPS + 5; i += 1) assertWhole(way, await ask(way), 1);
    assert.equal(provider.of(flapping.models[0]).length, FLAPS, "while its breaker is open it is not asked");
    const began = Date.now();
    await until(async () => (await ask(way)).headers["x-gatehouse-target"].endsWith(flapping.models[0]), "the primary to be back", 30_000);
    assert.ok(Date.now() - began < 30_000);
    assertWhole(way, await ask(way), 0);
  });
});

test("S08 and S14 across protocols: every caller's stream goes on at every provider", async () => {
  await Promise.all(
    CROSSED.map(async ({ dialect, from, to }) => {
      const name = `crossed-${dialect}-${from}-${to}`;
      const answer = await ask({ dialect, stream: true, name }, dialect === "responses" ? { more: { store: false } } : {});
      assert.equal(answer.status, 200, `${name}: ${answer.text}`);
      let said;
      try {
        said = read(CALLERS[dialect], answer, true);
      } catch (error) {
        error.message = `${name}: ${error.message}`;
        throw error;
      }
      assert.deepEqual([said.text, said.error, said.finish, said.ended], [LONG_TEXT, undefined, "stop", true], name);
    }),
  );
});

// === the breaker ===

test("a target that fails again and again is not asked any more, by no alias, and the wait is told", async () => {
  const way = { dialect: "chat", stream: false, ...down };
  for (let i = 0; i < FLAPS; i += 1) assertRefused(await ask(way), "openai", 502, "upstream_error");
  for (const name of [down.name, "breaker-twin"]) {
    const answer = await ask({ ...way, name });
    assert.equal(answer.status, 503);
    assert.equal(codeOf(answer), "upstream_unavailable");
    const wait = Number(answer.headers["retry-after"]);
    assert.ok(wait >= 1 && wait <= 30, `Retry-After ${wait}`);
    assert.equal(answer.headers["x-gatehouse-attempts"], "0");
  }
  assert.equal(provider.of(down.models[0]).length, FLAPS);
});

test("a refused key is never shown as the caller's 401, opens the breaker and calls the operator", async () => {
  const way = { dialect: "chat", stream: false, ...refused };
  const answer = await ask(way);
  assertRefused(answer, "openai", 502, "upstream_auth");
  assert.equal((await logOf(answer)).level, "critical");
  const again = await ask(way);
  assert.deepEqual(counts(way), [1], "the second call did not go up");
  for (const { headers } of [answer, again]) {
    assert.deepEqual([headers["x-should-retry"], headers["retry-after"], headers["retry-after-ms"]], ["false", undefined, undefined]);
  }
  assertRefused(again, "openai", 502, "upstream_auth");
  assertWhole({ ...way, ...refusedFirst }, await ask({ ...way, ...refusedFirst }), 1);
});

// === hedging, weights, places ===

test("a late target is overtaken by the next one, and let go", async () => {
  const way = { dialect: "chat", stream: true, ...hedged };
  for (let i = 0; i < TIRED_AFTER; i += 1) assertWhole(way, await ask(way), 0);
  const answer = await ask(way);
  assertWhole(way, answer, 1);
  const [tired, good] = way.models.map((model) => provider.of(model).at(-1));
  assert.ok(good.at - tired.at < DEADLINES.first_token_ms, "the second began before the first was given up");
  await tired.closed();
  assert.equal((await logOf(answer)).attempts, 2);
});

test("calls are spread by weight, and a weight of nothing is for bad days", async () => {
  const way = { dialect: "chat", stream: false, ...weighted };
  await Promise.all(Array.from({ length: 80 }, () => ask(way)));
  const [heavy, light, none] = counts(way);
  assert.equal(heavy + light, 80);
  assert.ok(heavy > light && light > 0, `${heavy} and ${light}`);
  assert.equal(none, 0);
});

test("a target serves as many calls as it may, a few wait, and the rest is told to come back", async () => {
  const way = { dialect: "chat", stream: true, ...capped };
  const [model] = capped.models;
  const first = provider.next(model);
  const one = await Promise.all([open(url, { path: "/v1/chat/completions", json: CALLERS.chat.body(capped.name, "1", { stream: true }) }), first]);
  const second = provider.next(model);
  const waiting = ask(way);
  // The second stands in the queue before the third comes.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const third = await ask(way);
  assertRefused(third, "openai", 503, "upstream_busy");
  assert.ok(Number(third.headers["retry-after"]) >= 1);
  assert.equal(provider.of(model).length, 1);
  one[0].response.resume();
  one[1].release();
  const seen = await within(second, "the second call's turn");
  assert.ok(one[1].over, "the first had ended when the second began");
  seen.release();
  assertWhole(way, await waiting, 0);
});

// === deadlines and telling ===

test("a caller may shorten the wait for the first token, and not lengthen it", async () => {
  const way = { dialect: "chat", stream: true, ...patient };
  const began = Date.now();
  assertRefused(await ask(way, { headers: { "x-gatehouse-first-token-ms": "300" } }), "openai", 504, "upstream_timeout");
  assertRefused(await ask(way, { headers: { "x-gatehouse-total-ms": "300" } }), "openai", 504, "upstream_deadline");
  assert.ok(Date.now() - began < 19_000);
});

test("a stream tells in a comment behind its end what it took, if it is asked to", async () => {
  const way = { dialect: "chat", stream: true, ...trailed };
  const answer = await ask(way, { headers: { "x-gatehouse-trailer": "true" } });
  assertWhole(way, answer, 1);
  const told = JSON.parse(/\n: gatehouse (\{.*\})\n\n$/.exec(answer.text)[1]);
  assert.deepEqual(told, { target: `openai/${trailed.models[1]}`, attempts: 3, tokens_in: 1000, tokens_out: 500, tokens_estimated: false, cost_usd: told.cost_usd });
  assert.equal(Number(told.cost_usd), (1000 * 1 + 500 * 2) / 1_000_000);
  assert.ok(!(await ask(way)).text.includes(": gatehouse"));
});

// === the last resort ===

test("where the alias allows it, the built-in answerer steps in for targets that are all down, and says so", async () => {
  for (const stream of [false, true]) {
    const answer = await ask({ dialect: "chat", stream, ...lastBuiltin });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["x-gatehouse-fallback"], "builtin");
    assert.match(answer.headers["x-gatehouse-answerer"], /built-in/);
    assert.equal(read(CALLERS.chat, answer, stream).finish, "stop");
    assert.equal((await logOf(answer)).code, "upstream_error", "the operator sees why");
  }
  const mend = await ask({ dialect: "chat", stream: false, ...mendable });
  assertRefused(mend, "openai", 400, "upstream_rejected");
});

test("an answer that was kept once goes before the built-in answerer, and is marked as old", async () => {
  const way = { dialect: "chat", stream: false, ...lastStale };
  const more = { temperature: 0 };
  const first = await ask(way, { more });
  const said = assertWhole(way, first, 0);
  await until(async () => (await ask(way, { more })).headers["x-cache"] === "hit", "the answer to be kept");
  const old = await ask(way, { more, headers: { "cache-control": "no-cache" } });
  assert.equal(old.status, 200, old.text);
  assert.deepEqual([old.headers["x-gatehouse-fallback"], old.headers["x-cache"]], ["stale", "stale"]);
  assert.equal(read(CALLERS.chat, old, false).text, said.text);
  const other = await ask(way, { more: { temperature: 0, seed: 7 } });
  assert.equal(other.headers["x-gatehouse-fallback"], "builtin");
});

test("the table of faults in the documentation names every fault, and no other", () => {
  const text = readFileSync(new URL("../../docs/failures.md", import.meta.url), "utf8");
  const table = text.slice(text.indexOf("## Every fault"));
  const named = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(named.sort(), Object.keys(BEHAVIOURS).sort());
  const scenarios = [...text.matchAll(/^\| (S\d\d) \|/gm)].map(([, id]) => id);
  assert.equal(scenarios.length, 16);
  for (const id of scenarios) assert.ok(id === "S15" || cases.some(({ title }) => title.startsWith(`${id}:`)), id);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
