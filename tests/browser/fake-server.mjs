// A stand-in for the Worker that misbehaves on request: it serves build/site with the headers of its `_headers` file and
// fakes the API. The word that a question starts with chooses what happens; see `ANSWERS`.

import { createHash, randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const SITE = join(dirname(fileURLToPath(import.meta.url)), "../../build/site");

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".md": "text/markdown",
};

const MARKDOWN = `Here is **what the site says** about \`keys\`:

> Provider keys are Worker secrets.

From [How Gatehouse works](/about#keys-never-reach-the-browser). Also [outside](https://example.org/a) and
[mail](mailto:a@example.org).

1. First
2. Second

\`\`\`js
const answer = await fetch("/v1/chat/completions", { method: "POST" }); // a long line that has to scroll sideways
\`\`\`

| name | size |
| --- | --- |
| a | 1 kB |
`;

const HOSTILE = `[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](//evil.example/x) [e](/\\\\evil.example)
<img src=x onerror="window.hacked=1"> <script>window.hacked=1</script> ![tracker](https://evil.example/p.png)
[f](https://ok.example/ "t")`;

/** What the words `held` and `slow` say: no two parts are alike, so that one that is missing or there twice is seen. */
export const PARTS = Array.from({ length: 20 }, (_, at) => `part${at} `);

/** Rules of a `_headers` file as `[pattern, [name, value][]]`. */
export function headerRules(text) {
  const rules = [];
  for (const line of text.split("\n")) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    if (/^\s/.test(line)) {
      const [name, ...value] = line.trim().split(":");
      rules.at(-1)[1].push([name, value.join(":").trim()]);
    } else {
      const parts = line.trim().split("*").map((part) => part.replace(/[.\\+?^${}()|[\]]/g, "\\$&"));
      rules.push([new RegExp(`^${parts.join(".*")}$`), []]);
    }
  }
  return rules;
}

function find(path) {
  const inside = normalize(join(SITE, decodeURIComponent(path)));
  if (!inside.startsWith(SITE) || /\/_[^/]*$/.test(inside)) return undefined;
  const candidates = path.endsWith("/") ? [join(inside, "index.html")] : [inside, `${inside}.html`];
  return candidates.find((file) => existsSync(file) && statSync(file).isFile());
}

function asset(path, response) {
  const file = find(path) ?? join(SITE, "404.html");
  const status = find(path) ? 200 : 404;
  const body = readFileSync(file);
  const headers = { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "cache-control": "public, max-age=0, must-revalidate" };
  headers.etag = `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`;
  for (const [pattern, pairs] of headerRules(readFileSync(join(SITE, "_headers"), "utf8"))) {
    if (pattern.test(path)) for (const [name, value] of pairs) headers[name.toLowerCase()] = value;
  }
  response.writeHead(status, headers).end(body);
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function alias(id, title, more) {
  const gatehouse = { title, dialects: ["openai"], endpoints: ["chat.completions"], builtin: false, default: false, hint: null, ...more };
  return { id, object: "model", created: 1_760_000_000, owned_by: "gatehouse", gatehouse };
}

const HINT = "To get a model, add the line OPENAI_API_KEY=… to the file .dev.vars and start again.";

const MODELS = [
  alias("site", "Site assistant", { builtin: true, default: true, hint: HINT }),
  alias("claude", "Anthropic alias", { dialects: ["anthropic"], endpoints: ["messages"] }),
  alias("embed", "Embeddings", { endpoints: ["embeddings"] }),
];

function refusal(code, own = {}) {
  const gatehouse = { code, title: code, fix: "", detail: null, request_id: "req_fake", docs: `/docs/errors/${code}`, retry_after_ms: null, ...own };
  return { error: { message: code, type: "invalid_request_error", param: null, code, gatehouse } };
}

function json(response, status, body, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", "x-request-id": "req_fake", ...headers });
  response.end(JSON.stringify(body));
}

/** How the two dialects say the same things. */
const SPEAK = {
  openai: {
    prefix: "chatcmpl-",
    whole: (content) => ({ id: "c", object: "chat.completion", created: 1, model: "site", choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }] }),
    text: (content, finish_reason = null) => `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "site", choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`,
    end: () => `data: ${JSON.stringify({ id: "c", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\ndata: [DONE]\n\n`,
    error: (code) => `data: ${JSON.stringify(refusal(code))}\n\n`,
  },
  anthropic: {
    prefix: "msg_",
    whole: (text) => ({ id: "m", type: "message", role: "assistant", model: "site", content: [{ type: "text", text }], stop_reason: "end_turn", stop_sequence: null, usage: { input_tokens: 1, output_tokens: 1 } }),
    text: (text) => `event: content_block_delta\ndata: ${JSON.stringify({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })}\n\n`,
    end: () => `event: message_stop\ndata: {"type":"message_stop"}\n\n`,
    error: (code) => `event: error\ndata: ${JSON.stringify({ type: "error", error: { type: "api_error", message: code, gatehouse: refusal(code).error.gatehouse }, request_id: "req_fake" })}\n\n`,
  },
};

