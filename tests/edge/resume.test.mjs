// Streams that survive their client: attach again at any event, by any number of clients; stop, grace, expiry, loss.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { LONG_TEXT } from "./support/behaviours.mjs";
import { call, events, leaks, open, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { withObjects } from "./support/objects.mjs";
import { CALLERS, read } from "./support/read.mjs";
import { visitor } from "./support/visitor.mjs";
import { until, within } from "./support/wait.mjs";

const GRACE_SECONDS = 2;
const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const RESUMABLE = { "x-gatehouse-resumable": "true" };

let house;
let url;
let provider;
let names = 0;
const aliases = [];
/** An alias for each dialect with a model of its own, for one test. */
function alias(tag, fault, more = {}) {
  names += 1;
  const model = `${fault}:r${names}`;
  for (const [dialect, name] of Object.entries(PROVIDER)) {
    aliases.push({ name: `${tag}-${dialect}`, public: true, target: [{ provider: name, model: `${model}-${dialect}` }], ...more });
  }
  return { name: (dialect) => `${tag}-${dialect}`, model: (dialect) => `${model}-${dialect}` };
}

const slow = alias("slow", "slow");
const attended = alias("attended", "held");
const left = alias("left", "held");
const stopped = alias("stopped", "held");
const silent = alias("silent", "slow_head");
// The local runtime shows that a client has gone with the next event, so that these providers go on and on.
const alone = alias("alone", "drip");
const owned = alias("owned", "good", { resumable: true });
const cut = alias("cut", "cut_mid", { resumable: true });
const lost = alias("lost", "slow");
const kept = alias("kept", "good", { resumable: true });
const gone = alias("gone", "drip", { store_responses: false });
// The caller's dialect is another than the provider's.
aliases.push({ name: "translated", public: true, target: [{ provider: "anthropic", model: "drip:translated" }] });

before(async () => {
  house = await startHouse({ aliases, retry: { attempts_per_target: 1, attempts: 1 }, streams: { ttl_seconds: 60, grace_seconds: GRACE_SECONDS } });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

/** Begins a resumable stream; `parts` gathers what arrives, `ended` settles with its end. */
async function begin(dialect, name, { headers, ...options } = {}) {
  const caller = CALLERS[dialect];
  const answer = await open(url, { path: caller.path, json: caller.body(name, undefined, { stream: true }), headers: { ...RESUMABLE, ...headers }, ...options });
  const parts = [];
  answer.response.on("data", (part) => parts.push(part));
  const ended = new Promise((resolve) => answer.response.on("close", resolve));
  const id = answer.headers["x-gatehouse-response-id"];
  return { ...answer, id, ended, text: () => Buffer.concat(parts).toString("utf8") };
}

const path = (dialect, id, rest = "") => `${CALLERS[dialect].path}/${id}${rest}`;
const attach = (dialect, id, after, options) =>
  call(url, { path: path(dialect, id, `?stream=true${after === undefined ? "" : `&starting_after=${after}`}`), ...options });
const stop = (dialect, id, options) => call(url, { path: path(dialect, id, "/cancel"), method: "POST", ...options });

/** The bytes of each event. */
const blocksOf = (text) => text.split(/(?<=\n\n)/);

for (const [dialect, caller] of Object.entries(CALLERS)) {
  describe(dialect, () => {
    test("events are numbered, and the answer has an id of ours", async () => {
      const stream = await begin(dialect, slow.name(dialect));
      assert.equal(stream.status, 200);
      assertDressed(stream);
      await stream.ended;
      assert.match(stream.id, new RegExp(`^${caller.prefix}[\\w-]{22}$`));
      const blocks = blocksOf(stream.text());
      assert.deepEqual(blocks.map((block) => /^id: (\d+)\n/.exec(block)?.[1]), blocks.map((_, i) => String(i)));
      const said = caller.stream(events(stream.text()));
      assert.deepEqual([said.text, said.id, said.finish, said.ended], [LONG_TEXT, stream.id, "stop", true]);
      assert.ok(!stream.text().includes("-fake") && !stream.text().includes("_fake"), "the provider's id is not shown");
    });

    test("cut at every event, the joined bytes are those of the uncut stream", async () => {
      const uncut = await begin(dialect, slow.name(dialect));
      await uncut.ended;
      const number = blocksOf(uncut.text()).length;
      assert.ok(number > 60);
      const join = async (at) => {
        const first = await begin(dialect, slow.name(dialect));
        await until(() => blocksOf(first.text()).filter((block) => block.endsWith("\n\n")).length > at, `event ${at}`);
        first.abort();
        const had = blocksOf(first.text()).slice(0, at + 1).join("");
        const options = at % 2 === 0 ? [at] : [undefined, { headers: { "last-event-id": String(at) } }];
        const rest = await attach(dialect, first.id, ...options);
        assert.equal(rest.status, 200, rest.text);
        const whole = await attach(dialect, first.id);
        assert.equal(had + rest.text, whole.text, `cut behind event ${at}`);
        // But for the id the answer is that of the uncut stream.
        assert.equal(whole.text.replaceAll(first.id, uncut.id).replace(/"created(_at)?":\d+/g, ""), uncut.text().replace(/"created(_at)?":\d+/g, ""));
      };
      for (let at = 0; at < number; at += 16) {
        await Promise.all(Array.from({ length: Math.min(16, number - at) }, (_, i) => join(at + i)));
      }
    });

    test("two clients read a running answer at once, and both get all of it", async () => {
      const arrived = provider.next(attended.model(dialect));
      const first = await begin(dialect, attended.name(dialect));
      const seen = await arrived;
      const others = [attach(dialect, first.id), attach(dialect, first.id, 0)];
      await until(() => first.text().length > 0, "the first token");
      seen.release();
      const [all, behind] = await Promise.all(others);
      await first.ended;
      assert.equal(all.text, first.text());
      assert.equal(behind.text, blocksOf(first.text()).slice(1).join(""));
      assert.equal(caller.stream(events(all.text)).ended, true);
      assert.equal(provider.of(attended.model(dialect)).length, 1, "one call upstream");
    });

    test("a client that leaves does not stop the answer", async () => {
      const arrived = provider.next(left.model(dialect));
      const first = await begin(dialect, left.name(dialect));
      const seen = await arrived;
      await until(() => first.text().length > 0, "the first token");
      first.abort();
      await new Promise((resolve) => setTimeout(resolve, (GRACE_SECONDS * 1000) / 4));
      const again = attach(dialect, first.id);
      await new Promise((resolve) => setTimeout(resolve, GRACE_SECONDS * 1000));
      assert.ok(!seen.over, "the provider is still at it, since somebody is there again");
      seen.release();
      const said = read(caller, await again, true);
      assert.deepEqual([said.error, said.finish, said.ended], [undefined, "stop", true]);
    });

    test("a stop closes the provider's connection and is told to whoever reads", async () => {
      const arrived = provider.next(stopped.model(dialect));
      const first = await begin(dialect, stopped.name(dialect));
      const seen = await arrived;
      await until(() => first.text().length > 0, "the first token");
      const answer = await stop(dialect, first.id);
      assert.equal(answer.status, 200, answer.text);
      assertDressed(answer);
      await seen.closed();
      await within(first.ended, "the end of the stopped stream");
      const said = caller.stream(events(first.text()));
      assert.deepEqual([said.error, said.ended], ["answer_cancelled", false]);
      const body = (await call(url, { path: path(dialect, first.id) })).json();
      assert.equal(dialect === "responses" ? body.status : body.gatehouse.status, "cancelled");
      assert.equal(body.id, first.id);
      assert.equal((await attach(dialect, first.id)).text, first.text());
      assert.equal((await stop(dialect, first.id)).status, 200, "a second stop changes nothing");
    });

    test("an answer that nobody attends is given up after its grace, and not before", async () => {
      const arrived = provider.next(alone.model(dialect));
      const first = await begin(dialect, alone.name(dialect));
      const seen = await arrived;
      await until(() => first.text().length > 0, "the first token");
      first.abort();
      const began = Date.now();
      await seen.closed();
      assert.ok(Date.now() - began >= GRACE_SECONDS * 1000 - 50, "not before");
      const rest = await attach(dialect, first.id);
      assert.equal(read(caller, rest, true).error, "answer_cancelled");
    });

    test("an answer that broke says so to everyone who attaches", async () => {
      const first = await begin(dialect, cut.name(dialect));
      await first.ended;
      const said = caller.stream(events(first.text()));
      assert.equal(said.error, "upstream_disconnected");
      assert.ok(said.text.length > 0 && LONG_TEXT.startsWith(said.text));
      assert.equal((await attach(dialect, first.id)).text, first.text());
      const body = (await call(url, { path: path(dialect, first.id) })).json();
      assert.equal(dialect === "responses" ? body.status : body.gatehouse.status, "failed");
    });

    test("a finished answer can be had whole, and forgotten", async () => {
      const first = await begin(dialect, kept.name(dialect));
      await first.ended;
      const streamed = caller.stream(events(first.text()));
      const body = (await call(url, { path: path(dialect, first.id) })).json();
      const whole = caller.whole(body);
      assert.deepEqual([whole.id, whole.text, whole.finish], [first.id, streamed.text, "stop"]);
      assert.equal(body.gatehouse, undefined, "an answer that is done is not marked");
      assert.equal((await call(url, { path: path(dialect, first.id), method: "DELETE" })).status, 200);
      assertRefused(await attach(dialect, first.id), caller.dialect, 404, "response_not_found");
      assertRefused(await call(url, { path: path(dialect, first.id) }), caller.dialect, 404, "response_not_found");
    });

    test("a client that leaves a stream that cannot be resumed closes the provider's connection", async () => {
      const arrived = provider.next(gone.model(dialect));
      const more = dialect === "responses" ? { store: false } : {};
      const answer = await open(url, { path: caller.path, json: caller.body(gone.name(dialect), undefined, { stream: true, ...more }) });
      const seen = await arrived;
      answer.response.once("data", () => answer.abort());
      await within(seen.closed(), "the provider's connection to close", 2000);
      const line = await house.worker.log(answer.headers["x-request-id"]);
      assert.deepEqual([line.code, line.cause], [undefined, "the client went away"]);
      assert.ok(line.tokens_out > 0, "what was produced is counted");
    });
  });
}

test("a stop is heard before the first token", async () => {
  const arrived = provider.next(silent.model("responses"));
  const json = CALLERS.responses.body(silent.name("responses"), undefined, { background: true });
  const begun = (await call(url, { path: "/v1/responses", json })).json();
  const seen = await arrived;
  assert.equal(begun.status, "in_progress");
  const answer = await within(stop("responses", begun.id), "the stop to be heard", 5000);
  assert.deepEqual([answer.status, answer.json().status], [200, "cancelled"]);
  await seen.closed();
});

test("a translated stream that cannot be resumed is let go too", async () => {
  const arrived = provider.next("drip:translated");
  const answer = await open(url, { path: "/v1/chat/completions", json: CALLERS.chat.body("translated", undefined, { stream: true }) });
  const seen = await arrived;
  answer.response.once("data", () => answer.abort());
  await within(seen.closed(), "the provider's connection to close", 2000);
  const line = await house.worker.log(answer.headers["x-request-id"]);
  assert.equal(line.cause, "the client went away");
  assert.ok(line.tokens_out > 0 && line.tokens_estimated, "what was produced is counted");
});

test("somebody else's answer is not there", async () => {
  const [mine, other] = [visitor(house), visitor(house)];
  for (const who of [mine, other]) assert.equal((await who.upload("hello")).status, 200);
  for (const [dialect, caller] of Object.entries(CALLERS)) {
    const own = { address: mine.address, headers: { cookie: mine.jar.cookie } };
    const first = await begin(dialect, owned.name(dialect), own);
    await first.ended;
    for (const stranger of [{ address: other.address, headers: { cookie: other.jar.cookie } }, { address: mine.address }]) {
      for (const asked of [
        attach(dialect, first.id, undefined, stranger),
        call(url, { path: path(dialect, first.id), ...stranger }),
        stop(dialect, first.id, stranger),
        call(url, { path: path(dialect, first.id), method: "DELETE", ...stranger }),
      ]) {
        assertRefused(await asked, caller.dialect, 404, "response_not_found");
      }
    }
    assert.equal((await attach(dialect, first.id, undefined, own)).text, first.text(), "and nothing happened to it");
  }
});

test("a number that is none is refused", async () => {
  const first = await begin("chat", kept.name("chat"));
  await first.ended;
  for (const after of ["-1", "x", "1.5"]) assertRefused(await attach("chat", first.id, after), "openai", 400, "invalid_parameter");
  assert.equal((await attach("chat", first.id, 10_000)).text, "", "behind the end there is nothing");
});

test("an answer whose object was killed ends with an error, and one that was whole outlives it", async () => {
  const done = await begin("chat", kept.name("chat"));
  await done.ended;
  const expired = await begin("messages", kept.name("messages"));
  await expired.ended;
  const running = {};
  for (const dialect of Object.keys(CALLERS)) {
    running[dialect] = await begin(dialect, lost.name(dialect));
  }
  await until(() => Object.values(running).every((stream) => blocksOf(stream.text()).length > 25), "a part of the answers");
  await house.worker.restart({
    hard: true,
    meanwhile: () =>
      withObjects(house, "Stream", (database) => {
        const meta = JSON.parse(database.prepare("SELECT value FROM rows WHERE key = 'meta'").get()?.value ?? "{}");
        const log = database.prepare("SELECT value FROM rows WHERE key LIKE 'log/%' LIMIT 1").get()?.value ?? "";
        if (!log.includes(expired.id)) return;
        database.prepare("UPDATE rows SET value = ? WHERE key = 'meta'").run(JSON.stringify({ ...meta, expires: Date.now() }));
      }),
  });
  url = house.worker.url;
  for (const [dialect, caller] of Object.entries(CALLERS)) {
    const { id, text } = running[dialect];
    const whole = await attach(dialect, id);
    const said = read(caller, whole, true);
    assert.deepEqual([said.error, said.ended], ["stream_lost", false], dialect);
    assert.ok(said.text.length > 0 && LONG_TEXT.startsWith(said.text), dialect);
    // A client that had more than was written is told too.
    const had = blocksOf(text()).filter((block) => block.endsWith("\n\n")).length;
    assert.match((await attach(dialect, id, had - 1)).text, /stream_lost/);
    const body = (await call(url, { path: path(dialect, id) })).json();
    assert.equal(dialect === "responses" ? body.status : body.gatehouse.status, dialect === "responses" ? "failed" : "lost");
  }
  assert.equal((await attach("chat", done.id)).text, done.text());
  assertRefused(await attach("messages", expired.id), "anthropic", 404, "response_not_found");
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
