// Any caller's dialect to any provider's: text, tools, a schema, a picture and an error, streamed and whole.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { call, leaks, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";

const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const PATHS = { chat: "/v1/chat/completions", messages: "/v1/messages", responses: "/v1/responses" };
/** Tokens in and out as each provider tells them. */
const USAGE = { chat: [11, 7], messages: [13, 5], responses: [17, 3] };
const PIXEL = "iVBORw0KGgo=";
const PARAMETERS = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const SCHEMA = { type: "object", properties: { answer: { type: "string" } }, required: ["answer"], additionalProperties: false };

const DIALECTS = Object.keys(CALLERS);
const FAULTS = ["good", "tools", "schema", "status_400", "status_503", "cut_mid", "ceiling"];
const name = (fault, caller, target) => `${fault}-${caller}-${target}`;

const aliases = DIALECTS.flatMap((caller) =>
  DIALECTS.flatMap((target) => [
    ...FAULTS.map((fault) => ({
      name: name(fault, caller, target),
      public: true,
      allow_parameters: ["images"],
      system: "Be brief.",
      target: [{ provider: PROVIDER[target], model: `${fault}:${caller}-${target}` }],
    })),
    {
      name: name("lossy", caller, target),
      public: true,
      on_unsupported: "drop",
      target: [{ provider: PROVIDER[target], model: `good:lossy-${caller}-${target}` }],
    },
  ]),
);

let house;
let url;
let provider;
before(async () => {
  house = await startHouse({ aliases, retry: { attempts_per_target: 1, attempts: 1 } });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

/** What a request says, in the words of each dialect. */
const WORDS = {
  chat: {
    tools: { tools: [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters: PARAMETERS } }], tool_choice: "required" },
    schema: { response_format: { type: "json_schema", json_schema: { name: "reply", strict: true, schema: SCHEMA } } },
    image: { messages: [{ role: "user", content: [{ type: "text", text: "What is it?" }, { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } }] }] },
    turns: {
      messages: [
        { role: "system", content: "Speak German." },
        { role: "user", content: "Weather in Ulm?" },
        { role: "assistant", content: null, tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Ulm"}' } }] },
        { role: "tool", tool_call_id: "call_1", content: "rain" },
        { role: "user", content: "And tomorrow?" },
      ],
    },
    sampling: { temperature: 0.5, max_tokens: 50 },
    lossy: { seed: 7 },
  },
  messages: {
    tools: { tools: [{ name: "weather", description: "Tells the weather.", input_schema: PARAMETERS }], tool_choice: { type: "any" } },
    schema: { output_config: { format: { type: "json_schema", schema: SCHEMA } } },
    image: { messages: [{ role: "user", content: [{ type: "text", text: "What is it?" }, { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } }] }] },
    turns: {
      system: "Speak German.",
      messages: [
        { role: "user", content: "Weather in Ulm?" },
        { role: "assistant", content: [{ type: "tool_use", id: "call_1", name: "weather", input: { city: "Ulm" } }] },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "call_1", content: "rain" }, { type: "text", text: "And tomorrow?" }] },
      ],
    },
    sampling: { temperature: 0.5, max_tokens: 50 },
    lossy: { top_k: 5 },
  },
  responses: {
    tools: { tools: [{ type: "function", name: "weather", description: "Tells the weather.", parameters: PARAMETERS, strict: false }], tool_choice: "required" },
    schema: { text: { format: { type: "json_schema", name: "reply", strict: true, schema: SCHEMA } } },
    image: { input: [{ role: "user", content: [{ type: "input_text", text: "What is it?" }, { type: "input_image", image_url: `data:image/png;base64,${PIXEL}`, detail: "auto" }] }] },
    turns: {
      instructions: "Speak German.",
      input: [
        { role: "user", content: "Weather in Ulm?" },
        { type: "function_call", call_id: "call_1", name: "weather", arguments: '{"city":"Ulm"}' },
        { type: "function_call_output", call_id: "call_1", output: "rain" },
        { role: "user", content: "And tomorrow?" },
      ],
    },
    sampling: { temperature: 0.5, max_output_tokens: 50 },
    lossy: { truncation: "auto" },
  },
};

