// How the fake provider answers. The model's name chooses; every name here is a model. What each fault does, and what the
// caller sees of it, is told in docs/failures.md.
//
// A behaviour gets one exchange: `{ say, stream, body, key, text, pieces, count, response, socket, released, wait, second }`.
// What it leaves open stays open until the other side closes. `count` is the number of this request among those for the same model.

import { gzipSync } from "node:zlib";

const SSE = { "content-type": "text/event-stream; charset=utf-8" };
const JSON_TYPE = { "content-type": "application/json" };

/** Headers that a provider sends and that concern nobody else. */
const PRIVATE = {
  server: "fake/1.0",
  "set-cookie": "upstream=secret; Path=/",
  "openai-organization": "org-canary",
  "openai-processing-ms": "12",
  "x-request-id": "req_upstream",
  "x-ratelimit-limit-requests": "777",
  "access-control-allow-origin": "*",
  "cf-ray": "upstream",
};

function begin({ response }, headers = SSE) {
  response.writeHead(200, { ...PRIVATE, ...headers });
  response.flushHeaders();
}

const blocksOf = (x, pieces, more = {}) =>
  x.say.events(x.body.model, pieces, { usage: x.body.stream_options?.include_usage === true, ...more });
const streamOf = (x) => blocksOf(x, x.pieces);

/** Sends a stream's bytes in one piece after `change`. */
function changed(change) {
  return (x) => {
    begin(x);
    x.response.end(change(streamOf(x).join("")));
  };
}

/** A stream up to that many tokens, and then what `end` does. A whole answer does the same at its very beginning. */
function cutAfter(tokens, end, pieces = (x) => x.pieces) {
  return async (x) => {
    begin(x, x.stream ? SSE : JSON_TYPE);
    if (x.stream) x.response.write(blocksOf(x, pieces(x)).slice(0, x.say.preamble + tokens).join(""));
    else x.response.write(x.say.whole(x.body.model, x.text).slice(0, 60));
    await x.wait(60);
    end(x);
  };
}

/** The stream with its first token said so many times more; where events are counted, they still are. */
function* again(x, times) {
  const blocks = streamOf(x);
  const { preamble } = x.say;
  const counted = blocks[0].includes('"sequence_number":');
  const later = (block, by) => (counted ? block.replace(/"sequence_number":(\d+)/, (_, n) => `"sequence_number":${Number(n) + by}`) : block);
  yield* blocks.slice(0, preamble);
  for (let i = 0; i < times; i += 1) yield later(blocks[preamble], i);
  for (const block of blocks.slice(preamble)) yield later(block, times);
}

/** A stream with that many tokens more, as fast as they go. */
function repeated(count) {
  return (x) => {
    begin(x);
    x.response.end([...again(x, count)].join(""));
  };
}

function status(code, headers = {}, message = (x) => x.say.error(`status ${code}`)) {
  return (x) => x.response.writeHead(code, { ...PRIVATE, ...JSON_TYPE, ...headers }).end(message(x));
}

