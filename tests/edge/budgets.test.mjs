// Budgets in money: never overrun, whatever runs in parallel, is killed or lost.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { call, open, question } from "./support/client.mjs";
import { DEADLINES, ONCE } from "./support/config.mjs";
import { assertRefused, codeOf, startHouse } from "./support/house.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";
import { until } from "./support/wait.mjs";

const target = (model) => [{ provider: "openai", model }];
const alias = (name, model, more = {}) => ({ name, public: true, cache: "never", max_output_tokens: 100, retry: ONCE, target: target(model), ...more });
/** A dollar for a million tokens in, ten for a million out. */
const price = (model) => ({ model, input: 1, output: 10 });
const DIME = { budget: { day_usd: 0.1 } };

let house;
let owner;
before(async () => {
  house = await startHouse(
    {
      retry: ONCE,
      abuse: { enabled: false },
      aliases: [
        alias("dime", "good:dime", { allowance: DIME }),
        alias("killed", "good:killed", { allowance: DIME }),
        alias("tardy", "tardy:budget", { allowance: DIME }),
        alias("streamed", "good:streamed", { allowance: DIME }),
        alias("left", "stall:left", { allowance: DIME, deadlines: DEADLINES }),
        alias("unpriced", "good:unpriced", { allowance: DIME }),
        alias("wide", "good:wide", { allowance: { budget: { day_usd: 0.04 } } }),
        alias("narrow", "good:narrow"),
        alias("two", "lasting:two", { allowance: { concurrent: 2 } }),
        alias("tokens", "good:tokens", { allowance: { tokens: { tokens: 20_000, seconds: 3600 } } }),
      ],
      prices: ["good:dime", "good:killed", "tardy:budget", "good:streamed", "stall:left", "good:wide", "good:narrow"].map(price),
    },
    { ADMIN_TOKEN },
  );
  house.provider.own.tardy = async (call) => {
    await call.wait(300);
    return call.say.whole(call);
  };
  house.provider.own.lasting = async (call) => {
    await call.wait(1000);
    return call.say.whole(call);
  };
  owner = await claimHouse(house.worker);
});
after(() => house?.stop());

const ask = (model, i = 0, more = {}) =>
  call(house.worker.url, {
    path: "/v1/chat/completions",
    json: question(model, { messages: [{ role: "user", content: `Good day number ${i}?` }] }),
    address: `198.19.${i % 200}.${Math.floor(i / 200)}`,
    ...more,
  });

/** What the budget of a scope says, in dollars. */
async function spent(scope) {
  const { budgets } = await owner.do("GET", "/budgets");
  const day = budgets.find((budget) => budget.scope === scope)?.used.spend.find((window) => window.window === "day-budget");
  return { spent: Number(day?.spent_usd ?? 0), reserved: Number(day?.reserved_usd ?? 0) };
}

/** What the provider was really asked to do, at the price of the answers' own counts. */
const costs = (answers) => answers.reduce((sum, answer) => sum + Number(answer.headers["x-gatehouse-cost-usd"] ?? 0), 0);

/** What the cheapest answer cost. */
let cheapest;

test("a thousand calls at once against a dime spend a dime at most, and to the last micro-dollar what they cost", async () => {
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, i) => ask("dime", i)));
  const good = answers.filter((answer) => answer.status === 200);
  for (const answer of answers.filter((answer) => answer.status !== 200)) {
    assert.ok(["budget_exhausted", "overloaded"].includes(codeOf(answer)), answer.text);
  }
  assert.ok(good.length > 5, `${good.length} were admitted`);
  const after = await until(async () => {
    const now = await spent("alias/dime");
    return now.reserved === 0 && now;
  }, "every reservation to be settled");
  assert.ok(after.spent <= 0.1, JSON.stringify(after));
  assert.equal(after.spent.toFixed(6), costs(good).toFixed(6), "the book is what the callers were told");
  cheapest = Math.min(...good.map((answer) => Number(answer.headers["x-gatehouse-cost-usd"])));
  assert.ok(cheapest > 0);
});

/** Calls until even a single one is more than what is left; that refusal. */
async function exhaust(model) {
  for (let round = 1; round <= 200; round += 1) {
    await Promise.all(Array.from({ length: 20 }, (_, i) => ask(model, round * 20 + i)));
    const alone = await ask(model);
    // A second is the wait for calls that are not settled yet.
    if (alone.status !== 200 && Number(alone.headers["retry-after"]) > 1) return alone;
  }
  throw new Error(`${model} has no end`);
}

test("a refusal by a budget tells when there is a new one, and not to try again by oneself", async () => {
  const refused = await exhaust("wide");
  assertRefused(refused, "openai", 429, "budget_exhausted");
  assert.equal(refused.headers["x-should-retry"], "false");
  const midnight = 86_400 - (Math.floor(Date.now() / 1000) % 86_400);
  assert.ok(Math.abs(Number(refused.headers["retry-after"]) - midnight) < 60, refused.headers["retry-after"]);
  assert.equal(refused.json().error.type, "insufficient_quota");
});

