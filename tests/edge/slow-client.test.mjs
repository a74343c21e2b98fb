// Clients that read slowly, and clients that go, on every way that a stream can take.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";

import { events, leaks, open, secretsIn } from "./support/client.mjs";
import { startHouse } from "./support/house.mjs";
import { CALLERS } from "./support/read.mjs";
import { within } from "./support/wait.mjs";

const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const MIB = 1_048_576;
/** The idle deadline; a client reads nothing for more than four times as long. */
const IDLE_MS = 1000;
const PAUSE_MS = 1500;
/** One long answer: this many tokens of this many bytes, 56 MiB in all: more than what stands in the system's buffers. */
const TOKENS = 14_336;
const TOKEN_BYTES = 4096;
/** What may be on its way between provider and client while nobody reads; how much that is, the system decides. */
const BUFFERED = 48 * MIB;
/** What the runtime may grow by while some such answers wait: less than half of one. */
const WAITING = 24 * MIB;
/** And what its garbage may come to while they pass: half of what passes. */
const passed = (answers) => (answers * TOKENS * TOKEN_BYTES) / 2;
/** When the provider's connection is closed behind a client that went. */
const CLOSED_MS = 2000;

const token = (i) => `${String(i).padStart(8, "0")}${"x".repeat(TOKEN_BYTES - 8)}`;

/** How an answer passes: the caller's dialect, the provider's, and what makes it take that way. */
const way = (kind, caller, target, more = {}, settings = {}) => ({ kind, caller, target, more, settings, name: `${kind}-${caller}-${target}` });
const native = [
  way("native", "chat", "chat", { stream_options: { include_usage: true } }),
  way("native", "messages", "messages"),
  way("native", "responses", "responses"),
];
const inspected = [way("inspected", "chat", "chat"), ...Object.keys(CALLERS).map((dialect) => way("rescued", dialect, dialect, {}, { rescue: true }))];
const translated = Object.keys(CALLERS).flatMap((caller) => Object.keys(PROVIDER).filter((to) => to !== caller).map((to) => way("translated", caller, to)));
const WAYS = [...native, ...inspected, ...translated];
/** Those of the long answer: the pipe of the native way does without us. A stream of the Responses API repeats its text at its end, so that its writer has to keep it. */
const LONG_WAYS = WAYS.filter(({ name }) => ["inspected-chat-chat", "translated-chat-messages"].includes(name));

function alias({ name, target, settings }, fault, idle_ms) {
  const models = [`${fault}:${name}`];
  // What may be continued must not be when it is the client that went.
  if (settings.rescue) models.push(`good:${name}`);
  return {
    name: `${fault}-${name}`,
    public: true,
    store_responses: false,
    deadlines: { first_token_ms: 10_000, idle_ms, total_ms: 60_000 },
    target: models.map((model) => ({ provider: PROVIDER[target], model })),
    ...settings,
  };
}

let house;
let provider;
/** Bytes of each flood that its connection took so far. */
const taken = {};
before(async () => {
  house = await startHouse({
    aliases: WAYS.flatMap((one) => [alias(one, "drip", 5000), alias(one, "brook", IDLE_MS), alias(one, "flood", IDLE_MS)]),
    prices: WAYS.map(({ name }) => ({ model: `drip:${name}`, input: 1000, output: 2000 })),
  });
  ({ provider } = house);
  /** An answer of so many tokens that never gets ahead of its connection. */
  const pouring = (count) => async ({ say, body, response }) => {
    let drained = () => {};
    for (const event of ["drain", "close"]) response.on(event, () => drained());
    response.writeHead(200, { "content-type": "text/event-stream" });
    taken[body.model] = 0;
    for (const block of blocksOf(say, body, count)) {
      taken[body.model] += block.length;
      if (!response.write(block)) await new Promise((resolve) => (drained = resolve));
      if (response.destroyed) return;
    }
    response.end();
  };
  Object.assign(provider.own, { flood: pouring(TOKENS), brook: pouring(16) });
});
after(() => house?.stop());

/** Made one by one: this process is the provider and the clients too, and must not be busy for long. */
function* blocksOf(say, body, count) {
  const blocks = say.events(body.model, count > 100 ? ["TOKEN"] : Array.from({ length: count }, (_, i) => token(i)), {
    usage: body.stream_options?.include_usage === true,
  });
  for (const block of blocks) {
    if (!block.includes("TOKEN")) yield block;
    else for (let i = 0; i < count; i += 1) yield block.replace("TOKEN", token(i));
  }
}

