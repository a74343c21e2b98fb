// A provider whose answers are the golden fixtures: the path tells the dialect, the model's name the feature. Names that
// are no feature choose a fault. What it was asked is recorded.

import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

import { within } from "./wait.mjs";

const GOLDEN = join(import.meta.dirname, "../../golden");

/** The providers' dialects; each is the name of a provider in the configuration of `sdk-house.mjs`. */
export const DIALECTS = ["chat", "responses", "messages"];

const PATHS = { "/v1/chat/completions": "chat", "/v1/responses": "responses", "/v1/messages": "messages" };

/** Features of which every dialect has both a whole answer and a stream. */
export const FEATURES = readdirSync(join(GOLDEN, "chat"))
  .filter((name) => name.endsWith(".answer.json"))
  .map((name) => name.slice(0, -".answer.json".length));

const golden = (dialect, file) => readFileSync(join(GOLDEN, dialect, file), "utf8");
const wholeOf = (dialect, feature) => golden(dialect, `${feature}.answer.json`);
/** The events of a stream, each with its blank line. */
const eventsOf = (dialect, feature) => golden(dialect, `${feature}.stream.sse`).split(/(?<=\n\n)/).filter((event) => event.trim());

/** What a fixture says, read by hand: text, tool calls as `[name, arguments]`, and tokens in and out. */
export function said(dialect, feature) {
  const answer = JSON.parse(wholeOf(dialect, feature));
  if (dialect === "chat") {
    const { content, tool_calls: calls = [] } = answer.choices[0].message;
    return {
      text: content ?? "",
      calls: calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
      tokens: [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    };
  }
  const tokens = [answer.usage.input_tokens, answer.usage.output_tokens];
  if (dialect === "messages") {
    const of = (type) => answer.content.filter((block) => block.type === type);
    return { text: of("text").map(({ text }) => text).join(""), calls: of("tool_use").map(({ name, input }) => [name, input]), tokens };
  }
  const of = (type) => answer.output.filter((item) => item.type === type);
  return {
    text: of("message").flatMap(({ content }) => content.map(({ text }) => text)).join(""),
    calls: of("function_call").map((call) => [call.name, JSON.parse(call.arguments)]),
    tokens,
  };
}

/** The tools' results in a request, by the id of their call. */
export function resultsIn(dialect, body) {
  const text = (content) => (typeof content === "string" ? content : content.map((part) => part.text).join(""));
  const pairs = {
    chat: () => body.messages.filter(({ role }) => role === "tool").map((turn) => [turn.tool_call_id, text(turn.content)]),
    messages: () =>
      body.messages
        .flatMap(({ content }) => (Array.isArray(content) ? content : []))
        .filter(({ type }) => type === "tool_result")
        .map((block) => [block.tool_use_id, text(block.content)]),
    responses: () =>
      (Array.isArray(body.input) ? body.input : [])
        .filter(({ type }) => type === "function_call_output")
        .map((item) => [item.call_id, text(item.output)]),
  };
  return Object.fromEntries(pairs[dialect]());
}

const JSON_TYPE = { "content-type": "application/json" };
const SSE = { "content-type": "text/event-stream; charset=utf-8" };

/** An error as each provider words it. */
function errorBody(dialect, type, message, code = null) {
  const error = dialect === "messages" ? { type: "error", error: { type, message } } : { error: { message, type, param: null, code } };
  return JSON.stringify(error);
}

function refuse(status, type, message, { headers = {}, code } = {}) {
  return ({ response, dialect }) => response.writeHead(status, { ...JSON_TYPE, ...headers }).end(errorBody(dialect, type, message, code));
}

/** An event in which a stream tells that it failed. */
function failure(dialect) {
  if (dialect === "messages") return `event: error\ndata: ${errorBody(dialect, "overloaded_error", "Overloaded")}\n\n`;
  if (dialect === "chat") return `data: ${errorBody(dialect, "server_error", "The server had an error")}\n\n`;
  const error = { type: "error", code: "server_error", message: "The server had an error", param: null, sequence_number: 99 };
  return `event: error\ndata: ${JSON.stringify(error)}\n\n`;
}

/** The first half of the fixture `tool_results`: text has come, more is to follow. */
const half = (dialect) => {
  const events = eventsOf(dialect, "tool_results");
  return [events.slice(0, Math.ceil(events.length / 2)), events.slice(Math.ceil(events.length / 2))];
};

function begin({ response }, events) {
  response.writeHead(200, SSE);
  response.write(events.join(""));
}

const TOO_LONG = {
  chat: refuse(400, "invalid_request_error", "This model's maximum context length is 8192 tokens.", { code: "context_length_exceeded" }),
  responses: refuse(400, "invalid_request_error", "Your input exceeds the context window of this model.", { code: "context_length_exceeded" }),
  messages: refuse(400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
};

/** What the other models do; `x.nth` counts the requests for that model in that dialect from 1. */
const FAULTS = {
  bad_request: refuse(400, "invalid_request_error", "seed must be a number"),
  too_long: (x) => TOO_LONG[x.dialect](x),
  bad_key: refuse(401, "authentication_error", "invalid x-api-key"),
  down: refuse(500, "api_error", "Internal server error"),
  limited: refuse(429, "rate_limit_error", "Slow down", { headers: { "retry-after": "1" } }),
  /** Refuses the first request and names a wait that is too long for the gateway, but not for its caller. */
  limited_once: (x) => (x.nth === 1 ? FAULTS.limited(x) : good(x, "text")),
  down_once: (x) => (x.nth === 1 ? FAULTS.down(x) : good(x, "text")),
  silent: () => {},
  failed_inside: (x) => {
    const [events] = half(x.dialect);
    begin(x, events);
    x.response.end(failure(x.dialect));
  },
  cut: (x) => {
    begin(x, half(x.dialect)[0]);
    setTimeout(() => x.response.socket.resetAndDestroy(), 60);
  },
  /** Waits, a stream in the middle, until the test lets it go on. */
  held: async (x) => {
    if (!x.body.stream) return x.released.then(() => good(x, "tool_results"));
    const [first, rest] = half(x.dialect);
    begin(x, first);
    await x.released;
    x.response.end(rest.join(""));
  },
};

export const FAULT_NAMES = Object.keys(FAULTS);

/** Bytes of a piece of a stream: events are cut wherever it happens to be. */
const PIECE = 61;

function good({ response, dialect, body }, feature) {
  if (!body.stream) return response.writeHead(200, JSON_TYPE).end(wholeOf(dialect, feature));
  response.writeHead(200, SSE);
  const events = eventsOf(dialect, feature);
  // Only who asks for usage gets it, as at OpenAI.
  const unasked = dialect === "chat" && !body.stream_options?.include_usage;
  const bytes = Buffer.from(events.filter((event) => !unasked || !event.includes('"choices":[]')).join(""));
  for (let at = 0; at < bytes.length; at += PIECE) response.write(bytes.subarray(at, at + PIECE));
  response.end();
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

/**
 * Starts the provider on a free port.
 *
 * @returns {Promise<{url: string, requests: object[], of(dialect: string, model: string): object[], stop(): Promise<void>}>}
 *   Each request is `{ dialect, body, headers, release(), closed() }`.
 */
export async function startSdkProvider() {
  const requests = [];
  const of = (dialect, model) => requests.filter((seen) => seen.dialect === dialect && seen.body.model === model);

  async function answer(request, response) {
    const dialect = PATHS[request.url];
    const body = JSON.parse(await read(request));
    const seen = { dialect, body, headers: request.headers };
    const released = new Promise((resolve) => (seen.release = resolve));
    const closed = new Promise((resolve) => response.once("close", resolve));
    seen.closed = () => within(closed, `the provider's connection for ${body.model} to close`);
    requests.push(seen);
    const x = { response, dialect, body, released, nth: of(dialect, body.model).length };
    // What follows the name keeps apart what the gateway remembers of a model's failures.
    const [model] = body.model.split("--");
    if (model in FAULTS) return FAULTS[model](x);
    const answered = model === "tools" && Object.keys(resultsIn(dialect, body)).length > 0;
    return good(x, answered ? "tool_results" : model);
  }

  const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => answer(request, response).catch((error) => response.destroy(error)));
  server.on("connection", (socket) => socket.on("error", () => {}));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${server.address().port}`, requests, of, stop };
}
