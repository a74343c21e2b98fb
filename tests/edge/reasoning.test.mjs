// Thinking, prompt-cache marks and cached tokens between all dialects: what the provider is asked, and what the caller
// gets, in each caller's own form. The provider answers with the golden fixtures.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { call, events, leaks, secretsIn } from "./support/client.mjs";
import { startSdkHouse } from "./support/sdk-house.mjs";
import { DIALECTS } from "./support/sdk-provider.mjs";

const PATHS = { chat: "/v1/chat/completions", messages: "/v1/messages", responses: "/v1/responses" };
const golden = (dialect, name) => JSON.parse(readFileSync(join(import.meta.dirname, "../golden", dialect, name), "utf8"));

let house;
before(async () => {
  house = await startSdkHouse();
});
after(() => house?.stop());

/** Sends a fixture's request to the provider of that dialect; gives the answer and what the provider was asked. */
async function ask(caller, provider, feature, more = {}) {
  const model = feature.replace(/_turns$/, "");
  const body = { ...(more.body ?? golden(caller, `${feature}.request.json`)), model: `${provider}-${model}`, ...(caller === "responses" && { store: false }) };
  if (more.stream) body.stream = true;
  if (more.stream && caller === "chat") body.stream_options = { include_usage: true };
  const answer = await call(house.url, { path: PATHS[caller], json: body });
  assert.equal(answer.status, 200, answer.text);
  const seen = house.provider.of(provider, model).at(-1);
  return { answer, seen, body, parts: more.stream ? STREAMED[caller](events(answer.text)) : WHOLE[caller](answer.json()) };
}

/** What an answer says, part by part: `[kind, text]`, a signature or what is sealed, and tokens. */
const tokensOf = {
  chat: (usage) => ({
    input: usage.prompt_tokens,
    read: usage.prompt_tokens_details?.cached_tokens ?? 0,
    write: usage.prompt_tokens_details?.cache_write_tokens ?? 0,
    output: usage.completion_tokens,
    thinking: usage.completion_tokens_details?.reasoning_tokens ?? 0,
  }),
  responses: (usage) => ({
    input: usage.input_tokens,
    read: usage.input_tokens_details.cached_tokens,
    write: usage.input_tokens_details.cache_write_tokens ?? 0,
    output: usage.output_tokens,
    thinking: usage.output_tokens_details.reasoning_tokens,
  }),
  messages: (usage) => ({
    // Anthropic counts apart what was read from the cache and written to it.
    input: usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
    read: usage.cache_read_input_tokens,
    write: usage.cache_creation_input_tokens,
    output: usage.output_tokens,
    thinking: usage.output_tokens_details?.thinking_tokens ?? 0,
  }),
};

const WHOLE = {
  chat(body) {
    const { reasoning_content: thought, content } = body.choices[0].message;
    return { said: [...(thought ? [["thinking", thought]] : []), ["text", content]], tokens: tokensOf.chat(body.usage) };
  },
  messages(body) {
    const blocks = body.content.filter(({ type }) => type !== "redacted_thinking");
    const said = blocks.map((block) => (block.type === "thinking" ? ["thinking", block.thinking] : ["text", block.text]));
    const of = (type) => body.content.find((block) => block.type === type);
    return { said, vouched: of("redacted_thinking")?.data ?? of("thinking")?.signature, tokens: tokensOf.messages(body.usage) };
  },
  responses(body) {
    const said = body.output.map((item) => (item.type === "reasoning" ? ["thinking", item.summary.map(({ text }) => text).join("")] : ["text", item.content.map(({ text }) => text).join("")]));
    return { said, vouched: body.output.find(({ type }) => type === "reasoning")?.encrypted_content, tokens: tokensOf.responses(body.usage) };
  },
};

/** Joins the pieces of neighbours of one kind. */
function gather() {
  const said = [];
  const add = (kind, text) => {
    if (!text) return;
    if (said.at(-1)?.[0] === kind) said.at(-1)[1] += text;
    else said.push([kind, text]);
  };
  return { said, add };
}