/** A stream whose client does not read yet. */
async function begin(fault, { name, caller, more }) {
  const json = CALLERS[caller].body(`${fault}-${name}`, undefined, { stream: true, ...more });
  const answer = await open(house.worker.url, { path: CALLERS[caller].path, json });
  assert.equal(answer.status, 200, name);
  return { name, caller, model: `${fault}:${name}`, ...answer };
}

/** Reads on to the end of all: each answer must be whole, and of one attempt. */
async function readOn(all, count) {
  const texts = await Promise.all(
    all.map(async ({ name, response }) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      await within(once(response, "end"), `the end of ${name}`, 60_000);
      return Buffer.concat(parts);
    }),
  );
  const wanted = Array.from({ length: count }, (_, i) => token(i)).join("");
  for (const [i, { name, caller, headers }] of all.entries()) {
    const said = CALLERS[caller].stream(events(texts[i].toString("utf8")));
    assert.deepEqual([said.error, said.finish, said.ended], [undefined, "stop", true], name);
    assert.ok(said.text === wanted, `${name}: all ${count} tokens, each once`);
    const line = await house.worker.log(headers["x-request-id"]);
    assert.deepEqual([line.code, line.attempts], [undefined, 1], name);
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

const beginAll = (fault, ways) => Promise.all(ways.map((one) => begin(fault, one)));

test("every way passes a long answer whole", async () => {
  await readOn(await beginAll("brook", WAYS), 16);
  await readOn(await beginAll("flood", LONG_WAYS), TOKENS);
});

test("clients that read nothing for a while slow their providers down, cost no memory, and get all of it in the end", async () => {
  const before = house.worker.memory();
  const grown = () => (before === undefined ? 0 : house.worker.memory() - before);
  const all = await beginAll("flood", LONG_WAYS);
  await pause();
  await pause();
  const soon = all.map(({ model }) => taken[model]);
  await pause();
  for (const [i, { name, model }] of all.entries()) {
    assert.ok(taken[model] < BUFFERED, `${name}: ${taken[model]} bytes went up while nobody read`);
    assert.ok(taken[model] - soon[i] < MIB, `${name}: the provider stands still`);
  }
  assert.ok(grown() < WAITING, `${grown()} bytes for ${all.length} answers that wait`);
  await readOn(all, TOKENS);
  assert.ok(grown() < passed(all.length), `${grown()} bytes for ${all.length} answers that passed`);
});

test("a client that goes closes the provider's connection within two seconds, and the call is booked once", async () => {
  await Promise.all(
    WAYS.map(async (one) => {
      const arrived = provider.next(`drip:${one.name}`);
      const answer = await begin("drip", one);
      const seen = await arrived;
      answer.response.once("data", () => answer.abort());
      await within(seen.closed(), `${one.name}: the provider's connection to close`, CLOSED_MS);
      const id = answer.headers["x-request-id"];
      const line = await house.worker.log(id);
      assert.deepEqual([line.code, line.cause, line.attempts], [undefined, "the client went away", 1], one.name);
      assert.ok(line.tokens_in > 0 && line.tokens_out > 0, one.name);
      assert.equal(line.cost_micros, 1000 * line.tokens_in + 2000 * line.tokens_out, one.name);
      assert.ok(line.tokens_out < 200, `${one.name}: ${line.tokens_out} tokens for the first few events`);
    }),
  );
  for (const { name } of WAYS) {
    assert.equal(provider.of(`drip:${name}`).length, 1, `${name}: not asked again`);
    assert.equal(provider.of(`good:${name}`).length, 0, `${name}: nobody goes on for a client that went`);
  }
  // Whatever is booked is booked by then; each call has one line.
  const ids = house.worker.logs().filter(({ cause }) => cause === "the client went away").map((line) => line.request_id);
  assert.deepEqual([ids.length, new Set(ids).size], [WAYS.length, WAYS.length]);
});

test("a client that goes while it does not read is noticed too", async () => {
  await Promise.all(
    LONG_WAYS.map(async (one) => {
      const answer = await begin("flood", one);
      await pause();
      answer.abort();
      const seen = provider.of(answer.model).at(-1);
      await within(seen.closed(), `${one.name}: the provider's connection to close`, CLOSED_MS);
      const line = await house.worker.log(answer.headers["x-request-id"]);
      assert.deepEqual([line.code, line.cause, line.attempts], [undefined, "the client went away", 1], one.name);
    }),
  );
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
