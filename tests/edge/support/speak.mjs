// What a well-behaved provider says, in its three protocols.
//
// `whole` and `events` take `{ finish, usage, counts, tools, failed }`: `finish` is "stop", "length" or "filter",
// `counts` the tokens in and out, and `tools` a list of `{ name, arguments }` that is called in place of the text.

const created = 1_760_000_000;
const json = JSON.stringify;

const call = (index, { name, arguments: given }) => ({ index, id: `call_fake_${index}`, name, text: json(given) });
const halves = (text) => [text.slice(0, Math.ceil(text.length / 2)), text.slice(Math.ceil(text.length / 2))].filter(Boolean);

const openai = {
  path: "/v1/chat/completions",
  counts: [11, 7],
  /** Blocks of a stream before its first token. */
  preamble: 1,
  whole(model, text, { finish = "stop", counts = openai.counts, tools } = {}) {
    const calls = tools?.map((tool, i) => call(i, tool)).map(({ id, name, text: given }) => ({ id, type: "function", function: { name, arguments: given } }));
    return json({
      id: "chatcmpl-fake",
      object: "chat.completion",
      created,
      model,
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: calls ? null : text, refusal: null, ...(calls && { tool_calls: calls }) },
          logprobs: null,
          finish_reason: calls ? "tool_calls" : finish === "filter" ? "content_filter" : finish,
        },
      ],
      usage: openai.usage(counts),
    });
  },
  usage: ([input, output]) => ({ prompt_tokens: input, completion_tokens: output, total_tokens: input + output }),
  /** Blocks of a stream; the last one is the end marker. */
  events(model, pieces, { usage = false, finish = "stop", counts = openai.counts, tools } = {}) {
    const chunk = (choices, more = {}) =>
      `data: ${json({ id: "chatcmpl-fake", object: "chat.completion.chunk", created, model, choices, ...more })}\n\n`;
    const choice = (delta, reason = null) => [{ index: 0, delta, finish_reason: reason }];
    const calling = (tool, i) => {
      const { id, name, text } = call(i, tool);
      const part = (more) => chunk(choice({ tool_calls: [{ index: i, ...more }] }));
      return [
        part({ id, type: "function", function: { name, arguments: "" } }),
        ...halves(text).map((given) => part({ function: { arguments: given } })),
      ];
    };
    const said = tools ? tools.flatMap(calling) : pieces.map((content) => chunk(choice({ content })));
    return [
      chunk(choice({ role: "assistant", content: "" })),
      ...said,
      chunk(choice({}, tools ? "tool_calls" : finish === "filter" ? "content_filter" : finish)),
      ...(usage ? [chunk([], { usage: openai.usage(counts) })] : []),
      "data: [DONE]\n\n",
    ];
  },
  failure: (message) => `data: ${json({ error: { message, type: "server_error", param: null, code: null } })}\n\n`,
  error: (message, type = "invalid_request_error", code = null) => json({ error: { message, type, param: null, code } }),
  tooLong: () => openai.error("This model's maximum context length is 8192 tokens.", "invalid_request_error", "context_length_exceeded"),
  filtered: () => openai.error("The prompt was filtered.", "invalid_request_error", "content_filter"),
  /** The conversation as turns of plain text. */
  turns: (body) => body.messages.map(({ role, content }) => ({ role, text: textOf(content) })),
};

const anthropic = {
  path: "/v1/messages",
  counts: [13, 5],
  preamble: 3,
  whole(model, text, { finish = "stop", counts = anthropic.counts, tools } = {}) {
    const blocks = tools?.map((tool, i) => ({ type: "tool_use", id: call(i, tool).id, name: tool.name, input: tool.arguments }));
    return json({
      id: "msg_fake",
      type: "message",
      role: "assistant",
      model,
      content: blocks ?? [{ type: "text", text }],
      stop_reason: anthropic.reason(finish, tools),
      stop_sequence: null,
      usage: { input_tokens: counts[0], output_tokens: counts[1] },
    });
  },
  reason: (finish, tools) => (tools ? "tool_use" : { stop: "end_turn", length: "max_tokens", filter: "refusal" }[finish]),
  events(model, pieces, { finish = "stop", counts = anthropic.counts, tools } = {}) {
    const event = (type, more) => `event: ${type}\ndata: ${json({ type, ...more })}\n\n`;
    const message = { id: "msg_fake", type: "message", role: "assistant", model, content: [], stop_reason: null, stop_sequence: null };
    const ping = event("ping", {});
    const block = (index, start, deltas, more = []) => [
      event("content_block_start", { index, content_block: start }),
      ...more,
      ...deltas.map((delta) => event("content_block_delta", { index, delta })),
      event("content_block_stop", { index }),
    ];
    const calling = (tool, i) => {
      const { id, name, text } = call(i, tool);
      const deltas = halves(text).map((part) => ({ type: "input_json_delta", partial_json: part }));
      return block(i, { type: "tool_use", id, name, input: {} }, deltas);
    };
    const texts = pieces.map((text) => ({ type: "text_delta", text }));
    return [
      event("message_start", { message: { ...message, usage: { input_tokens: counts[0], output_tokens: 1 } } }),
      ...(tools ? tools.flatMap(calling) : block(0, { type: "text", text: "" }, texts, [ping])),
      event("message_delta", {
        delta: { stop_reason: anthropic.reason(finish, tools), stop_sequence: null },
        usage: { output_tokens: counts[1] },
      }),
      event("message_stop", {}),
    ];
  },
  failure: (message) => `event: error\ndata: ${json({ type: "error", error: { type: "overloaded_error", message } })}\n\n`,
  error: (message, type = "invalid_request_error") => json({ type: "error", error: { type, message } }),
  tooLong: () => anthropic.error("prompt is too long: 210000 tokens > 200000 maximum"),
  filtered: () => anthropic.error("Output blocked by content filtering policy"),
  turns: (body) => body.messages.map(({ role, content }) => ({ role, text: textOf(content) })),
};

