// OpenAI's Node SDK, unmodified: chat completions and responses, each over a provider of every dialect.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import OpenAI from "openai";
import { ContentFilterFinishReasonError, LengthFinishReasonError } from "openai/error";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { DIALECTS, resultsIn, said } from "./support/sdk-provider.mjs";
import { QUESTION, SCHEMA, STRUCTURED, WEATHER, startSdkHouse, weatherIn } from "./support/sdk-house.mjs";

const messages = [{ role: "user", content: QUESTION }];
const chatTools = [{ type: "function", function: WEATHER }];
const Weather = z.object({ city: z.string(), degrees: z.number() });
const Place = z.object({ city: z.string() });

let house;
let openai;
before(async () => {
  house = await startSdkHouse();
  openai = new OpenAI({ baseURL: `${house.url}/v1`, apiKey: "visitor", maxRetries: 0 });
});
after(() => house?.stop());

const bothCities = (dialect, body) => {
  const results = resultsIn(dialect, body);
  assert.equal(Object.keys(results).length, 2, "each result keeps the id of its own call");
  assert.deepEqual(Object.values(results), ["Paris", "Rome"].map(weatherIn));
};

async function all(stream) {
  const list = [];
  for await (const part of stream) list.push(part);
  return list;
}

for (const provider of DIALECTS) {
  describe(`chat completions from a provider that speaks ${provider}`, () => {
    const model = (feature) => `${provider}-${feature}`;
    const expected = (feature) => said(provider, feature);

    test("a whole answer: text, finish reason, tokens", async () => {
      const answer = await openai.chat.completions.create({ model: model("text"), messages });
      assert.equal(answer.object, "chat.completion");
      assert.match(answer.id, /^chatcmpl-/);
      assert.equal(answer.choices[0].message.content, expected("text").text);
      assert.equal(answer.choices[0].finish_reason, "stop");
      assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], expected("text").tokens);
    });

    test("a stream: deltas, one finish reason, tokens only when asked for", async () => {
      const chunks = await all(await openai.chat.completions.create({ model: model("text"), messages, stream: true }));
      assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), expected("text").text);
      assert.deepEqual(chunks.flatMap((chunk) => chunk.choices[0]?.finish_reason ?? []), ["stop"]);
      assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
      assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
      const asked = openai.chat.completions.stream({ model: model("text"), messages, stream_options: { include_usage: true } });
      const final = await asked.finalChatCompletion();
      assert.equal(final.choices[0].message.content, expected("text").text);
      assert.deepEqual([final.usage.prompt_tokens, final.usage.completion_tokens], expected("text").tokens);
    });

    test("two parallel tool calls, whole and with streamed arguments", async () => {
      const calls = (message) => message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
      const whole = await openai.chat.completions.create({ model: model("tools"), messages, tools: chatTools });
      assert.equal(whole.choices[0].finish_reason, "tool_calls");
      assert.deepEqual(calls(whole.choices[0].message), expected("tools").calls);
      const stream = openai.chat.completions.stream({ model: model("tools"), messages, tools: chatTools });
      const deltas = { 0: "", 1: "" };
      const done = [];
      stream.on("tool_calls.function.arguments.delta", ({ index, arguments_delta: delta }) => (deltas[index] += delta));
      stream.on("tool_calls.function.arguments.done", (call) => done.push([call.name, JSON.parse(call.arguments)]));
      const final = await stream.finalChatCompletion();
      assert.deepEqual(done, expected("tools").calls);
      assert.deepEqual(Object.values(deltas).map((text) => JSON.parse(text)), expected("tools").calls.map(([, args]) => args));
      assert.deepEqual(calls(final.choices[0].message), expected("tools").calls);
      const ids = final.choices[0].message.tool_calls.map(({ id }) => id);
      assert.equal(new Set(ids).size, 2);
    });

    for (const stream of [false, true]) {
      test(`the SDK's own loop: calls, results in the next turn, answer (${stream ? "streamed" : "whole"})`, async () => {
        const asked = [];
        const tool = zodFunction({
          name: WEATHER.name,
          parameters: Place,
          function: ({ city }) => {
            asked.push(city);
            return weatherIn(city);
          },
        });
        const runner = openai.chat.completions.runTools({ model: model("tools"), messages, tools: [tool], stream });
        assert.equal(await runner.finalContent(), expected("tool_results").text);
        assert.deepEqual(asked, ["Paris", "Rome"]);
        bothCities(provider, house.provider.of(provider, "tools").at(-1).body);
      });
    }

    test("structured output: the schema reaches the provider, the answer is parsed", async () => {
      const format = zodResponseFormat(Weather, "weather");
      const { choices } = await openai.chat.completions.parse({ model: model("schema"), messages, response_format: format });
      assert.deepEqual(choices[0].message.parsed, STRUCTURED);
      assert.ok(JSON.stringify(house.provider.of(provider, "schema").at(-1).body).includes('"degrees":{"type":"number"'));
      const stream = openai.chat.completions.stream({ model: model("schema"), messages, response_format: format });
      assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, STRUCTURED);
    });

    test("an answer that hit its ceiling or a filter is thrown as the SDK's own class", async () => {
      const parse = (feature) =>
        openai.chat.completions.parse({ model: model(feature), messages, response_format: zodResponseFormat(Weather, "weather") });
      await assert.rejects(parse("stop_length"), LengthFinishReasonError);
      await assert.rejects(parse("stop_filter"), ContentFilterFinishReasonError);
    });

    test("thinking, where others than OpenAI show it", async () => {
      const whole = await openai.chat.completions.create({ model: model("reasoning"), messages, reasoning_effort: "medium" });
      assert.equal(whole.choices[0].message.reasoning_content, "Count the letters.");
      assert.equal(whole.choices[0].message.content, "Three.");
      const stream = await openai.chat.completions.create({ model: model("reasoning"), messages, reasoning_effort: "medium", stream: true });
      const deltas = (await all(stream)).map((chunk) => chunk.choices[0]?.delta ?? {});
      assert.equal(deltas.map((delta) => delta.reasoning_content ?? "").join(""), "Count the letters.");
      assert.equal(deltas.map((delta) => delta.content ?? "").join(""), "Three.");
    });
  });

  describe(`responses from a provider that speaks ${provider}`, () => {
    const model = (feature) => `${provider}-${feature}`;
    const expected = (feature) => said(provider, feature);
    const tools = [{ type: "function", strict: true, ...WEATHER }];

    test("a whole answer", async () => {
      const answer = await openai.responses.create({ model: model("text"), input: QUESTION });
      assert.match(answer.id, /^resp_/);
      assert.deepEqual([answer.object, answer.status, answer.output_text], ["response", "completed", expected("text").text]);
      assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], expected("text").tokens);
    });

    test("a stream: numbered without a gap, and the SDK's snapshot of it", async () => {
      const events = await all(await openai.responses.create({ model: model("text"), input: QUESTION, stream: true }));
      assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
      assert.deepEqual([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
      const deltas = events.filter(({ type }) => type === "response.output_text.delta");
      assert.equal(deltas.map(({ delta }) => delta).join(""), expected("text").text);
      const final = await openai.responses.stream({ model: model("text"), input: QUESTION }).finalResponse();
      assert.equal(final.output_text, expected("text").text);
      assert.deepEqual([final.usage.input_tokens, final.usage.output_tokens], expected("text").tokens);
    });

    test("two tool calls, streamed; their results in the next turn", async () => {
      const stream = openai.responses.stream({ model: model("tools"), input: QUESTION, tools });
      const streamed = {};
      stream.on("response.function_call_arguments.delta", ({ item_id: id, delta }) => (streamed[id] = (streamed[id] ?? "") + delta));
      const first = await stream.finalResponse();
      const calls = first.output.filter(({ type }) => type === "function_call");
      assert.deepEqual(calls.map((call) => [call.name, JSON.parse(call.arguments)]), expected("tools").calls);
      assert.deepEqual(calls.map(({ id }) => streamed[id]), calls.map((call) => call.arguments));
      const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: weatherIn(JSON.parse(call.arguments).city) }));
      const input = [{ role: "user", content: QUESTION }, ...first.output, ...results];
      const second = await openai.responses.create({ model: model("tools"), input, tools });
      assert.equal(second.output_text, expected("tool_results").text);
      bothCities(provider, house.provider.of(provider, "tools").at(-1).body);
    });

    test("the results alone, after the response that is stored here", async () => {
      const first = await openai.responses.create({ model: model("tools"), input: QUESTION, tools });
      const calls = first.output.filter(({ type }) => type === "function_call");
      const input = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: weatherIn(JSON.parse(call.arguments).city) }));
      const second = await openai.responses.create({ model: model("tools"), input, tools, previous_response_id: first.id });
      assert.equal(second.output_text, expected("tool_results").text);
      const { body } = house.provider.of(provider, "tools").at(-1);
      bothCities(provider, body);
      assert.ok(JSON.stringify(body).includes(QUESTION), "what was asked first goes along");
    });

    test("structured output", async () => {
      const format = zodTextFormat(Weather, "weather");
      const whole = await openai.responses.parse({ model: model("schema"), input: QUESTION, text: { format } });
      assert.deepEqual(whole.output_parsed, STRUCTURED);
      assert.ok(JSON.stringify(house.provider.of(provider, "schema").at(-1).body).includes('"degrees":{"type":"number"'));
      const streamed = await openai.responses.stream({ model: model("schema"), input: QUESTION, text: { format } }).finalResponse();
      assert.deepEqual(streamed.output_parsed, STRUCTURED);
      const plain = { type: "json_schema", name: "weather", schema: SCHEMA, strict: true };
      const unparsed = await openai.responses.create({ model: model("schema"), input: QUESTION, text: { format: plain } });
      assert.deepEqual(JSON.parse(unparsed.output_text), STRUCTURED);
    });

    test("thinking: an item before the message", async () => {
      const reasoning = { effort: "medium", summary: "auto" };
      const whole = await openai.responses.create({ model: model("reasoning"), input: QUESTION, reasoning });
      assert.deepEqual(whole.output.map(({ type }) => type), ["reasoning", "message"]);
      assert.ok(JSON.stringify(whole.output[0]).includes("Count the letters."));
      const stream = openai.responses.stream({ model: model("reasoning"), input: QUESTION, reasoning });
      const final = await stream.finalResponse();
      assert.deepEqual(final.output.map(({ type }) => type), ["reasoning", "message"]);
      assert.ok(JSON.stringify(final.output[0]).includes("Count the letters."));
      assert.equal(final.output_text, "Three.");
    });

    test("an answer that hit its ceiling is incomplete, not failed", async () => {
      const answer = await openai.responses.create({ model: model("stop_length"), input: QUESTION });
      assert.deepEqual([answer.status, answer.incomplete_details.reason], ["incomplete", "max_output_tokens"]);
    });
  });
}