const STREAMED = {
  chat(list) {
    const { said, add } = gather();
    let tokens;
    for (const { data } of list) {
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.usage) tokens = tokensOf.chat(chunk.usage);
      for (const { delta } of chunk.choices) {
        add("thinking", delta.reasoning_content);
        add("text", delta.content);
      }
    }
    assert.equal(list.at(-1).data, "[DONE]");
    return { said, tokens };
  },
  messages(list) {
    const { said, add } = gather();
    let vouched;
    let usage;
    for (const { data } of list) {
      const event = JSON.parse(data);
      if (event.type === "message_start") usage = event.message.usage;
      // Counts are cumulative: the later ones hold.
      if (event.type === "message_delta") usage = { ...usage, ...event.usage };
      if (event.type === "content_block_start") vouched = event.content_block.data ?? event.content_block.signature ?? vouched;
      if (event.type !== "content_block_delta") continue;
      add("thinking", event.delta.thinking);
      add("text", event.delta.text);
      if (event.delta.type === "signature_delta") vouched += event.delta.signature;
    }
    assert.equal(list.at(-1).event, "message_stop");
    return { said, vouched, tokens: tokensOf.messages(usage) };
  },
  responses(list) {
    const { said, add } = gather();
    for (const { event, data } of list) {
      if (event === "response.reasoning_summary_text.delta") add("thinking", JSON.parse(data).delta);
      if (event === "response.output_text.delta") add("text", JSON.parse(data).delta);
    }
    const last = JSON.parse(list.at(-1).data);
    assert.equal(last.type, "response.completed");
    const whole = WHOLE.responses(last.response);
    assert.deepEqual(whole.said, said, "the end says what was streamed");
    return whole;
  },
};

/** What vouches for the thinking, as each caller gets it from each provider. */
const SEALED = golden("responses", "reasoning.answer.json").output[0].encrypted_content;
const VOUCHED = {
  chat: { chat: undefined, messages: undefined, responses: undefined },
  messages: { chat: "", messages: "c2lnbmF0dXJl", responses: SEALED },
  responses: { chat: undefined, messages: "signature:c2lnbmF0dXJl", responses: SEALED },
};

for (const caller of DIALECTS) {
  for (const provider of DIALECTS) {
    describe(`${caller} from a provider that speaks ${provider}`, () => {
      for (const stream of [false, true]) {
        const form = stream ? "streamed" : "whole";
        const counted = (feature) => {
          const { usage } = golden(provider, `${feature}.answer.json`);
          return tokensOf[provider](usage);
        };

        test(`the thinking comes before the text, and its tokens are told, ${form}`, async () => {
          const { parts } = await ask(caller, provider, "reasoning", { stream });
          assert.deepEqual(parts.said, [["thinking", "Count the letters."], ["text", "Three."]]);
          assert.equal(parts.vouched, VOUCHED[caller][provider]);
          assert.deepEqual(parts.tokens, counted("reasoning"));
          assert.ok(parts.tokens.thinking > 0);
        });

        test(`tokens read from the provider's prompt cache and written to it are told, ${form}`, async () => {
          for (const [feature, kind] of [["usage", "read"], ["cache", "write"]]) {
            const { parts, answer } = await ask(caller, provider, feature, { stream });
            const expected = counted(feature);
            assert.deepEqual(parts.tokens, expected, feature);
            assert.ok(expected[kind] >= 90 && expected.input === 120);
            const line = await house.worker.log(answer.headers["x-request-id"]);
            assert.deepEqual([line.tokens_in, line.tokens_out], [expected.input, expected.output]);
          }
        });
      }
    });
  }
}

/** The request of a next turn: the answer stands in it as the caller got it. */
const NEXT = {
  chat: (body, answer) => ({ ...body, messages: [...body.messages, answer.choices[0].message, { role: "user", content: "Sure?" }] }),
  messages: (body, answer) => ({ ...body, messages: [...body.messages, { role: "assistant", content: answer.content }, { role: "user", content: "Sure?" }] }),
  responses: (body, answer) => ({ ...body, input: [...body.input, ...answer.output, { role: "user", content: "Sure?" }] }),
};
/** The thinking of earlier turns that a provider was sent. */
const EARLIER = {
  chat: (body) => body.messages.flatMap((turn) => turn.reasoning_content ?? []),
  messages: (body) => body.messages.flatMap(({ content }) => (typeof content === "string" ? [] : content.filter(({ type }) => type.endsWith("thinking")))),
  responses: (body) => body.input.filter(({ type }) => type === "reasoning").map(({ summary, encrypted_content: sealed }) => ({ summary, sealed })),
};
const THOUGHT = { type: "thinking", thinking: "Count the letters.", signature: "c2lnbmF0dXJl" };
/** What of it comes back to the provider that thought so; what is left out, and how that is told. */
const RETURNS = {
  chat: {
    chat: [["Count the letters."], undefined],
    messages: [[], "messages[].reasoning_content"],
    responses: [[], "messages[].reasoning_content"],
  },
  messages: {
    chat: [[], "messages[].content[].thinking"],
    messages: [[THOUGHT], undefined],
    // The summary is for reading; what is sealed is what the provider goes by.
    responses: [[{ summary: [], sealed: SEALED }], "messages[].content[].thinking"],
  },
  responses: {
    chat: [[], "input[].summary"],
    messages: [[THOUGHT], undefined],
    responses: [[{ summary: [{ type: "summary_text", text: "Count the letters." }], sealed: SEALED }], undefined],
  },
};

