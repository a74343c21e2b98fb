// Answers as a client understands them, in all three dialects; a stream must obey its dialect's order of events.

import assert from "node:assert/strict";

import { events } from "./client.mjs";

const unit = (name) => ({ stop: "stop", end_turn: "stop", length: "length", max_tokens: "length", tool_calls: "tools", tool_use: "tools", content_filter: "filter", refusal: "filter" })[name] ?? name;

const blank = () => ({ text: "", tools: [], finish: undefined, usage: undefined, model: undefined, id: undefined, error: undefined, ended: false });

const chat = {
  dialect: "openai",
  path: "/v1/chat/completions",
  prefix: "chatcmpl-",
  body: (model, text = "Good day?", more = {}) => ({ model, messages: [{ role: "user", content: text }], ...more }),
  whole(body) {
    const { message, finish_reason: finish } = body.choices[0];
    const tools = (message.tool_calls ?? []).map(({ function: { name, arguments: given } }) => ({ name, arguments: JSON.parse(given) }));
    const usage = body.usage && [body.usage.prompt_tokens, body.usage.completion_tokens];
    assert.equal(body.object, "chat.completion");
    return { ...blank(), id: body.id, model: body.model, text: message.content ?? "", tools, finish: unit(finish), usage, ended: true };
  },
  stream(list) {
    const seen = blank();
    const calls = [];
    for (const { event, data } of list) {
      assert.equal(event, "message", "chunks have no event name");
      assert.ok(!seen.ended, "nothing follows the end marker");
      if (data === "[DONE]") {
        seen.ended = true;
        continue;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) {
        assert.equal(seen.error, undefined, "one error");
        seen.error = chunk.error.gatehouse?.code ?? chunk.error.message;
        continue;
      }
      assert.equal(seen.error, undefined, "nothing follows an error");
      assert.equal(chunk.object, "chat.completion.chunk");
      assert.ok(seen.id === undefined || seen.id === chunk.id, "one id");
      seen.id = chunk.id;
      seen.model = chunk.model;
      const [choice] = chunk.choices;
      if (choice) {
        assert.equal(seen.finish, undefined, "no choice behind the finish reason");
        seen.text += choice.delta.content ?? "";
        for (const part of choice.delta.tool_calls ?? []) {
          calls[part.index] ??= { name: part.function.name, text: "" };
          calls[part.index].text += part.function.arguments ?? "";
        }
        if (choice.finish_reason) seen.finish = unit(choice.finish_reason);
      }
      if (chunk.usage) seen.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
    }
    seen.tools = calls.map(({ name, text }) => ({ name, arguments: text === "" ? undefined : json(text) }));
    return seen;
  },
};

const messages = {
  dialect: "anthropic",
  path: "/v1/messages",
  prefix: "msg_",
  body: (model, text = "Good day?", more = {}) => ({ model, max_tokens: 100, messages: [{ role: "user", content: text }], ...more }),
  whole(body) {
    assert.deepEqual([body.type, body.role], ["message", "assistant"]);
    const of = (type) => body.content.filter((block) => block.type === type);
    const tools = of("tool_use").map(({ name, input }) => ({ name, arguments: input }));
    const text = of("text").map((block) => block.text).join("");
    const usage = [body.usage.input_tokens, body.usage.output_tokens];
    return { ...blank(), id: body.id, model: body.model, text, tools, finish: unit(body.stop_reason), usage, ended: true };
  },
  stream(list) {
    const seen = blank();
    let open;
    let next = 0;
    const calls = [];
    for (const { event, data } of list) {
      const said = JSON.parse(data);
      assert.equal(event, said.type, "the event's name is its type");
      if (event === "ping") continue;
      assert.ok(!seen.ended && seen.error === undefined, `${event} behind the end`);
      if (event === "error") {
        seen.error = said.error.gatehouse?.code ?? said.error.message;
        continue;
      }
      assert.equal(event === "message_start", seen.id === undefined, "one message_start, and first");
      if (event === "message_start") {
        seen.id = said.message.id;
        seen.model = said.message.model;
        seen.usage = [said.message.usage.input_tokens, said.message.usage.output_tokens];
      } else if (event === "content_block_start") {
        assert.deepEqual([open, said.index], [undefined, next], "one block at a time, counted");
        open = next++;
        if (said.content_block.type === "tool_use") calls[open] = { name: said.content_block.name, text: "" };
      } else if (event === "content_block_delta") {
        assert.equal(said.index, open);
        seen.text += said.delta.text ?? "";
        if (said.delta.type === "input_json_delta") calls[open].text += said.delta.partial_json;
      } else if (event === "content_block_stop") {
        assert.equal(said.index, open);
        open = undefined;
      } else if (event === "message_delta") {
        assert.equal(open, undefined, "all blocks are closed");
        seen.finish = unit(said.delta.stop_reason);
        seen.usage = [said.usage.input_tokens ?? seen.usage[0], said.usage.output_tokens];
      } else {
        assert.equal(event, "message_stop");
        assert.notEqual(seen.finish, undefined);
        seen.ended = true;
      }
    }
    seen.tools = calls.filter(Boolean).map(({ name, text }) => ({ name, arguments: json(text) }));
    return seen;
  },
};