/** What a question's first word makes happen. */
const ANSWERS = {
  async stall(say, response) {
    response.write(say.text("The beginning "));
    await new Promise((resolve) => response.on("close", resolve));
  },
  async cut(say, response) {
    response.write(say.text("Half an answer"));
    await wait(50);
    response.destroy();
  },
  async markless(say, response) {
    response.end(say.text("An answer without its end mark"));
  },
  async inband(say, response) {
    response.write(say.text("It began well, but "));
    response.end(say.error("upstream_stalled"));
  },
  async hostile(say, response) {
    response.write(say.text(HOSTILE));
    response.end(say.end());
  },
  /** Stops in the middle until the test lets it go on. */
  async held(say, response, state) {
    for (const part of PARTS.slice(0, 8)) response.write(say.text(part));
    await new Promise((resolve) => state.held.push(resolve));
    for (const part of PARTS.slice(8)) response.write(say.text(part));
    response.end(say.end());
  },
  async slow(say, response) {
    for (const part of PARTS) {
      response.write(say.text(part));
      await wait(10);
    }
    response.end(say.end());
  },
  async ceiling(say, response, state) {
    response.write(say.text("Cut at its ceiling ", "length"));
    await new Promise((resolve) => state.held.push(resolve));
    response.end(say.end());
  },
  async escaped(say, response) {
    for (const part of "rate\\_limited at http\\://127.0.0.1:11434/v1 \\*not bold\\*".match(/[^]{1,3}/g)) response.write(say.text(part));
    response.end(say.end());
  },
  async long(say, response) {
    for (let at = 0; at < 60; at += 1) {
      response.write(say.text(`Paragraph ${at} of a long answer that fills the log and makes it scroll.\n\n`));
      await wait(10);
    }
    response.end(say.end());
  },
  async usual(say, response) {
    for (const part of MARKDOWN.match(/[\s\S]{1,7}/g)) {
      response.write(say.text(part));
      await wait(2);
    }
    response.end(say.end());
  },
};

async function answer(state, request, response, say) {
  const body = JSON.parse(await read(request));
  state.asked.push(body);
  const question = body.messages.at(-1).content;
  const word = question.split(" ")[0];
  if (word === "limit" && !state.admitted) {
    state.admitted = true;
    return json(response, 429, refusal("rate_limited", { retry_after_ms: 2000 }), { "retry-after": "2", "retry-after-ms": "2000" });
  }
  if (word === "mute" && state.asked.length === 1) return response.on("close", () => state.closed.push(word));
  if (word === "page") return response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
  if (!body.stream) return json(response, 200, say.whole(MARKDOWN));
  response.on("close", () => state.closed.push(word));
  const make = ANSWERS[word] ?? ANSWERS.usual;
  if (state.resumable && request.headers["x-gatehouse-resumable"] === "true") {
    const kept = new Kept(`${say.prefix}${randomUUID().slice(0, 8)}`);
    state.kept.set(kept.id, kept);
    make(say, kept, state);
    return kept.serve(state, response, -1);
  }
  response.writeHead(200, STREAM);
  response.write(": a comment\n\n");
  return make(say, response, state);
}

const STREAM = { "content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_fake" };

/** An answer that outlives its connections. To whoever writes it, it looks like a response. */
class Kept extends EventEmitter {
  constructor(id) {
    super();
    this.setMaxListeners(0);
    this.id = id;
    this.events = [];
    this.isOver = false;
  }

  write(text) {
    for (const block of text.split("\n\n").filter(Boolean)) this.events.push(`id: ${this.events.length}\n${block}\n\n`);
    this.emit("more");
  }

  end(text = "") {
    if (this.isOver) return;
    this.write(text);
    this.isOver = true;
    this.emit("more");
    this.emit("close");
  }

  /** It breaks, or it is stopped. */
  destroy() {
    this.end();
  }

  /** Gives one connection what comes behind an event. `state.cutAfter` tears it in the middle of a later event. */
  async serve(state, response, after) {
    response.writeHead(200, { ...STREAM, "x-gatehouse-response-id": this.id });
    response.write(": a comment\n\n");
    state.connections.add(response);
    response.on("close", () => {
      state.connections.delete(response);
      this.emit("more");
    });
    const from = after + 1;
    for (let at = from; !response.destroyed; at += 1) {
      while (at >= this.events.length && !this.isOver && !response.destroyed) await new Promise((resolve) => this.once("more", resolve));
      if (at >= this.events.length) return response.end();
      if (at - from >= state.cutAfter) {
        response.write(this.events[at].slice(0, -3));
        await wait(5);
        return response.destroy();
      }
      response.write(this.events[at]);
    }
  }
}

/** `GET` and `POST …/cancel` of an answer that was kept. */
function stored(state, request, response, url) {
  const [id, action] = url.pathname.split("/").slice(url.pathname.startsWith("/v1/messages") ? 3 : 4);
  const kept = state.kept.get(id);
  if (action === "cancel") {
    if (request.method !== "POST") return json(response, 405, refusal("method_not_allowed"));
    state.cancelled.push(id);
    kept?.destroy();
    return json(response, kept ? 200 : 404, kept ? { id } : refusal("response_not_found"));
  }
  const after = url.searchParams.get("starting_after");
  state.attached.push({ id, after: after === null ? -1 : Number(after) });
  const other = state.instead.shift();
  if (other) return other(response);
  if (kept === undefined || url.searchParams.get("stream") !== "true") return json(response, 404, refusal("response_not_found"));
  return kept.serve(state, response, after === null || state.forgetful ? -1 : Number(after));
}

