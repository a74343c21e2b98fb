// The official SDKs, unmodified but for the base URL and the placeholder key.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, streamText } from "ai";
import OpenAI from "openai";

import { startHouse } from "./support/house.mjs";

const messages = [{ role: "user", content: "How are provider keys kept?" }];
const EXPECTED = /^Answer \d+: good day, 世界。$/;

let house;
let openai;
let anthropic;
let vercel;
before(async () => {
  house = await startHouse({ limits: { read: { burst: { requests: 1, seconds: 2 } } } });
  const { url } = house.worker;
  const as = (address) => ({ "cf-connecting-ip": address });
  openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "visitor", defaultHeaders: as("100.67.1.1") });
  anthropic = new Anthropic({ baseURL: url, apiKey: "visitor", defaultHeaders: as("100.67.2.1") });
  vercel = createOpenAICompatible({ name: "gatehouse", baseURL: `${url}/v1`, apiKey: "visitor", headers: as("100.67.3.1") });
});
after(() => house?.stop());

// === openai ===

test("openai: a chat completion, with the request's id", async () => {
  const { data, request_id, response } = await openai.chat.completions.create({ model: "good", messages }).withResponse();
  assert.match(data.choices[0].message.content, EXPECTED);
  assert.equal(data.usage.total_tokens, 18);
  assert.match(request_id, /^req_/);
  assert.equal(response.headers.get("x-request-id"), request_id);
});

test("openai: a stream, with usage when it was asked for", async () => {
  const stream = await openai.chat.completions.create({ model: "good", messages, stream: true, stream_options: { include_usage: true } });
  let text = "";
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.match(text, EXPECTED);
  assert.equal(usage.total_tokens, 18);
});

test("openai: embeddings, as numbers whatever went over the wire", async () => {
  const { data } = await openai.embeddings.create({ model: "embed", input: ["one", "three"] });
  assert.deepEqual(data.map(({ embedding }) => embedding), [[3, 0.5, -0.25], [5, 0.5, -0.25]]);
});

