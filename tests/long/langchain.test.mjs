// LangChain, unmodified: its OpenAI models (chat completions and responses) and its Anthropic model, each over a
// provider of every dialect.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { DIALECTS, resultsIn, said } from "../edge/support/sdk-provider.mjs";
import { QUESTION, STRUCTURED, WEATHER, startSdkHouse, weatherIn } from "../edge/support/sdk-house.mjs";
import { installed } from "./install.mjs";

const FOLDER = join(import.meta.dirname, "langchain");

let house;
let lang;
const foreign = [];
before(
  async () => {
    await installed(FOLDER);
    const require = createRequire(join(FOLDER, "package.json"));
    lang = {
      ...require("@langchain/openai"),
      ...require("@langchain/anthropic"),
      ...require("@langchain/core/messages"),
      ...require("@langchain/core/tools"),
      z: require("zod"),
    };
    // It would look for a tokenizer's tables in the network where an answer has no usage.
    const own = globalThis.fetch;
    globalThis.fetch = (target, options) => {
      const url = String(target.url ?? target);
      if (url.startsWith("http://127.0.0.1:")) return own(target, options);
      foreign.push(url);
      return Promise.reject(new Error(`not to be asked: ${url}`));
    };
    house = await startSdkHouse();
  },
  { timeout: 600_000 },
);
after(() => house?.stop());

const MODELS = {
  chat: (model, more) => new lang.ChatOpenAI({ model, apiKey: "visitor", configuration: { baseURL: `${house.url}/v1` }, maxRetries: 0, ...more }),
  responses: (model, more) => MODELS.chat(model, { useResponsesApi: true, ...more }),
  messages: (model, more) => new lang.ChatAnthropic({ model, apiKey: "visitor", anthropicApiUrl: house.url, maxTokens: 1000, maxRetries: 0, ...more }),
};

for (const caller of DIALECTS) {
  for (const provider of DIALECTS) {
    describe(`LangChain at ${caller} from a provider that speaks ${provider}`, () => {
      const model = (feature, more) => MODELS[caller](`${provider}-${feature}`, more);
      const expected = (feature) => said(provider, feature);

      test("text, whole and streamed, with its tokens", async () => {
        const whole = await model("text").invoke(QUESTION);
        assert.equal(whole.text, expected("text").text);
        assert.deepEqual([whole.usage_metadata.input_tokens, whole.usage_metadata.output_tokens], expected("text").tokens);
        let sum;
        for await (const chunk of await model("text").stream(QUESTION)) sum = sum ? sum.concat(chunk) : chunk;
        assert.equal(sum.text, expected("text").text);
        // LangChain adds what a stream's two reports say, where the later one is meant to replace the earlier one; so it
        // counts the one token of this provider's first report twice, with or without us.
        const twice = caller === "messages" && provider === "messages" ? 1 : 0;
        assert.equal(sum.usage_metadata.output_tokens, expected("text").tokens[1] + twice);
      });

      for (const way of ["invoke", "stream"]) {
        test(`tools: both calls, their results in the next turn, the answer (${way})`, async () => {
          const weather = lang.tool(({ city }) => weatherIn(city), {
            name: WEATHER.name,
            description: WEATHER.description,
            schema: lang.z.object({ city: lang.z.string() }),
          });
          const bound = model("tools").bindTools([weather]);
          const ask = async (turns) => {
            if (way === "invoke") return bound.invoke(turns);
            let sum;
            for await (const chunk of await bound.stream(turns)) sum = sum ? sum.concat(chunk) : chunk;
            return sum;
          };
          const turns = [new lang.HumanMessage(QUESTION)];
          const first = await ask(turns);
          assert.deepEqual(first.tool_calls.map(({ name, args }) => [name, args]), expected("tools").calls);
          turns.push(first);
          for (const call of first.tool_calls) turns.push(await weather.invoke(call));
          assert.equal((await ask(turns)).text, expected("tool_results").text);
          const results = resultsIn(provider, house.provider.of(provider, "tools").at(-1).body);
          assert.deepEqual(Object.values(results), ["Paris", "Rome"].map(weatherIn));
        });
      }

      test("structured output", async () => {
        const schema = lang.z.object({ city: lang.z.string(), degrees: lang.z.number() });
        const structured = model("schema").withStructuredOutput(schema, { name: "weather", method: "jsonSchema" });
        assert.deepEqual(await structured.invoke(QUESTION), STRUCTURED);
      });

      test("errors keep their status, and what waiting cannot mend is asked once", async () => {
        const fault = `bad_request--${caller}`;
        const failing = MODELS[caller](`${provider}-${fault}`, { maxRetries: 2 });
        await assert.rejects(failing.invoke(QUESTION), (error) => {
          assert.equal(error.status, 400);
          assert.match(error.message, /seed must be a number/);
          return true;
        });
        assert.equal(house.provider.of(provider, fault).length, 1);
        const mended = MODELS[caller](`${provider}-limited_once--${caller}`, { maxRetries: 2 });
        assert.equal((await mended.invoke(QUESTION)).text, expected("text").text);
      });
    });
  }
}

test("LangChain asked nobody else", () => assert.deepEqual(foreign, []));