/** What an attempt to attach can get instead of the answer; put into `state.instead`. */
export const INSTEAD = {
  gone: (response) => json(response, 404, refusal("response_not_found")),
  lost: (response) => json(response, 502, refusal("stream_lost")),
  busy: (response) => json(response, 503, refusal("storage_unavailable")),
  limited: (response) => json(response, 429, refusal("rate_limited", { retry_after_ms: 90_000 }), { "retry-after": "90" }),
  signIn: (response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>Welcome to this hotel</h1>"),
  nothing: (response) => response.writeHead(200, STREAM).end(),
};

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

function fill(question) {
  const template = readFileSync(join(SITE, "gatehouse/ask.html"), "utf8");
  const values = { title: "Answer", question, answer: "<p>A plain answer.</p>", note: "<p class=\"note\">Built-in, no model.</p>", models: "<option value=\"site\">Site assistant</option>" };
  return template.replace(/<!--gatehouse:(\w+)-->/g, (_, name) => values[name]);
}

const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

async function files(state, request, response, path) {
  const id = path.split("/")[3];
  if (request.method === "GET" && id === undefined) {
    const url = new URL(request.url, "http://x");
    const limit = Number(url.searchParams.get("limit") ?? 20);
    const start = state.files.findIndex((file) => file.id === url.searchParams.get("after")) + 1;
    const data = state.files.slice(start, start + limit);
    return json(response, 200, { object: "list", data, has_more: start + limit < state.files.length, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null });
  }
  if (request.method === "POST") {
    // A large body is read slowly, so that a test can see its progress and cancel it.
    const large = Number(request.headers["content-length"]) > 1_000_000;
    const parts = [];
    for await (const part of request) {
      parts.push(part);
      if (large) await wait(20);
    }
    const text = Buffer.concat(parts).toString("utf8");
    const filename = /filename="([^"]*)"/.exec(text)?.[1] ?? "file";
    if (text.indexOf('name="purpose"') > text.indexOf('name="file"')) return json(response, 400, refusal("invalid_parameter"));
    if (filename.endsWith(".exe")) return json(response, 415, refusal("document_type_refused", { detail: "application/x-msdownload" }));
    const file = { id: `file-${randomUUID()}`, object: "file", bytes: 1234, created_at: 1_760_000_000, expires_at: 1_800_000_000, filename, purpose: "user_data", status: "processed" };
    state.files.unshift(file);
    return json(response, 200, file);
  }
  if (request.method === "DELETE") {
    state.files = state.files.filter((file) => file.id !== id);
    return json(response, 200, { id, object: "file", deleted: true });
  }
  return response.writeHead(200, { "content-type": "text/plain", "content-disposition": "attachment" }).end("content");
}

/**
 * Starts the server on a free port of 127.0.0.1.
 *
 * @returns {Promise<{url: string, state: object, drop(): void, release(): void, stop(): Promise<void>}>} `state` records what
 *   was asked; with `state.resumable` answers outlive their connections. `drop` cuts all that carry an answer, `release`
 *   lets held answers go on. A `state.forgetful` server gives all of an answer, whatever the page has already.
 */
export async function startFakeServer() {
  const state = { asked: [], closed: [], files: [], origins: [], admitted: false };
  Object.assign(state, { resumable: false, kept: new Map(), connections: new Set(), cutAfter: Infinity, forgetful: false, held: [], attached: [], cancelled: [], instead: [] });
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://x");
    const path = url.pathname;
    try {
      if (path === "/v1/models") json(response, 200, { object: "list", data: MODELS });
      else if (path === "/v1/chat/completions") await answer(state, request, response, SPEAK.openai);
      else if (path === "/v1/messages") await answer(state, request, response, SPEAK.anthropic);
      else if (/^\/v1\/(chat\/completions|messages)\/./.test(path)) await stored(state, request, response, url);
      else if (path === "/v1/shared") json(response, 200, { object: "list", data: [], last_id: null, has_more: false });
      else if (path.startsWith("/v1/files")) await files(state, request, response, path);
      else if (path === "/ask") {
        state.origins.push(request.headers.origin);
        const question = new URLSearchParams(await read(request)).get("question");
        const policy = headerRules(readFileSync(join(SITE, "_headers"), "utf8"))[0][1];
        response.writeHead(200, { "content-type": "text/html; charset=utf-8", ...Object.fromEntries(policy) }).end(fill(escape(question)));
      } else asset(path, response);
    } catch (error) {
      response.destroy(error);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    state,
    drop: () => state.connections.forEach((response) => response.destroy()),
    release: () => state.held.splice(0).forEach((resolve) => resolve()),
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startFakeServer();
  console.log(url);
}