/** What a provider was asked, in the same words whatever its dialect. */
const ASKED = {
  chat: {
    tools: (body) => body.tools.map((tool) => [tool.function.name, tool.function.parameters.required, body.tool_choice]),
    must: "required",
    schema: (body) => body.response_format.json_schema.schema,
    image: (body) => body.messages.at(-1).content.find(({ type }) => type === "image_url").image_url.url,
    limit: (body) => body.max_completion_tokens ?? body.max_tokens,
    turns: (body) => [
      body.messages.filter(({ role }) => ["system", "developer"].includes(role)).map(({ content }) => textOf(content)).join(" "),
      body.messages.find(({ tool_calls: calls }) => calls).tool_calls.map((c) => [c.id, c.function.name, JSON.parse(c.function.arguments)]),
      body.messages.filter(({ role }) => role === "tool").map((m) => [m.tool_call_id, textOf(m.content)]),
      textOf(body.messages.at(-1).content),
    ],
  },
  messages: {
    tools: (body) => body.tools.map((tool) => [tool.name, tool.input_schema.required, body.tool_choice.type]),
    must: "any",
    schema: (body) => body.output_config.format.schema,
    image: (body) => {
      const { source } = body.messages.at(-1).content.find(({ type }) => type === "image");
      return `data:${source.media_type};base64,${source.data}`;
    },
    limit: (body) => body.max_tokens,
    turns: (body) => {
      const blocks = body.messages.flatMap(({ content }) => (typeof content === "string" ? [{ type: "text", text: content }] : content));
      return [
        textOf(body.system, " "),
        blocks.filter(({ type }) => type === "tool_use").map((b) => [b.id, b.name, b.input]),
        blocks.filter(({ type }) => type === "tool_result").map((b) => [b.tool_use_id, textOf(b.content)]),
        blocks.at(-1).text,
      ];
    },
  },
  responses: {
    tools: (body) => body.tools.map((tool) => [tool.name, tool.parameters.required, body.tool_choice]),
    must: "required",
    schema: (body) => body.text.format.schema,
    image: (body) => body.input.at(-1).content.find(({ type }) => type === "input_image").image_url,
    limit: (body) => body.max_output_tokens,
    turns: (body) => [
      [body.instructions, ...body.input.filter(({ role }) => ["system", "developer"].includes(role)).map(({ content }) => textOf(content))].filter(Boolean).join(" "),
      body.input.filter(({ type }) => type === "function_call").map((i) => [i.call_id, i.name, JSON.parse(i.arguments)]),
      body.input.filter(({ type }) => type === "function_call_output").map((i) => [i.call_id, textOf(i.output)]),
      textOf(body.input.at(-1).content),
    ],
  },
};

/** Neither in the order of the alphabet, nor in its reverse. */
const ORDERED = {
  type: "object",
  properties: { reasoning: { type: "string" }, inner: { type: "object", properties: { z: { type: "string" }, a: { type: "string" } } }, score: { type: "number" }, answer: { type: "string" } },
  required: ["reasoning", "inner", "score", "answer"],
  additionalProperties: false,
};

/** A tool and an answer's form with that schema. */
function inOrder(caller) {
  const { tools, schema } = WORDS[caller];
  const text = JSON.stringify({ ...tools, tool_choice: undefined, ...schema });
  return JSON.parse(text.replace(JSON.stringify(PARAMETERS), JSON.stringify(ORDERED)).replace(JSON.stringify(SCHEMA), JSON.stringify(ORDERED)));
}

function textOf(content, between = "") {
  if (content === undefined || content === null) return "";
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join(between);
}