test("openai: errors are of their class, with code and id", async () => {
  const refused = async (model, Kind, code, more = {}) => {
    await assert.rejects(openai.chat.completions.create({ model, messages, ...more }, { maxRetries: 0 }), (error) => {
      assert.ok(error instanceof Kind, `${error.constructor.name} for ${code}`);
      assert.equal(error.code, code);
      assert.match(error.requestID, /^req_/);
      assert.ok(error.message.length > 20);
      return true;
    });
  };
  await refused("nobody", OpenAI.NotFoundError, "model_not_found");
  await refused("private", OpenAI.PermissionDeniedError, "model_not_public");
  await refused("good", OpenAI.BadRequestError, "invalid_parameter", { temperature: 7 });
  await refused("status_500", OpenAI.InternalServerError, "upstream_error");
  const stranger = new OpenAI({ baseURL: openai.baseURL, apiKey: "sk-unknown", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

test("openai: an error inside a stream is thrown", async () => {
  for (const [model, code] of [["reset", "upstream_disconnected"], ["stall", "upstream_stalled"], ["no_end", "upstream_protocol"]]) {
    const stream = await openai.chat.completions.create({ model, messages, stream: true });
    await assert.rejects(
      async () => {
        for await (const chunk of stream) assert.ok(chunk.choices);
      },
      (error) => error instanceof OpenAI.APIError && error.code === code,
      model,
    );
  }
});

test("openai: a 429 is retried after the time it names, and then succeeds", async () => {
  assert.ok((await openai.models.list()).data.some((model) => model.id === "good"));
  const times = [];
  const watching = new OpenAI({
    baseURL: openai.baseURL,
    apiKey: "visitor",
    defaultHeaders: { "cf-connecting-ip": "100.67.1.1" },
    fetch: async (...args) => {
      const answer = await fetch(...args);
      times.push(answer.status);
      return answer;
    },
  });
  assert.equal((await watching.models.retrieve("good")).id, "good");
  assert.deepEqual(times, [429, 200]);
  await assert.rejects(openai.models.list({ maxRetries: 0 }), OpenAI.RateLimitError);
});

test("openai: what waiting cannot mend is not retried", async () => {
  // The refused key opens the target's breaker, so that nobody may have asked it before.
  await assert.rejects(openai.chat.completions.create({ model: "status_401", messages }), (error) => {
    assert.ok(error instanceof OpenAI.InternalServerError, error.constructor.name);
    assert.equal(error.code, "upstream_auth");
    return true;
  });
  assert.equal(house.provider.of("status_401").length, 1);
});

test("openai: leaving a stream closes it at the provider", async () => {
  const arrived = house.provider.next("drip");
  const stream = await openai.chat.completions.create({ model: "drip", messages, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk);
    break;
  }
  await (await arrived).closed();
});

test("openai: the built-in answerer answers whole and streamed", async () => {
  const whole = await openai.chat.completions.create({ model: "builtin", messages });
  const text = whole.choices[0].message.content;
  assert.match(text, /\]\(\//, "a link to the page that is quoted");
  assert.equal(whole.choices[0].finish_reason, "stop");
  let streamed = "";
  const stream = openai.chat.completions.stream({ model: "builtin", messages, stream_options: { include_usage: true } });
  stream.on("content", (delta) => (streamed += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(streamed, text);
  assert.ok(final.usage.completion_tokens > 0);
});

// === anthropic ===

test("anthropic: a message and a stream", async () => {
  const message = await anthropic.messages.create({ model: "claude-good", max_tokens: 50, messages });
  assert.match(message.content[0].text, EXPECTED);
  assert.match(message._request_id, /^req_/);
  const stream = anthropic.messages.stream({ model: "claude-good", max_tokens: 50, messages });
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.match(text, EXPECTED);
  assert.deepEqual([final.stop_reason, final.usage.output_tokens], ["end_turn", 5]);
});

test("anthropic: models", async () => {
  const ids = [];
  for await (const model of anthropic.models.list()) ids.push(model.id);
  assert.ok(ids.includes("claude-good") && ids.includes("builtin"));
});

test("anthropic: an alias of a provider of the other dialect answers too", async () => {
  const message = await anthropic.messages.create({ model: "good", max_tokens: 50, messages });
  assert.match(message.content[0].text, EXPECTED);
});

test("anthropic: errors are of their class, also inside a stream", async () => {
  const create = (model, more) => anthropic.messages.create({ model, max_tokens: 50, messages, ...more }, { maxRetries: 0 });
  await assert.rejects(create("nobody"), (error) => error instanceof Anthropic.NotFoundError && error.error.error.type === "not_found_error" && /^req_/.test(error.requestID));
  await assert.rejects(create("claude-status_500"), Anthropic.InternalServerError);
  await assert.rejects(create("claude-good", { temperature: 7 }), Anthropic.BadRequestError);
  for (const model of ["claude-reset", "claude-no_end"]) {
    await assert.rejects(anthropic.messages.stream({ model, max_tokens: 50, messages }).finalMessage(), (error) => error instanceof Anthropic.APIError, model);
  }
});

test("anthropic: the built-in answerer", async () => {
  const whole = await anthropic.messages.create({ model: "builtin", max_tokens: 500, messages });
  const final = await anthropic.messages.stream({ model: "builtin", max_tokens: 500, messages }).finalMessage();
  assert.match(whole.content[0].text, /\]\(\//);
  assert.equal(final.content[0].text, whole.content[0].text);
});

// === ai ===

test("ai: text, whole and streamed", async () => {
  const { text, usage } = await generateText({ model: vercel("good"), prompt: "Good day?" });
  assert.match(text, EXPECTED);
  assert.equal(usage.outputTokens, 7);
  const result = streamText({ model: vercel("good"), prompt: "Good day?" });
  let streamed = "";
  for await (const delta of result.textStream) streamed += delta;
  assert.match(streamed, EXPECTED);
  assert.equal(await result.finishReason, "stop");
});

test("ai: embeddings", async () => {
  const { embedding } = await embed({ model: vercel.embeddingModel("embed"), value: "three" });
  assert.deepEqual(embedding, [5, 0.5, -0.25]);
});

test("ai: an error carries the message that a person can read", async () => {
  await assert.rejects(generateText({ model: vercel("nobody"), prompt: "x", maxRetries: 0 }), (error) => error.statusCode === 404 && /alias/.test(error.message));
  const faults = [];
  const result = streamText({ model: vercel("reset"), prompt: "x", maxRetries: 0, onError: ({ error }) => faults.push(error) });
  for await (const delta of result.textStream) assert.equal(typeof delta, "string");
  assert.equal(faults.length, 1);
});

test("ai: the built-in answerer", async () => {
  const { text } = await generateText({ model: vercel("builtin"), messages });
  assert.match(text, /\]\(\//);
});
