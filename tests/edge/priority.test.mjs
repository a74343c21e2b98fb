// Who goes first where the places of a target are taken: interactive aliases before batch ones, and what becomes of the rest.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, open, secretsIn } from "./support/client.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";
import { within } from "./support/wait.mjs";

const DEADLINES = { first_token_ms: 20_000, idle_ms: 20_000, total_ms: 25_000 };
/** Longer than the way of a call to the target's object, shorter than the patience of a ticket. */
const SETTLED_MS = 500;

const aliases = [];
/** Two aliases, `<tag>-people` and `<tag>-batch`, that share the places of one model. */
function shared(tag, queue, further = []) {
  const model = `held:${tag}`;
  for (const [name, priority] of [["people", "interactive"], ["batch", "batch"]]) {
    aliases.push({ name: `${tag}-${name}`, public: true, priority, deadlines: DEADLINES, target: [{ provider: "openai", model, max_concurrent: 1, queue }, ...further] });
  }
  return { tag, model };
}
const order = shared("order", 4);
const full = shared("full", 1);
const none = shared("none", 0);
const elsewhere = shared("elsewhere", 0, [{ provider: "openai", model: "good:elsewhere" }]);

let house;
let provider;
before(async () => {
  house = await startHouse({ aliases, retry: { attempts_per_target: 1, attempts: 2 } });
  ({ provider } = house);
});
after(() => house?.stop());

const ask = ({ tag }, who, said, stream = true) =>
  call(house.worker.url, { path: "/v1/chat/completions", json: CALLERS.chat.body(`${tag}-${who}`, said, { stream }) });
const settled = () => new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
const saidBy = (seen) => seen.body.messages.at(-1).content;

/** Takes the only place of a target; `leave()` ends that call. */
async function occupy({ tag, model }) {
  const arrived = provider.next(model);
  const json = CALLERS.chat.body(`${tag}-people`, "first", { stream: true });
  const [answer, seen] = await Promise.all([open(house.worker.url, { path: "/v1/chat/completions", json }), arrived]);
  answer.response.resume();
  return { leave: () => seen.release() };
}

/** Whose calls reach the provider, one after the other, each let go at once. */
async function turns({ model }, count) {
  const order = [];
  for (let i = 0; i < count; i += 1) {
    const seen = provider.of(model)[i + 1] ?? (await within(provider.next(model), `turn ${i + 1} of ${model}`));
    order.push(saidBy(seen));
    seen.release();
  }
  return order;
}

function assertShed(answer) {
  assertRefused(answer, "openai", 503, "upstream_busy");
  const seconds = Number(answer.headers["retry-after"]);
  assert.ok(seconds >= 1 && seconds <= 60, `Retry-After ${seconds}`);
  assert.notEqual(answer.headers["x-should-retry"], "false");
}

test("interactive calls go before batch calls that came first, and within a kind the oldest is first", async () => {
  const first = await occupy(order);
  const waiting = [];
  for (const [who, said] of [["batch", "b1"], ["people", "p1"], ["batch", "b2"], ["people", "p2"]]) {
    waiting.push(ask(order, who, said, said !== "p2"));
    await settled();
  }
  assert.equal(provider.of(order.model).length, 1, "nobody went up while the place was taken");
  const going = turns(order, waiting.length);
  first.leave();
  assert.deepEqual(await going, ["p1", "p2", "b1", "b2"]);
  for (const [i, answer] of (await Promise.all(waiting)).entries()) {
    assert.equal(answer.status, 200, answer.text);
    assert.equal(read(CALLERS.chat, answer, i !== 3).finish, "stop");
  }
});

test("a full queue sheds a batch call with a wait, and an interactive call takes the place of a batch one", async () => {
  const first = await occupy(full);
  const batch = ask(full, "batch", "b1");
  await settled();
  assertShed(await ask(full, "batch", "b2"));
  const people = ask(full, "people", "p1");
  assertShed(await within(batch, "the batch call to lose its place"));
  assertShed(await ask(full, "people", "p2", false));
  assert.equal(provider.of(full.model).length, 1);
  const going = turns(full, 1);
  first.leave();
  assert.deepEqual(await going, ["p1"]);
  assert.equal((await people).status, 200);
  assert.deepEqual(provider.of(full.model).map(saidBy), ["first", "p1"], "what was shed never went up");
});

test("where nobody may wait all are told to come back, in every dialect", async () => {
  const first = await occupy(none);
  await settled();
  for (const who of ["people", "batch"]) {
    for (const [dialect, caller] of Object.entries(CALLERS)) {
      const json = caller.body(`${none.tag}-${who}`, "x", dialect === "responses" ? { store: false } : {});
      const answer = await call(house.worker.url, { path: caller.path, json });
      assertRefused(answer, caller.dialect, 503, "upstream_busy");
      assert.ok(Number(answer.headers["retry-after"]) >= 1);
    }
  }
  assert.equal(provider.of(none.model).length, 1);
  first.leave();
});

test("a full target is passed over where the alias has another one", async () => {
  const first = await occupy(elsewhere);
  await settled();
  for (const who of ["people", "batch"]) {
    const answer = await ask(elsewhere, who, "x");
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.headers["x-gatehouse-target"], "openai/good:elsewhere");
  }
  first.leave();
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
