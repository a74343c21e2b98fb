// The other side, in a process of its own: a fake provider that speaks OpenAI's protocol without a model behind it, and
// a key-value store in memory behind workerd's KV binding, which has none of its own. Prints its two ports as one line
// of JSON; a GET of /counters on the store's port tells how often the store was read and written.

import { createServer } from "node:http";

/** Content events of a stream; the end adds one with the finish reason and the end marker. */
const EVENTS = 64;
const EVENT_GAP_MS = 4;
const VECTOR_LENGTH = 256;

const created = 1_760_000_000;
const usage = { prompt_tokens: 57, completion_tokens: EVENTS, total_tokens: 57 + EVENTS };
const words = Array.from({ length: EVENTS }, (_, i) => ` word${i}`);

const whole = Buffer.from(
  JSON.stringify({
    id: "chatcmpl-bench",
    object: "chat.completion",
    created,
    model: "bench-model",
    choices: [{ index: 0, message: { role: "assistant", content: words.join(""), refusal: null }, logprobs: null, finish_reason: "stop" }],
    usage,
    service_tier: "default",
    system_fingerprint: null,
  }),
);

function event(choices, more = {}) {
  const chunk = { id: "chatcmpl-bench", object: "chat.completion.chunk", created, model: "bench-model", service_tier: "default" };
  return Buffer.from(`data: ${JSON.stringify({ ...chunk, system_fingerprint: null, choices, ...more })}\n\n`);
}

const choice = (delta, finish_reason = null) => [{ index: 0, delta, logprobs: null, finish_reason }];
const pieces = words.map((content, i) => event(choice(i === 0 ? { role: "assistant", content } : { content })));
const finish = event(choice({}, "stop"));
const usageEvent = event([], { usage });
const marker = Buffer.from("data: [DONE]\n\n");

const floats = Float32Array.from({ length: VECTOR_LENGTH }, (_, i) => Math.sin(i));
function embeddings(body) {
  const embedding = body.encoding_format === "base64" ? Buffer.from(floats.buffer).toString("base64") : [...floats];
  const data = [{ object: "embedding", index: 0, embedding }];
  return Buffer.from(JSON.stringify({ object: "list", model: body.model, data, usage: { prompt_tokens: 8, total_tokens: 8 } }));
}

function stream(body, response) {
  const tail = body.stream_options?.include_usage ? [finish, usageEvent, marker] : [finish, marker];
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
  response.write(pieces[0]);
  let next = 1;
  const timer = setInterval(() => {
    if (next < pieces.length) return response.write(pieces[next++]);
    clearInterval(timer);
    response.end(Buffer.concat(tail));
  }, EVENT_GAP_MS);
  response.on("close", () => clearInterval(timer));
}

function collect(request, then) {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => then(Buffer.concat(parts)));
}

const provider = createServer((request, response) =>
  collect(request, (bytes) => {
    const body = JSON.parse(bytes);
    if (request.url.endsWith("/embeddings")) return json(response, embeddings(body));
    if (body.stream) return stream(body, response);
    json(response, whole);
  }),
);

function json(response, bytes) {
  response.writeHead(200, { "content-type": "application/json", "content-length": bytes.length }).end(bytes);
}

const values = new Map();
const counters = { reads: 0, writes: 0 };
/** The requests that workerd makes of a KV binding: the key is the path. Nothing expires within a run. */
const store = createServer((request, response) => {
  const key = request.url.split("?")[0];
  if (key === "/counters") return json(response, Buffer.from(JSON.stringify(counters)));
  if (request.method === "PUT") {
    counters.writes += 1;
    return collect(request, (bytes) => {
      values.set(key, bytes);
      response.writeHead(200).end();
    });
  }
  counters.reads += 1;
  const value = values.get(key);
  if (value === undefined) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": "application/octet-stream", "content-length": value.length }).end(value);
});

const ports = [];
for (const server of [provider, store]) {
  server.keepAliveTimeout = 600_000;
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  ports.push(server.address().port);
}
process.stdout.write(`${JSON.stringify({ provider: ports[0], store: ports[1] })}\n`);
// The parent holds our standard input open: when it is gone, so are we.
process.stdin.on("end", () => process.exit(0)).resume();