const responses = {
  path: "/v1/responses",
  counts: [17, 3],
  preamble: 4,
  object(model, output, { finish = "stop", counts = responses.counts, status } = {}) {
    const cut = { length: "max_output_tokens", filter: "content_filter" }[finish];
    return {
      id: "resp_fake",
      object: "response",
      created_at: created,
      status: status ?? (cut ? "incomplete" : "completed"),
      error: null,
      incomplete_details: cut && status === undefined ? { reason: cut } : null,
      instructions: null,
      metadata: {},
      model,
      output,
      parallel_tool_calls: true,
      temperature: 1,
      tool_choice: "auto",
      tools: [],
      top_p: 1,
      usage:
        status === undefined
          ? {
              input_tokens: counts[0],
              input_tokens_details: { cached_tokens: 0 },
              output_tokens: counts[1],
              output_tokens_details: { reasoning_tokens: 0 },
              total_tokens: counts[0] + counts[1],
            }
          : null,
    };
  },
  part: (text) => ({ type: "output_text", text, annotations: [], logprobs: [] }),
  message: (content, status = "completed") => ({ id: "msg_item", type: "message", role: "assistant", status, content }),
  item({ name, arguments: given }, i, text = json(given), status = "completed") {
    return { id: `fc_${i}`, type: "function_call", status, call_id: `call_fake_${i}`, name, arguments: text };
  },
  whole(model, text, options = {}) {
    const output = options.tools?.map((tool, i) => responses.item(tool, i)) ?? [responses.message([responses.part(text)])];
    return json(responses.object(model, output, options));
  },
  events(model, pieces, options = {}) {
    let number = 0;
    const event = (type, more) => `event: ${type}\ndata: ${json({ type, sequence_number: number++, ...more })}\n\n`;
    const blocks = ["created", "in_progress"].map((status) =>
      event(`response.${status}`, { response: responses.object(model, [], { status: "in_progress" }) }),
    );
    const push = (type, more) => blocks.push(event(`response.${type}`, more));
    let output;
    if (options.tools) {
      output = options.tools.map((tool, i) => responses.item(tool, i));
      for (const [i, item] of output.entries()) {
        const at = { output_index: i, item_id: item.id };
        push("output_item.added", { output_index: i, item: { ...item, arguments: "", status: "in_progress" } });
        for (const delta of halves(item.arguments)) push("function_call_arguments.delta", { ...at, delta });
        push("function_call_arguments.done", { ...at, name: item.name, arguments: item.arguments });
        push("output_item.done", { output_index: i, item });
      }
    } else {
      const at = { output_index: 0, item_id: "msg_item", content_index: 0 };
      const text = pieces.join("");
      output = [responses.message([responses.part(text)])];
      push("output_item.added", { output_index: 0, item: responses.message([], "in_progress") });
      push("content_part.added", { ...at, part: responses.part("") });
      for (const delta of pieces) push("output_text.delta", { ...at, delta, logprobs: [] });
      push("output_text.done", { ...at, text, logprobs: [] });
      push("content_part.done", { ...at, part: responses.part(text) });
      push("output_item.done", { output_index: 0, item: output[0] });
    }
    const response = responses.object(model, output, options);
    push(response.status, { response });
    return blocks;
  },
  failure: (message) => `event: error\ndata: ${json({ type: "error", code: "server_error", message, param: null, sequence_number: 99 })}\n\n`,
  error: openai.error,
  tooLong: openai.tooLong,
  filtered: openai.filtered,
  turns(body) {
    if (typeof body.input === "string") return [{ role: "user", text: body.input }];
    return body.input.map(({ role, content }) => ({ role, text: textOf(content) }));
  },
};

function textOf(content) {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? "").join("");
}

export const SPEAK = { openai, anthropic, responses };

/** An answer to an embeddings request: one short vector for each input, as base64 when that is asked for. */
export function embeddings(body) {
  const inputs = Array.isArray(body.input) ? body.input : [body.input];
  const vector = (text) => [String(text).length, 0.5, -0.25];
  const encoded = (numbers) =>
    body.encoding_format === "base64" ? Buffer.from(Float32Array.from(numbers).buffer).toString("base64") : numbers;
  return json({
    object: "list",
    model: body.model,
    data: inputs.map((text, index) => ({ object: "embedding", index, embedding: encoded(vector(text)) })),
    usage: { prompt_tokens: 4 * inputs.length, total_tokens: 4 * inputs.length },
  });
}

/** Sixteen-bit silence: what `speech` answers. */
export const AUDIO = Buffer.from("RIFF$\0\0\0WAVEfmt fake", "latin1");

/** Answers of the endpoints that are passed through: content type and body. */
export const MEDIA = {
  "/v1/moderations": (body) => ["application/json", json({ id: "modr-fake", model: body.model, results: [{ flagged: false, categories: {}, category_scores: {} }] })],
  "/v1/images/generations": () => [
    "application/json",
    json({ created, data: [{ b64_json: "aGk=" }], usage: { input_tokens: 9, output_tokens: 100, total_tokens: 109 } }),
  ],
  "/v1/images/edits": () => ["application/json", json({ created, data: [{ b64_json: "aGk=" }], usage: { input_tokens: 19, output_tokens: 100, total_tokens: 119 } })],
  "/v1/audio/speech": () => ["audio/wav", AUDIO],
  "/v1/audio/transcriptions": () => ["application/json", json({ text: "good day", usage: { type: "tokens", input_tokens: 14, output_tokens: 4, total_tokens: 18 } })],
};
