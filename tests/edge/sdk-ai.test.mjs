// Vercel's AI SDK, unmodified, with each of its providers that speaks one of the three dialects, over a provider of
// every dialect.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, RetryError, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { DIALECTS, resultsIn, said } from "./support/sdk-provider.mjs";
import { QUESTION, STRUCTURED, WEATHER, startSdkHouse, weatherIn } from "./support/sdk-house.mjs";

let house;
const models = {};
before(async () => {
  house = await startSdkHouse();
  const v1 = { baseURL: `${house.url}/v1`, apiKey: "visitor" };
  const openai = createOpenAI(v1);
  const anthropic = createAnthropic(v1);
  models.chat = (name) => openai.chat(name);
  models.responses = (name) => openai.responses(name);
  models.messages = (name) => anthropic(name);
  models.compatible = createOpenAICompatible({ ...v1, name: "gatehouse", includeUsage: true, supportsStructuredOutputs: true });
});
after(() => house?.stop());

const Weather = z.object({ city: z.string(), degrees: z.number() });

/** What makes a model think aloud, in the words of each of the SDK's providers. */
const THINKING = {
  chat: { openai: { reasoningEffort: "medium" } },
  compatible: { gatehouse: { reasoningEffort: "medium" } },
  responses: { openai: { reasoningEffort: "medium", reasoningSummary: "auto" } },
  messages: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
};

for (const caller of ["chat", "compatible", "responses", "messages"]) {
  for (const provider of DIALECTS) {
    describe(`ai at ${caller} from a provider that speaks ${provider}`, () => {
      const model = (feature) => models[caller](`${provider}-${feature}`);
      const expected = (feature) => said(provider, feature);

      test("text, whole and streamed, with its tokens", async () => {
        const whole = await generateText({ model: model("text"), prompt: QUESTION });
        assert.deepEqual([whole.text, whole.finishReason], [expected("text").text, "stop"]);
        assert.deepEqual([whole.usage.inputTokens, whole.usage.outputTokens], expected("text").tokens);
        const streamed = streamText({ model: model("text"), prompt: QUESTION });
        let text = "";
        for await (const delta of streamed.textStream) text += delta;
        assert.equal(text, expected("text").text);
        assert.equal(await streamed.finishReason, "stop");
        const usage = await streamed.usage;
        assert.deepEqual([usage.inputTokens, usage.outputTokens], expected("text").tokens);
      });

      for (const way of ["whole", "streamed"]) {
        test(`tools: both calls, their results in the next step, the answer (${way})`, async () => {
          const asked = [];
          const get_weather = tool({
            description: WEATHER.description,
            inputSchema: z.object({ city: z.string() }),
            execute: ({ city }) => {
              asked.push(city);
              return weatherIn(city);
            },
          });
          const call = { model: model("tools"), prompt: QUESTION, tools: { get_weather }, stopWhen: stepCountIs(3) };
          const result = way === "whole" ? await generateText(call) : streamText(call);
          assert.equal(await result.text, expected("tool_results").text);
          assert.deepEqual(asked.sort(), ["Paris", "Rome"]);
          const [first] = await result.steps;
          assert.deepEqual(first.toolCalls.map(({ toolName, input }) => [toolName, input]), expected("tools").calls);
          assert.equal(first.finishReason, "tool-calls");
          const results = resultsIn(provider, house.provider.of(provider, "tools").at(-1).body);
          assert.deepEqual(Object.values(results).map((text) => text.replaceAll('"', "")), ["Paris", "Rome"].map(weatherIn));
        });
      }

      test("structured output, whole and growing", async () => {
        const call = { model: model("schema"), prompt: QUESTION, output: Output.object({ schema: Weather }) };
        assert.deepEqual((await generateText(call)).output, STRUCTURED);
        const streamed = streamText(call);
        let last;
        for await (const partial of streamed.partialOutputStream) last = partial;
        assert.deepEqual(last, STRUCTURED);
      });

      // OpenAI's own chat completions show no thinking, and the SDK's provider for them looks for none.
      if (caller !== "chat") {
        test("thinking, whole and streamed", async () => {
          const call = { model: model("reasoning"), prompt: QUESTION, providerOptions: THINKING[caller] };
          const whole = await generateText(call);
          assert.deepEqual([whole.reasoningText, whole.text], ["Count the letters.", "Three."]);
          const streamed = streamText(call);
          let text = "";
          for await (const delta of streamed.textStream) text += delta;
          assert.deepEqual([await streamed.reasoningText, text], ["Count the letters.", "Three."]);
        });
      }
    });
  }

  describe(`ai at ${caller}: failures`, () => {
    const dialect = caller === "compatible" ? "chat" : caller;
    const model = (provider, fault) => models[caller](`${provider}-${fault}--${dialect}`);
    // Two of the SDK's providers share a dialect; each has the faults of a provider for itself.
    const provider = caller === "compatible" ? "messages" : "chat";

    test("a refused request is an APICallError that is not retried, with the words of the provider", async () => {
      await assert.rejects(generateText({ model: model(provider, "bad_request"), prompt: QUESTION }), (error) => {
        assert.ok(APICallError.isInstance(error), error.constructor.name);
        assert.deepEqual([error.statusCode, error.isRetryable], [400, false]);
        assert.match(error.message, /seed must be a number/);
        return true;
      });
      assert.equal(house.provider.of(provider, `bad_request--${dialect}`).length, 1);
    });

    test("a provider's wait is kept, and the next attempt succeeds", async () => {
      const { text } = await generateText({ model: model(provider, "limited_once"), prompt: QUESTION, maxRetries: 1 });
      assert.equal(text, said(provider, "text").text);
    });

    test("a provider that stays down is a RetryError", async () => {
      const failing = generateText({ model: model(provider, "down"), prompt: QUESTION, maxRetries: 1 });
      await assert.rejects(failing, (error) => RetryError.isInstance(error) && error.lastError.statusCode >= 500);
    });

    test("a stream that breaks tells so", async () => {
      for (const fault of ["failed_inside", "cut"]) {
        const faults = [];
        const result = streamText({ model: model(provider, fault), prompt: QUESTION, maxRetries: 0, onError: ({ error }) => faults.push(error) });
        let text = "";
        for await (const delta of result.textStream) text += delta;
        assert.ok(text.length > 0 && said(provider, "tool_results").text.startsWith(text), text);
        assert.ok(faults.length > 0, fault);
      }
    });
  });
}