// What the killed calls held stays reserved until their deadline, longer than a test can wait; that it then counts as
// spent and frees its place is tested on the host.
test("killed in the middle and started again, the budget still holds and what came after is settled", async () => {
  const running = Array.from({ length: 300 }, (_, i) => ask("tardy", i).catch(() => undefined));
  await until(() => house.provider.of("tardy:budget").length >= 3, "some calls to be under way");
  await house.worker.restart({ hard: true });
  await Promise.all(running);
  const then = await spent("alias/tardy");
  assert.ok(then.spent + then.reserved <= 0.1, JSON.stringify(then));
  await Promise.all(Array.from({ length: 200 }, (_, i) => ask("tardy", i)));
  const now = await spent("alias/tardy");
  assert.ok(now.spent + now.reserved <= 0.1, JSON.stringify(now));
  await until(async () => (await spent("alias/tardy")).reserved <= then.reserved, "the later calls to be settled");
  // What was asked of the provider can have cost no more either.
  const asked = house.provider.of("tardy:budget").length;
  assert.ok(asked > 0 && asked * cheapest <= 0.1, `${asked} calls`);
});

test("streams are settled when they end, and when their client leaves", async () => {
  const stream = await ask("streamed", 1, { json: question("streamed", { stream: true, stream_options: { include_usage: true } }) });
  assert.equal(stream.status, 200, stream.text);
  const after = await until(async () => {
    const now = await spent("alias/streamed");
    return now.reserved === 0 && now.spent > 0 && now;
  }, "the stream to be settled");
  assert.ok(after.spent < 0.01);

  const left = await open(house.worker.url, { path: "/v1/chat/completions", json: question("left", { stream: true }), address: "198.19.250.1" });
  assert.equal(left.status, 200);
  await once(left.response, "data");
  left.abort();
  const most = await until(async () => {
    const now = await spent("alias/left");
    return now.reserved === 0 && now.spent > 0 && now;
  }, "the stream that was left to be settled");
  // 100 tokens at ten dollars a million, and the input's bound: nobody tells what the provider went on to do.
  assert.ok(most.spent >= 0.003, JSON.stringify(most));
});

test("what has no bound is refused where a budget applies", async () => {
  assertRefused(await ask("unpriced"), "openai", 503, "budget_unbounded");
  assert.equal(house.provider.of("good:unpriced").length, 0);
});

test("a wider account that refuses makes the narrower one give back", async () => {
  const scopes = { aliases: ["wide", "narrow"], endpoints: "all", stores: "none" };
  const key = await owner.do("POST", "/keys", { name: "rich", scopes, allowance: { budget: { day_usd: 5 } } });
  const headers = { authorization: `Bearer ${key.key}` };
  assertRefused(await ask("wide", 1, { headers }), "openai", 429, "budget_exhausted");
  const { used } = await owner.do("GET", `/keys/${key.id}`);
  const day = used.spend.find((window) => window.window === "day-budget");
  assert.ok(!day || (Number(day.spent_usd) === 0 && Number(day.reserved_usd) === 0), JSON.stringify(used));
  assert.equal((await ask("narrow", 1, { headers })).status, 200);
});

test("thresholds raise an alert each, once", async () => {
  const alerts = await until(async () => {
    const { alerts } = await owner.do("GET", "/alerts");
    const own = alerts.filter((alert) => alert.about === "alias/wide");
    return own.some((alert) => alert.kind.startsWith("all/")) && own;
  }, "the alert of a spent budget");
  const kinds = alerts.map((alert) => alert.kind.split("/")[0]).filter((kind) => ["half", "most", "all"].includes(kind));
  assert.deepEqual(kinds.toSorted(), ["all", "half", "most"]);
});

test("a budget is raised while the house runs, and the next call goes through", async () => {
  assert.equal(codeOf(await ask("wide", 7)), "budget_exhausted");
  const changed = await owner.do("PUT", "/budgets", { scope: "alias/wide", budget: { day_usd: 1 } });
  await sleep(1100);
  assert.equal((await ask("wide", 8)).status, 200);
  assert.ok(changed.undo, JSON.stringify(changed));
  await owner.do(changed.undo.method, changed.undo.path.replace("/api/admin", ""), changed.undo.body);
});

test("no more calls run at the same time than there are places", async () => {
  const calls = Array.from({ length: 12 }, (_, i) => ask("two", i, { json: question("two") }));
  const answers = await Promise.all(calls);
  const refused = answers.filter((answer) => answer.status === 429);
  assert.equal(refused.length, 10, answers.map((answer) => answer.status).join());
  for (const answer of refused) assertRefused(answer, "openai", 429, "concurrency_limited");
});

test("tokens are limited by the worst case, and what was not used comes back", async () => {
  const answers = [];
  // At its most a call takes more than a thousand of the 20,000.
  for (let i = 0; i < 40; i += 1) answers.push(await ask("tokens", i));
  assert.ok(answers.every((answer) => answer.status === 200), answers.map((answer) => answer.text).join("\n").slice(0, 500));
  const parallel = await Promise.all(Array.from({ length: 60 }, (_, i) => ask("tokens", i)));
  assert.ok(parallel.some((answer) => answer.status === 200) && parallel.some((answer) => codeOf(answer) === "rate_limited" || codeOf(answer) === "overloaded"));
});