for (const caller of DIALECTS) {
  for (const provider of DIALECTS) {
    test(`thinking that a ${caller} caller sends back to a provider that speaks ${provider} arrives with its signature, or its loss is told`, async () => {
      const first = await ask(caller, provider, "reasoning");
      const next = await ask(caller, provider, "reasoning", { body: NEXT[caller](first.body, first.answer.json()) });
      const [arrives, dropped] = RETURNS[caller][provider];
      assert.deepEqual(EARLIER[provider](next.seen.body), arrives);
      assert.equal(next.answer.headers["x-gatehouse-dropped"], dropped);
      assert.ok(JSON.stringify(next.seen.body).includes("Three."), "the answer itself is there in any case");
    });
  }
}

test("thinking around a tool call, readable and redacted, comes to a provider of the same protocol as it was", async () => {
  const { seen, body, answer } = await ask("messages", "messages", "reasoning_turns");
  assert.deepEqual(seen.body.messages, body.messages);
  assert.deepEqual(seen.body.thinking, body.thinking);
  assert.equal(answer.headers["x-gatehouse-dropped"], undefined);
  for (const [provider, dropped] of [["chat", "messages[].content[].thinking"], ["responses", "messages[].content[].thinking"]]) {
    const other = await ask("messages", provider, "reasoning_turns");
    assert.equal(other.answer.headers["x-gatehouse-dropped"], dropped);
    for (const secret of ["Ask the tool.", "c2lnbmF0dXJl", "c2VhbGVk"]) assert.ok(!JSON.stringify(other.seen.body).includes(secret), "what another provider signed is not for this one");
    assert.ok(JSON.stringify(other.seen.body).includes("toolu_01Paris"), "the call and its result are");
  }
});

/** Where a request marks what the provider's prompt cache is to keep. */
const MARKS = {
  chat: (body) => body.messages.flatMap(({ content }) => (typeof content === "string" ? [] : content.map((part) => part.prompt_cache_breakpoint).filter(Boolean))),
  responses: (body) => body.input.flatMap(({ content }) => (typeof content === "string" ? [] : content.map((part) => part.prompt_cache_breakpoint).filter(Boolean))),
  messages: (body) =>
    [...(Array.isArray(body.system) ? body.system : []), ...(body.tools ?? []), ...body.messages.flatMap(({ content }) => (typeof content === "string" ? [] : content))]
      .map((part) => part.cache_control)
      .filter(Boolean),
};
const SHORT = { type: "ephemeral" };
const LONG = { type: "ephemeral", ttl: "1h" };
const EXPLICIT = { mode: "explicit" };
/** The marks that arrive, and what is told to be left out. A mark is a hint: it is never a reason to refuse. */
const MARKED = {
  messages: {
    messages: [[LONG, SHORT, SHORT], undefined],
    chat: [[], "system[].cache_control, messages[].content[].cache_control, tools[].cache_control"],
    responses: [[], "system[].cache_control, messages[].content[].cache_control, tools[].cache_control"],
  },
  chat: {
    chat: [[{ ...EXPLICIT, ttl: "30m" }, EXPLICIT], undefined],
    messages: [[LONG, SHORT], "prompt_cache_key, prompt_cache_options"],
    responses: [[], "prompt_cache_key, prompt_cache_options, messages[].content[].prompt_cache_breakpoint"],
  },
  responses: {
    responses: [[EXPLICIT], undefined],
    messages: [[SHORT], "prompt_cache_key"],
    chat: [[], "prompt_cache_key, input[].content[].prompt_cache_breakpoint"],
  },
};

for (const caller of DIALECTS) {
  test(`cache marks of a ${caller} caller arrive where the provider knows them, and are told where they do not`, async () => {
    for (const provider of DIALECTS) {
      for (const stream of [false, true]) {
        const { seen, answer } = await ask(caller, provider, "cache", { stream });
        const [marks, dropped] = MARKED[caller][provider];
        assert.deepEqual(MARKS[provider](seen.body), marks, provider);
        const told = (answer.headers["x-gatehouse-dropped"] ?? "").split(", ").filter((field) => field && field !== "stream_options");
        assert.deepEqual(told.join(", ") || undefined, dropped, provider);
      }
    }
  });
}

test("a marked request comes to a provider of the same protocol with every field and text as it was, and the same twice", async () => {
  for (const dialect of DIALECTS) {
    const [first, second] = [await ask(dialect, dialect, "cache"), await ask(dialect, dialect, "cache")];
    const { model, max_tokens: limit, max_output_tokens: ceiling, ...rest } = first.seen.body;
    const { model: alias, max_tokens: asked, ...sent } = first.body;
    assert.deepEqual(rest, sent, dialect);
    // The order of the fields is ours, but always the same: a prompt cache goes by it.
    assert.equal(JSON.stringify(second.seen.body), JSON.stringify(first.seen.body), dialect);
  }
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
