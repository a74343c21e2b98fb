// Good answers of servers that do things in their own way: large events, tool calls in turns, sound, usage in every chunk
// or none at all, an end without its blank line; and what a stored response repeats of its request.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { call, events } from "./support/client.mjs";
import { startHouse } from "./support/house.mjs";

const SSE = { "content-type": "text/event-stream" };
const JSON_TYPE = { "content-type": "application/json" };
const PATHS = { chat: "/v1/chat/completions", messages: "/v1/messages", responses: "/v1/responses" };
const MEBIBYTE = 1_048_576;

const chunk = (choices, more = {}) =>
  `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m", choices, ...more })}\n\n`;
const delta = (says, finish = null) => chunk([{ index: 0, delta: says, finish_reason: finish }]);
const DONE = "data: [DONE]\n\n";
const USAGE = { usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 } };

const piece = (index, call) => delta({ tool_calls: [{ index, ...call }] });
const begun = (id) => ({ id, type: "function", function: { name: id, arguments: "" } });
const more = (text) => ({ function: { arguments: text } });
const IN_TURNS = [
  delta({ role: "assistant", content: null }),
  piece(0, begun("a")),
  piece(1, begun("b")),
  piece(0, more('{"x":')),
  piece(1, more('{"y":')),
  piece(0, more("1}")),
  piece(1, more("2}")),
  delta({}, "tool_calls"),
  DONE,
];

const whole = (message) => JSON.stringify({ id: "chatcmpl-1", object: "chat.completion", created: 1, model: "m", choices: [{ index: 0, message: { role: "assistant", ...message }, finish_reason: "stop" }] });
const AUDIO = { id: "audio_1", data: "AAAA", transcript: "hello", expires_at: 1 };

/** Streams these pieces, each written by itself. */
const streams = (...pieces) => ({ response }) => {
  response.writeHead(200, SSE);
  for (const part of pieces) response.write(part);
  response.end();
};
const either = (stream, body) => (x) => (x.stream ? stream(x) : x.response.writeHead(200, JSON_TYPE).end(body));

const OWN = {
  turns: streams(...IN_TURNS),
  sound: either(streams(delta({ role: "assistant", audio: { id: "audio_1" } }), delta({ audio: { data: "AAAA" } }), delta({}, "stop"), DONE), whole({ content: null, audio: AUDIO })),
  three: streams(delta({ role: "assistant", content: "" }), delta({ content: "x".repeat(3 * MEBIBYTE) }), delta({}, "stop"), DONE),
  five: streams(delta({ role: "assistant", content: "" }), delta({ content: "x".repeat(5 * MEBIBYTE) }), delta({}, "stop"), DONE),
  noblank: streams(delta({ role: "assistant", content: "Hi" }), delta({}, "stop"), "data: [DONE]"),
  always: streams(
    chunk([{ index: 0, delta: { role: "assistant", content: "zero" } }], USAGE),
    chunk([{ index: 1, delta: { content: "one" } }], USAGE),
    chunk([{ index: 0, delta: {}, finish_reason: "stop" }], USAGE),
    DONE + chunk([], USAGE),
  ),
  silent: either(streams(delta({ role: "assistant", content: "some words of an answer" }), delta({}, "stop"), DONE), whole({ content: "some words of an answer" })),
  broken: ({ response }) => response.writeHead(500, JSON_TYPE).end("{}"),
};

let house;
let url;
before(async () => {
  const aliases = Object.keys(OWN).map((name) => ({
    name,
    public: true,
    allow_parameters: ["modalities", "audio"],
    retry: { attempts_per_target: 1, attempts: 1 },
    target: [{ provider: "openai", model: name }],
  }));
  house = await startHouse({ aliases });
  Object.assign(house.provider.own, OWN);
  url = house.worker.url;
});
after(() => house?.stop());

const QUESTION = { messages: [{ role: "user", content: "Good day?" }] };
const bodyOf = { chat: QUESTION, messages: { ...QUESTION, max_tokens: 50 }, responses: { input: "Good day?", store: false } };
const ask = (caller, model, fields = {}) => call(url, { path: PATHS[caller], json: { model, ...bodyOf[caller], ...fields } });
const STREAM = { stream: true };
/** Both ways of a stream in its own dialect: inspected, and native. */
const WAYS = { inspected: STREAM, native: { ...STREAM, stream_options: { include_usage: true } } };

