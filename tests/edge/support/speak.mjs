// What a well-behaved provider says, in both protocols.

const created = 1_760_000_000;

const openai = {
  whole: (model, text, finish = "stop") =>
    JSON.stringify({
      id: "chatcmpl-fake",
      object: "chat.completion",
      created,
      model,
      choices: [{ index: 0, message: { role: "assistant", content: text, refusal: null }, logprobs: null, finish_reason: finish }],
      usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
    }),
  /** Blocks of a stream; the last one is the end marker. */
  events(model, pieces, { usage = false, finish = "stop" } = {}) {
    const chunk = (choices, more = {}) =>
      `data: ${JSON.stringify({ id: "chatcmpl-fake", object: "chat.completion.chunk", created, model, choices, ...more })}\n\n`;
    const choice = (delta, reason = null) => [{ index: 0, delta, finish_reason: reason }];
    return [
      chunk(choice({ role: "assistant", content: "" })),
      ...pieces.map((content) => chunk(choice({ content }))),
      chunk(choice({}, finish)),
      ...(usage ? [chunk([], { usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 } })] : []),
      "data: [DONE]\n\n",
    ];
  },
  failure: (message) => `data: ${JSON.stringify({ error: { message, type: "server_error", param: null, code: null } })}\n\n`,
  error: (message) => JSON.stringify({ error: { message, type: "invalid_request_error", param: null, code: null } }),
};

const anthropic = {
  whole: (model, text, finish = "end_turn") =>
    JSON.stringify({
      id: "msg_fake",
      type: "message",
      role: "assistant",
      model,
      content: [{ type: "text", text }],
      stop_reason: finish === "length" ? "max_tokens" : finish === "stop" ? "end_turn" : finish,
      stop_sequence: null,
      usage: { input_tokens: 13, output_tokens: 5 },
    }),
  events(model, pieces) {
    const event = (type, more) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
    const message = { id: "msg_fake", type: "message", role: "assistant", model, content: [], stop_reason: null, stop_sequence: null };
    return [
      event("message_start", { message: { ...message, usage: { input_tokens: 13, output_tokens: 1 } } }),
      event("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
      event("ping", {}),
      ...pieces.map((text) => event("content_block_delta", { index: 0, delta: { type: "text_delta", text } })),
      event("content_block_stop", { index: 0 }),
      event("message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 5 } }),
      event("message_stop", {}),
    ];
  },
  failure: (message) => `event: error\ndata: ${JSON.stringify({ type: "error", error: { type: "overloaded_error", message } })}\n\n`,
  error: (message) => JSON.stringify({ type: "error", error: { type: "invalid_request_error", message } }),
};

export const SPEAK = { openai, anthropic };

/** An answer to an embeddings request: one short vector for each input, as base64 when that is asked for. */
export function embeddings(body) {
  const inputs = Array.isArray(body.input) ? body.input : [body.input];
  const vector = (text) => [String(text).length, 0.5, -0.25];
  const encoded = (numbers) =>
    body.encoding_format === "base64" ? Buffer.from(Float32Array.from(numbers).buffer).toString("base64") : numbers;
  return JSON.stringify({
    object: "list",
    model: body.model,
    data: inputs.map((text, index) => ({ object: "embedding", index, embedding: encoded(vector(text)) })),
    usage: { prompt_tokens: 4 * inputs.length, total_tokens: 4 * inputs.length },
  });
}
