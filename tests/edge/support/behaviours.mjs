// How the fake provider answers. The model's name chooses; every name here is a model.
//
// A behaviour gets one exchange: `{ say, stream, body, key, text, pieces, response, socket, wait, second }`. What it
// leaves open stays open until the other side closes.

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

const streamOf = (x) => x.say.events(x.body.model, x.pieces, { usage: x.body.stream_options?.include_usage === true });

/** Sends a stream's bytes in one piece after `change`. */
function changed(change) {
  return (x) => {
    begin(x);
    x.response.end(change(streamOf(x).join("")));
  };
}

/** The first blocks of a stream, and then what `end` does. */
function cutAfter(blocks, end) {
  return async (x) => {
    begin(x);
    x.response.write(streamOf(x).slice(0, blocks).join(""));
    await x.wait(60);
    end(x);
  };
}

/** A stream with that many pieces, as fast as they go. */
function repeated(count) {
  return (x) => {
    begin(x);
    const [first, piece, ...rest] = streamOf(x);
    x.response.end(first + piece.repeat(count) + rest.join(""));
  };
}

function status(code, headers = {}, message = () => `status ${code}`) {
  return (x) => x.response.writeHead(code, { ...PRIVATE, ...JSON_TYPE, ...headers }).end(x.say.error(message(x)));
}

/** Writes a head of its own making, which node:http would not let pass. */
function rawHead(x, type, length) {
  x.socket.write(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n\r\n`);
}

function whole(x) {
  return x.stream ? streamOf(x).join("") : x.say.whole(x.body.model, x.text);
}

const rawType = (x) => (x.stream ? SSE : JSON_TYPE)["content-type"];

export const BEHAVIOURS = {
  async good(x) {
    if (!x.stream) return x.response.writeHead(200, { ...PRIVATE, ...JSON_TYPE }).end(whole(x));
    begin(x);
    for (const block of streamOf(x)) {
      x.response.write(block);
      await x.wait(5);
    }
    x.response.end();
  },
  other: (x) => BEHAVIOURS.good(x),
  /** The answer was cut by its ceiling. */
  ceiling: (x) => {
    if (!x.stream) return x.response.writeHead(200, JSON_TYPE).end(x.say.whole(x.body.model, x.text, "length"));
    begin(x);
    x.response.end(x.say.events(x.body.model, x.pieces, { finish: "length" }).join(""));
  },
  /** Waits in the middle until the test lets it go on. */
  async held(x) {
    begin(x);
    const blocks = streamOf(x);
    x.response.write(blocks.slice(0, 2).join(""));
    await x.released;
    x.response.end(blocks.slice(2).join(""));
  },

  // === time ===
  slow_head: () => {},
  slow_body: (x) => begin(x, x.stream ? SSE : JSON_TYPE),
  stall: cutAfter(3, () => {}),
  async drip(x) {
    begin(x);
    const [first, piece] = streamOf(x);
    x.response.write(first);
    while (!x.response.destroyed) {
      x.response.write(piece);
      await x.wait(50);
    }
  },

  // === ends ===
  reset: cutAfter(3, (x) => x.socket.resetAndDestroy()),
  reset_at_once: (x) => x.socket.resetAndDestroy(),
  no_end: (x) => {
    begin(x);
    x.response.end(streamOf(x).slice(0, -1).join(""));
  },
  cut_event: (x) => {
    begin(x);
    const text = streamOf(x).slice(0, 3).join("");
    x.response.end(text.slice(0, -20));
  },
  empty: (x) => {
    begin(x);
    x.response.end();
  },
  async failed_inside(x) {
    begin(x);
    x.response.write(streamOf(x).slice(0, 2).join(""));
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
  error_200: (x) => x.response.writeHead(200, JSON_TYPE).end(x.say.error("quota of org-canary is used up")),
  garbled: changed((text) => text.replace('"index":0', '"index":')),
  giant_line: (x) => {
    begin(x);
    x.response.end(`data: ${"x".repeat(4_000_000)}`);
  },
  gzip_bomb: (x) => {
    const zipped = gzipSync(Buffer.alloc(50_000_000, 32));
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
  status_500: status(500),
  status_503: status(503),
  status_401: status(401, {}, (x) => `Incorrect API key provided: ${x.key}, organisation org-canary`),
  status_400: status(400, {}, (x) => `Bad seed for ${x.key} of org-canary`),
};