describe("a stream in its own dialect", () => {
  for (const [way, fields] of Object.entries(WAYS)) {
    test(`has tool calls in turns as they came, ${way}`, async () => {
      const answer = await ask("chat", "turns", fields);
      assert.equal(answer.text, IN_TURNS.join(""));
    });
    test(`has sound as it came, ${way}`, async () => {
      const answer = await ask("chat", "sound", fields);
      assert.match(answer.text, /"audio":{"data":"AAAA"}/);
      assert.ok(answer.text.endsWith(DONE));
    });
    test(`has an event of 3 MiB, ${way}`, async () => {
      const answer = await ask("chat", "three", fields);
      assert.equal(answer.status, 200);
      assert.ok(answer.bytes.length > 3 * MEBIBYTE && answer.text.endsWith(DONE));
    });
    test(`is whole without its last blank line, ${way}`, async () => {
      const answer = await ask("chat", "noblank", fields);
      assert.ok(answer.text.endsWith(DONE), answer.text);
      assert.equal(events(answer.text).length, 3);
    });
  }
  test("loses nothing but the usage that nobody asked for", async () => {
    const { text } = await ask("chat", "always", STREAM);
    assert.match(text, /"zero"[^]*"one"/);
    assert.doesNotMatch(text, /usage/);
    assert.ok(text.endsWith(DONE), text);
  });
  test("breaks at an event of 5 MiB", async () => {
    const answer = await ask("chat", "five", STREAM);
    assert.equal(answer.status, 502);
  });
});

describe("in another dialect", () => {
  test("tool calls in turns come one after the other", async () => {
    const { text } = await ask("messages", "turns", STREAM);
    const data = events(text).map((event) => JSON.parse(event.data));
    const blocks = [];
    for (const { type, index, content_block: block, delta: says } of data) {
      if (type === "content_block_start") blocks[index] = [block.name, ""];
      if (type === "content_block_delta") blocks[index][1] += says.partial_json;
    }
    assert.deepEqual(blocks, [["a", '{"x":1}'], ["b", '{"y":2}']]);
    assert.equal(data.at(-1).type, "message_stop");
  });
  for (const caller of ["messages", "responses"]) {
    test(`sound is refused to ${caller}`, async () => {
      for (const fields of [{}, STREAM]) {
        const answer = await ask(caller, "sound", fields);
        assert.equal(answer.status, 400, answer.text);
        assert.match(answer.text, /sound or a picture/);
      }
      assert.equal((await ask("chat", "sound")).status, 200, "the target is well");
    });
    test(`usage that nobody told is estimated for ${caller}`, async () => {
      const answer = await ask(caller, "silent");
      const { usage } = answer.json();
      assert.equal(String(usage.input_tokens), answer.headers["x-gatehouse-tokens-in"]);
      assert.equal(String(usage.output_tokens), answer.headers["x-gatehouse-tokens-out"]);
      assert.ok(usage.input_tokens > 0 && usage.output_tokens > 0);
      assert.equal(answer.headers["x-gatehouse-tokens-estimated"], "true");
      const streamed = events((await ask(caller, "silent", STREAM)).text).map((event) => JSON.parse(event.data));
      const last = streamed.findLast((event) => event.usage ?? event.response?.usage);
      assert.ok((last.usage ?? last.response.usage).output_tokens > 0);
    });
  }
});

describe("a stored response", () => {
  const asked = { store: true, metadata: { k: "v" }, instructions: "Be kind.", temperature: 0.5, user: "u-1" };
  test("repeats its request, whole, streamed and read again", async () => {
    const first = (await ask("responses", "silent", asked)).json();
    const get = (id) => call(url, { path: `/v1/responses/${id}` });
    assert.deepEqual((await get(first.id)).json(), first);
    const second = await ask("responses", "silent", { ...asked, ...STREAM, previous_response_id: first.id });
    const told = events(second.text).map((event) => JSON.parse(event.data).response).filter(Boolean);
    assert.equal(told.length, 3);
    for (const response of [first, ...told]) {
      const { metadata, instructions, temperature, user, store, background } = response;
      assert.deepEqual({ metadata, instructions, temperature, user, store }, asked);
      assert.equal(background, false);
    }
    assert.equal(first.previous_response_id, null);
    assert.ok(told.every((response) => response.previous_response_id === first.id));
    assert.deepEqual((await get(told[2].id)).json(), told[2]);
  });
  test("that failed in the background tells why", async () => {
    const { id } = (await ask("responses", "broken", { ...asked, background: true })).json();
    let failed;
    do {
      failed = (await call(url, { path: `/v1/responses/${id}` })).json();
    } while (failed.status === "in_progress");
    assert.equal(failed.status, "failed");
    assert.equal(failed.model, "broken");
    assert.equal(failed.error.code, "upstream_error");
    assert.ok(failed.error.message.length > 10);
    assert.deepEqual(failed.metadata, { k: "v" });
  });
});