const responses = {
  dialect: "openai",
  path: "/v1/responses",
  prefix: "resp_",
  body: (model, text = "Good day?", more = {}) => ({ model, input: text, ...more }),
  whole(body) {
    assert.equal(body.object, "response");
    const tools = body.output.filter(({ type }) => type === "function_call").map(({ name, arguments: given }) => ({ name, arguments: JSON.parse(given) }));
    const text = body.output.flatMap(({ content }) => content ?? []).map((part) => part.text ?? "").join("");
    const finish = body.status === "incomplete" ? { max_output_tokens: "length", content_filter: "filter" }[body.incomplete_details.reason] : "stop";
    const usage = body.usage && [body.usage.input_tokens, body.usage.output_tokens];
    return { ...blank(), id: body.id, model: body.model, text, tools, finish: tools.length > 0 ? "tools" : finish, usage, ended: body.status !== "in_progress" };
  },
  stream(list) {
    const seen = blank();
    let text = "";
    const open = new Set();
    const done = new Set();
    for (const [number, { event, data }] of list.entries()) {
      const said = JSON.parse(data);
      assert.equal(event, said.type, "the event's name is its type");
      assert.equal(said.sequence_number, number, "events are counted");
      assert.ok(!seen.ended && seen.error === undefined, `${event} behind the end`);
      if (event === "error") {
        seen.error = said.gatehouse?.code ?? said.message;
        continue;
      }
      if (event === "response.created") seen.id = said.response.id;
      if (event === "response.output_item.added") open.add(said.item.id);
      if (event === "response.output_text.delta") {
        assert.ok(open.has(said.item_id), "a delta of an open item");
        assert.ok(!done.has(`${said.item_id} ${said.content_index}`), "no delta behind the end of its text");
        text += said.delta;
      }
      if (event === "response.output_text.done") {
        const part = `${said.item_id} ${said.content_index}`;
        assert.ok(open.has(said.item_id) && !done.has(part), "a text is done once");
        done.add(part);
      }
      if (event === "response.output_item.done") assert.ok(open.delete(said.item.id));
      if (["response.completed", "response.incomplete", "response.failed"].includes(event)) {
        assert.equal(open.size, 0, "all items are done");
        assert.equal(said.response.id, seen.id);
        if (event === "response.failed") seen.error = said.response.error.code;
        else Object.assign(seen, responses.whole(said.response));
        assert.equal(seen.text, text, "the whole text is that of the deltas");
      }
    }
    seen.text = text;
    return seen;
  },
};

/** The callers' dialects. */
export const CALLERS = { chat, messages, responses };

/** What an answer of `call()` says: `{ text, tools, finish, usage, model, id, error, ended }`. */
export function read(caller, answer, stream) {
  if (!stream) return caller.whole(answer.json());
  assert.match(answer.headers["content-type"] ?? "", /^text\/event-stream/, answer.text);
  return caller.stream(events(answer.text));
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