/** Writes a head of its own making, which node:http would not let pass. */
function rawHead(x, type, length) {
  x.socket.write(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n\r\n`);
}

function whole(x) {
  return x.stream ? streamOf(x).join("") : x.say.whole(x.body.model, x.text);
}

const rawType = (x) => (x.stream ? SSE : JSON_TYPE)["content-type"];

/** A right answer of these pieces. */
async function say(x, pieces, more = {}) {
  if (!x.stream) return x.response.writeHead(200, { ...PRIVATE, ...JSON_TYPE }).end(x.say.whole(x.body.model, pieces.join(""), more));
  begin(x);
  for (const block of blocksOf(x, pieces, more)) {
    x.response.write(block);
    await x.wait(pieces.length > 20 ? 0 : 5);
  }
  x.response.end();
}

// === long answers ===

const TOKENS = 60;
/** The pieces of the long answer: no two are alike, so that a lost or a repeated one shows. */
export const LONG = Array.from({ length: TOKENS }, (_, i) => `${i === 0 ? "" : " "}word${i + 1}${i % 10 === 9 ? "." : ""}`);
export const LONG_TEXT = LONG.join("");

/** What is left of the long answer behind that text. */
function rest(text) {
  const from = LONG_TEXT.startsWith(text) ? LONG_TEXT.slice(text.length) : undefined;
  if (from === undefined) return [`(cannot go on from: ${text.slice(-40)})`];
  return from.match(/\s?\S+/g) ?? [""];
}

/** The assistant's text that the request wants to be continued, and whether an instruction asks for it. */
function unfinished(x) {
  const turns = x.say.turns(x.body);
  const prefill = turns.at(-1)?.role === "assistant";
  const turn = prefill ? turns.at(-1) : turns.at(-2);
  return { prefill, text: turn?.role === "assistant" ? turn.text : undefined };
}

/** A good answer, whole or streamed, of the long text. */
const long = (x, more) => say(x, LONG, more);

export const BEHAVIOURS = {
  good: (x) => say(x, x.pieces),
  other: (x) => BEHAVIOURS.good(x),
  /** The answer was cut by its ceiling. */
  ceiling: (x) => {
    if (!x.stream) return x.response.writeHead(200, JSON_TYPE).end(x.say.whole(x.body.model, x.text, { finish: "length" }));
    begin(x);
    x.response.end(blocksOf(x, x.pieces, { finish: "length" }).join(""));
  },
  /** Sends one token and waits until the test lets it go on. A whole answer waits for its head. */
  async held(x) {
    if (!x.stream) {
      await x.released;
      return say(x, x.pieces);
    }
    begin(x);
    const blocks = streamOf(x);
    const first = x.say.preamble + 1;
    x.response.write(blocks.slice(0, first).join(""));
    await x.released;
    x.response.end(blocks.slice(first).join(""));
  },
  /** The long answer, a token every few milliseconds. */
  async slow(x) {
    if (!x.stream) return long(x);
    begin(x);
    for (const block of blocksOf(x, LONG)) {
      if (x.response.destroyed) return;
      x.response.write(block);
      await x.wait(15);
    }
    x.response.end();
  },
  long: (x) => long(x),
  /** Calls the first tool of the request, twice. */
  tools: (x) => {
    const tool = x.body.tools?.[0];
    const name = tool?.function?.name ?? tool?.name ?? "none";
    return say(x, x.pieces, { tools: [{ name, arguments: { city: "Ulm" } }, { name, arguments: { city: "Köln" } }] });
  },
  /** Writes JSON that follows a schema with the field `answer`. */
  schema: (x) => say(x, ['{"answer":', '"good', ' day"}']),

  // === time ===
  slow_head: () => {},
  slow_body: (x) => begin(x, x.stream ? SSE : JSON_TYPE),
  /** Everything that comes before the first token, and then silence. */
  preamble_only: (x) => {
    begin(x);
    x.response.write(streamOf(x).slice(0, x.say.preamble).join(""));
  },
  async late_token(x) {
    begin(x, x.stream ? SSE : JSON_TYPE);
    const blocks = x.stream ? streamOf(x) : [" ", x.say.whole(x.body.model, x.text)];
    x.response.write(blocks[0]);
    await x.wait(LATE_MS);
    x.response.end(blocks.slice(1).join(""));
  },
  stall: cutAfter(2, () => {}),
  stall_mid: cutAfter(20, () => {}, () => LONG),
  async drip(x) {
    begin(x);
    let sent = 0;
    for (const block of again(x, Infinity)) {
      if (x.response.destroyed) return;
      x.response.write(block);
      if ((sent += 1) > x.say.preamble) await x.wait(50);
    }
  },

  // === ends ===
  reset: cutAfter(2, (x) => x.socket.resetAndDestroy()),
  /** Cut in the arguments of a tool call. */
  async cut_tool(x) {
    begin(x);
    const blocks = blocksOf(x, [], { tools: [{ name: "weather", arguments: { city: "Ulm" } }] });
    const at = blocks.findIndex((block) => block.includes("Ulm") || block.includes("city"));
    x.response.write(blocks.slice(0, at + 1).join(""));
    await x.wait(60);
    x.socket.resetAndDestroy();
  },
  cut_mid: cutAfter(40, (x) => x.socket.resetAndDestroy(), () => LONG),
  /** Cut in its middle once, and well from then on. */
  cut_once: (x) => (x.count === 1 ? BEHAVIOURS.cut_mid(x) : BEHAVIOURS.good(x)),
  reset_at_once: (x) => x.socket.resetAndDestroy(),
  no_end: (x) => {
    begin(x);
    x.response.end(streamOf(x).slice(0, -1).join(""));
  },
  cut_event: (x) => {
    begin(x);
    const text = streamOf(x).slice(0, x.say.preamble + 3).join("");
    x.response.end(text.slice(0, -20));
  },
  empty: (x) => {
    begin(x);
    x.response.end();
  },
  async failed_inside(x) {
    begin(x);
    x.response.write(streamOf(x).slice(0, x.say.preamble + 1).join(""));
    await x.wait(30);
    x.response.end(x.say.failure("overloaded, says the provider"));
  },

  // === forms of a stream that are right, if unusual ===
  cr: changed((text) => text.replaceAll("\n", "\r")),
  crlf: changed((text) => text.replaceAll("\n", "\r\n")),
  bom: changed((text) => `\uFEFF${text}`),
  comments: changed((text) => `: hello\n\n${text.replaceAll("\n\n", "\n\n: still here\n\n")}`),
  async split_bytes(x) {
    begin(x);
    const bytes = Buffer.from(streamOf(x).join(""));
    // Two-byte packets cut every three-byte character.
    for (let at = 0; at < bytes.length; at += 2) {
      x.response.write(bytes.subarray(at, at + 2));
      if (at % 64 === 0) await x.wait(1);
    }
    x.response.end();
  },
  many_events: repeated(20_000),
  /** More than what stands in all buffers between the provider and a client that does not read. */
  huge: repeated(200_000),

  // === nonsense with status 200 ===
  html: (x) => x.response.writeHead(200, { "content-type": "text/html" }).end("<html><body>Sign in</body></html>"),
  error_200: (x) => x.response.writeHead(200, JSON_TYPE).end(x.say.error("the machine of org-canary is down", "server_error")),
  no_finish: (x) => {
    if (x.stream) return BEHAVIOURS.no_end(x);
    x.response.writeHead(200, JSON_TYPE).end(x.say.whole(x.body.model, x.text).replace(/"(finish_reason|stop_reason|status)":"\w+"/g, '"$1":null'));
  },
  no_text: (x) => (x.stream ? x.response.writeHead(200, SSE).end(blocksOf(x, []).join("")) : say(x, [])),
  /** The second token's JSON lacks a value; the rest of the stream follows. */
  garbled: (x) => {
    begin(x);
    const blocks = streamOf(x);
    const second = x.say.preamble + 1;
    blocks[second] = blocks[second].replace(/"(index|output_index)":0/, '"$1":');
    x.response.end(blocks.join(""));
  },
  bad_json: (x) => {
    begin(x);
    const blocks = blocksOf(x, LONG);
    blocks[9] = blocks[9].replace(/\}\n\n$/, "\n\n");
    x.response.end(blocks.join(""));
  },
  giant_line: (x) => {
    begin(x);
    x.response.end(`${streamOf(x).slice(0, x.say.preamble + 1).join("")}data: ${"x".repeat(5_000_000)}`);
  },
  gzip_bomb: (x) => {
    const first = x.stream ? streamOf(x).slice(0, x.say.preamble + 1).join("") : "";
    const zipped = gzipSync(Buffer.concat([Buffer.from(first), Buffer.alloc(50_000_000, 32)]));
    const type = x.stream ? SSE : JSON_TYPE;
    x.response.writeHead(200, { ...type, "content-encoding": "gzip", "content-length": zipped.length }).end(zipped);
  },

  // === lengths that do not hold ===
  too_short: (x) => {
    const text = whole(x);
    rawHead(x, rawType(x), Buffer.byteLength(text) + 1000);
    x.socket.end(text);
  },
  too_long: (x) => {
    const text = whole(x);
    rawHead(x, rawType(x), Buffer.byteLength(text) - 20);
    x.socket.end(text);
  },

  // === statuses ===
  redirect_302: (x) => x.response.writeHead(302, { location: `${x.second}/v1/chat/completions` }).end(),
  redirect_307: (x) => x.response.writeHead(307, { location: `${x.second}/v1/chat/completions` }).end(),
  wait_seconds: status(429, { "retry-after": "3" }),
  wait_date: (x) => status(429, { "retry-after": new Date(Date.now() + 20_000).toUTCString() })(x),
  wait_absurd: status(429, { "retry-after": "864000" }),
  wait_unnamed: status(429),
  /** Refuses once, with a wait of a second; keeps the time that it asked for. */
  wait_once: (x) => (x.count === 1 ? status(429, { "retry-after": "1" })(x) : BEHAVIOURS.good(x)),
  status_500: status(500),
  one_500: (x) => (x.count === 1 ? status(500)(x) : BEHAVIOURS.good(x)),
  status_503: status(503),
  status_401: status(401, {}, (x) => x.say.error(`Incorrect API key provided: ${x.key}, organisation org-canary`)),
  status_400: status(400, {}, (x) => x.say.error(`Bad seed for ${x.key} of org-canary`)),
  context_length: status(400, {}, (x) => x.say.tooLong()),
  content_filter: status(400, {}, (x) => x.say.filtered()),
  /** Well for its first request, then down for good. */
  once_good: (x) => (x.count === 1 ? BEHAVIOURS.good(x) : status(503)(x)),
  /** Well until its time to the first token is known, then silent. */
  tired: (x) => (x.count <= TIRED_AFTER ? BEHAVIOURS.good(x) : undefined),
  /** Down for its first five requests, then well. */
  flapping: (x) => (x.count <= FLAPS ? status(503)(x) : BEHAVIOURS.good(x)),

  // === those that go on where another broke off ===
  /** Goes on from the assistant's text that stands last, or that an instruction speaks of. */
  goes_on: (x) => {
    const { text } = unfinished(x);
    return say(x, text === undefined ? LONG : rest(text));
  },
  /** The same, but a request that ends with the assistant's words is refused. */
  no_prefill: (x) => {
    const { prefill, text } = unfinished(x);
    if (prefill) return status(400, {}, () => x.say.error("This model does not support assistant message prefill."))(x);
    return say(x, text === undefined ? LONG : rest(text));
  },
  /** Told to go on, it says its last words once more first. */
  repeats: (x) => {
    const { text } = unfinished(x);
    if (text === undefined) return say(x, LONG);
    return say(x, [text.slice(-40), ...rest(text)]);
  },
  /** A good answer with another usage than the rest: 1000 tokens in, 500 out. */
  other_usage: (x) => say(x, x.pieces, { counts: [1000, 500] }),
};

/** So many first tokens a target's 95th percentile needs. */
export const TIRED_AFTER = 20;
/** When `late_token` sends its first token: later than the deadline of tests, sooner than their patience. */
export const LATE_MS = 2500;
/** How many requests `flapping` refuses: so many open the breaker. */
export const FLAPS = 5;