for (const caller of DIALECTS) {
  for (const target of DIALECTS) {
    describe(`${caller} to ${target}`, () => {
      const ask = async (fault, stream, more = {}) => {
        const json = CALLERS[caller].body(name(fault, caller, target), "Good day?", { stream, ...more, ...(caller === "responses" && { store: false }) });
        const answer = await call(url, { path: PATHS[caller], json });
        const seen = provider.of(`${fault === "lossy" ? "good:lossy-" : `${fault}:`}${caller}-${target}`).at(-1);
        return { answer, seen, said: () => read(CALLERS[caller], answer, stream) };
      };

      for (const stream of [false, true]) {
        const way = stream ? "streamed" : "whole";

        test(`a text, ${way}`, async () => {
          const { answer, seen, said } = await ask("good", stream, WORDS[caller].sampling);
          assert.equal(answer.status, 200, answer.text);
          assertDressed(answer);
          assert.equal(seen.path, PATHS[target]);
          const { text, finish, usage, ended, error } = said();
          assert.match(text, /^Answer \d+: good day, 世界。$/);
          assert.deepEqual([finish, ended, error], ["stop", true, undefined]);
          assert.equal(answer.headers["x-gatehouse-target"], `${PROVIDER[target]}/good:${caller}-${target}`);
          // OpenAI's stream tells usage only to those who ask.
          if (!(stream && caller === "chat")) assert.deepEqual(usage, USAGE[target]);
          const line = await house.worker.log(answer.headers["x-request-id"]);
          assert.deepEqual([line.tokens_in, line.tokens_out, line.tokens_estimated], [...USAGE[target], undefined]);
          assert.deepEqual([seen.body.temperature, ASKED[target].limit(seen.body)], [0.5, 50]);
        });

        test(`tool calls, two at a time, ${way}`, async () => {
          const { answer, seen, said } = await ask("tools", stream, WORDS[caller].tools);
          assert.equal(answer.status, 200, answer.text);
          assert.deepEqual(ASKED[target].tools(seen.body), [["weather", ["city"], ASKED[target].must]]);
          const { tools, finish, ended } = said();
          assert.deepEqual(tools, [{ name: "weather", arguments: { city: "Ulm" } }, { name: "weather", arguments: { city: "Köln" } }]);
          assert.deepEqual([finish, ended], ["tools", true]);
        });

        test(`a schema for the answer, ${way}`, async () => {
          const { answer, seen, said } = await ask("schema", stream, WORDS[caller].schema);
          assert.equal(answer.status, 200, answer.text);
          assert.deepEqual(ASKED[target].schema(seen.body), SCHEMA);
          assert.deepEqual(JSON.parse(said().text), { answer: "good day" });
        });

        test(`a schema's properties in the order given, ${way}`, async () => {
          const { answer, seen } = await ask("good", stream, inOrder(caller));
          assert.equal(answer.status, 200, answer.text);
          // The very text: a model writes its answer in this order.
          assert.equal(seen.text.split(JSON.stringify(ORDERED)).length - 1, 2, seen.text);
        });

        test(`an answer that stopped at its ceiling, ${way}`, async () => {
          const { finish, ended } = (await ask("ceiling", stream)).said();
          assert.deepEqual([finish, ended], ["length", true]);
        });

        test(`a refusal, ${way}`, async () => {
          const { dialect } = CALLERS[caller];
          assertRefused((await ask("status_400", stream)).answer, dialect, 400, "upstream_rejected");
          assertRefused((await ask("status_503", stream)).answer, dialect, 502, "upstream_error");
        });
      }

      test("an answer that breaks ends with an error in the caller's words", async () => {
        const { text, error, ended } = (await ask("cut_mid", true)).said();
        assert.ok(text.startsWith("word1 word2"));
        assert.deepEqual([error, ended], ["upstream_disconnected", false]);
      });

      test("a picture", async () => {
        const { answer, seen } = await ask("good", false, WORDS[caller].image);
        assert.equal(answer.status, 200, answer.text);
        assert.equal(ASKED[target].image(seen.body), `data:image/png;base64,${PIXEL}`);
      });

      test("a conversation with a tool's result, and the alias's own system prompt first", async () => {
        const { answer, seen } = await ask("good", false, WORDS[caller].turns);
        assert.equal(answer.status, 200, answer.text);
        const [system, calls, results, last] = ASKED[target].turns(seen.body);
        assert.match(system, /^Be brief\.\s+Speak German\.$/);
        assert.deepEqual(calls, [["call_1", "weather", { city: "Ulm" }]]);
        assert.deepEqual(results, [["call_1", "rain"]]);
        assert.equal(last, "And tomorrow?");
      });

      test("a field that the other protocol lacks is named, or left out where the alias allows it", async () => {
        const lossy = WORDS[caller].lossy;
        const [field] = Object.keys(lossy);
        const { answer: strict } = await ask("good", false, lossy);
        const { answer, seen } = await ask("lossy", false, lossy);
        assert.equal(answer.status, 200, answer.text);
        if (caller === target) {
          assert.equal(strict.status, 200, strict.text);
          assert.deepEqual(seen.body[field], lossy[field], "in its own protocol it passes");
          assert.equal(answer.headers["x-gatehouse-dropped"], undefined);
        } else {
          assert.equal(answer.headers["x-gatehouse-dropped"], field);
          assert.equal(seen.body[field], undefined);
          // A mere hint may be left out without leave, but never in silence.
          if (strict.status === 200) assert.equal(strict.headers["x-gatehouse-dropped"], field);
          else {
            assertRefused(strict, CALLERS[caller].dialect, 400, "unsupported_parameter");
            if (CALLERS[caller].dialect === "openai") assert.equal(strict.json().error.param, field);
            assert.ok(strict.text.includes(field));
          }
        }
      });
    });
  }
}

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
