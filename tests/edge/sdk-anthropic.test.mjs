// Anthropic's Node SDK, unmodified, over a provider of every dialect.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

import { DIALECTS, resultsIn, said } from "./support/sdk-provider.mjs";
import { QUESTION, STRUCTURED, WEATHER, startSdkHouse, weatherIn } from "./support/sdk-house.mjs";

const messages = [{ role: "user", content: QUESTION }];
const { parameters, ...named } = WEATHER;
const tools = [{ ...named, input_schema: parameters }];
const Weather = z.object({ city: z.string(), degrees: z.number() });

let house;
let anthropic;
before(async () => {
  house = await startSdkHouse();
  anthropic = new Anthropic({ baseURL: house.url, apiKey: "visitor", maxRetries: 0 });
});
after(() => house?.stop());

for (const provider of DIALECTS) {
  describe(`messages from a provider that speaks ${provider}`, () => {
    const base = (feature) => ({ model: `${provider}-${feature}`, max_tokens: 2048, messages });
    const expected = (feature) => said(provider, feature);
    const calls = (message) => message.content.filter(({ type }) => type === "tool_use").map(({ name, input }) => [name, input]);

    test("a whole answer: text, stop reason, tokens", async () => {
      const message = await anthropic.messages.create(base("text"));
      assert.deepEqual([message.type, message.role, message.stop_reason], ["message", "assistant", "end_turn"]);
      assert.match(message.id, /^msg_/);
      assert.equal(message.content[0].text, expected("text").text);
      assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], expected("text").tokens);
    });

    test("a stream: the events in their order, the SDK's snapshot of them", async () => {
      const types = [];
      for await (const event of await anthropic.messages.create({ ...base("text"), stream: true })) types.push(event.type);
      const once = types.filter((type, i) => type !== "ping" && type !== types[i - 1]);
      assert.deepEqual(once, ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]);
      const stream = anthropic.messages.stream(base("text"));
      let text = "";
      stream.on("text", (delta) => (text += delta));
      const final = await stream.finalMessage();
      assert.equal(text, expected("text").text);
      assert.equal(await stream.finalText(), text);
      assert.equal(final.stop_reason, "end_turn");
      assert.deepEqual([final.usage.input_tokens, final.usage.output_tokens], expected("text").tokens);
    });

    test("two parallel tool calls, whole and with streamed input", async () => {
      const whole = await anthropic.messages.create({ ...base("tools"), tools });
      assert.equal(whole.stop_reason, "tool_use");
      assert.deepEqual(calls(whole), expected("tools").calls);
      const stream = anthropic.messages.stream({ ...base("tools"), tools });
      let json = "";
      stream.on("inputJson", (partial) => (json += partial));
      const final = await stream.finalMessage();
      assert.deepEqual(calls(final), expected("tools").calls);
      const spoken = expected("tools").calls.map(([, input]) => JSON.stringify(input)).join("");
      assert.equal(json.replace(/\s/g, ""), spoken);
      assert.equal(new Set(final.content.map(({ id }) => id)).size, 2);
    });

    for (const stream of [false, true]) {
      test(`the SDK's own loop: calls, results in the next turn, answer (${stream ? "streamed" : "whole"})`, async () => {
        const asked = [];
        const weather = betaTool({
          ...named,
          inputSchema: parameters,
          run: ({ city }) => {
            asked.push(city);
            return weatherIn(city);
          },
        });
        const runner = anthropic.beta.messages.toolRunner({ ...base("tools"), tools: [weather], stream });
        const last = await runner.runUntilDone();
        assert.equal(last.content[0].text, expected("tool_results").text);
        assert.deepEqual(asked, ["Paris", "Rome"]);
        const results = resultsIn(provider, house.provider.of(provider, "tools").at(-1).body);
        assert.deepEqual(Object.values(results), ["Paris", "Rome"].map(weatherIn));
      });
    }

    test("structured output: the schema reaches the provider, the answer is parsed", async () => {
      const output_config = { format: zodOutputFormat(Weather) };
      const whole = await anthropic.messages.parse({ ...base("schema"), output_config });
      assert.deepEqual(whole.parsed_output, STRUCTURED);
      assert.ok(JSON.stringify(house.provider.of(provider, "schema").at(-1).body).includes('"degrees":{"type":"number"'));
      const final = await anthropic.messages.stream({ ...base("schema"), output_config }).finalMessage();
      assert.deepEqual(final.parsed_output, STRUCTURED);
    });

    test("thinking: a block before the text", async () => {
      const thinking = { type: "enabled", budget_tokens: 1024 };
      const whole = await anthropic.messages.create({ ...base("reasoning"), thinking });
      // A provider's sealed thinking travels along as a block of its own, for the next turn.
      const shown = (message) => message.content.map(({ type }) => type).filter((type) => type !== "redacted_thinking");
      assert.deepEqual(shown(whole), ["thinking", "text"]);
      assert.equal(whole.content[0].thinking, "Count the letters.");
      const stream = anthropic.messages.stream({ ...base("reasoning"), thinking });
      let thought = "";
      stream.on("thinking", (delta) => (thought += delta));
      const final = await stream.finalMessage();
      assert.equal(thought, "Count the letters.");
      assert.deepEqual(shown(final), ["thinking", "text"]);
      assert.equal(await stream.finalText(), "Three.");
    });

    test("stop reasons", async () => {
      assert.equal((await anthropic.messages.create(base("stop_length"))).stop_reason, "max_tokens");
      assert.equal((await anthropic.messages.create(base("stop_filter"))).stop_reason, "refusal");
      const final = await anthropic.messages.stream(base("stop_length")).finalMessage();
      assert.equal(final.stop_reason, "max_tokens");
    });

    test("tokens are counted before they are spent", async () => {
      const { input_tokens } = await anthropic.messages.countTokens({ model: `${provider}-text`, messages });
      assert.ok(input_tokens > 5 && input_tokens < 50, String(input_tokens));
    });
  });
}
