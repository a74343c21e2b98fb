// A provider on 127.0.0.1 that speaks OpenAI's and Anthropic's protocols, records what it is asked, and misbehaves as the
// model's name says (`behaviours.mjs`). What stands behind a colon in the name is the test's own: faults that count do so
// for each whole name.

import { createServer } from "node:http";
import { setTimeout as wait } from "node:timers/promises";

import { BEHAVIOURS } from "./behaviours.mjs";
import { MEDIA, SPEAK, embeddings } from "./speak.mjs";
import { within } from "./wait.mjs";

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

function listen(server) {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}

function close(server) {
  return new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
}

/** The fields of a form that are plain text, as an object. */
function formFields(text) {
  const fields = text.matchAll(/name="([\w[\]]+)"\r\n(?:content-type: text[^\r]*\r\n)?\r\n([^\r]*)\r\n--/gi);
  return Object.fromEntries([...fields].map(([, name, value]) => [name, value]));
}

const bodyOf = (headers, bytes) =>
  headers["content-type"]?.startsWith("multipart/") ? formFields(bytes.toString("latin1")) : JSON.parse(bytes.toString("utf8") || "null");

/** What is known of one request. `sent()` are the bytes of its answer; `closed()` settles when its connection or answer is over. */
function record(request, response, bytes) {
  const parts = [];
  const { url: path, headers } = request;
  const seen = { path, headers, bytes, text: bytes.toString("utf8"), body: bodyOf(headers, bytes), at: Date.now() };
  seen.sent = () => Buffer.concat(parts);
  for (const name of ["write", "end"]) {
    const own = response[name].bind(response);
    response[name] = (part) => {
      if (part !== undefined) parts.push(Buffer.from(part));
      return own(part);
    };
  }
  seen.released = new Promise((resolve) => (seen.release = resolve));
  const over = new Promise((resolve) => {
    response.once("close", resolve);
    request.socket.once("close", resolve);
  });
  over.then(() => (seen.over = true));
  seen.closed = () => within(over, `the provider's connection for ${seen.body?.model} to close`);
  return seen;
}

/**
 * Starts the provider on a free port.
 *
 * @returns {Promise<{
 *   url: string, requests: object[], second: {url: string, requests: string[]},
 *   of(model: string): object[], next(model: string): Promise<object>, own: object, stop(): Promise<void>
 * }>} `second` is where redirects point; `next` settles with the next request for that model; `own` takes behaviours that
 *   one test alone needs.
 */
export async function startProvider() {
  const requests = [];
  const waiting = [];
  const own = {};
  const second = { requests: [] };
  const other = createServer((request, response) => {
    second.requests.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`);
    response.end("{}");
  });
  second.url = await listen(other);
  const of = (model) => requests.filter((seen) => seen.body?.model === model);

  async function answer(request, response) {
    const seen = record(request, response, await read(request));
    const number = requests.push(seen);
    const model = seen.body?.model;
    for (const waiter of waiting.filter((waiter) => waiter.model === model)) {
      waiting.splice(waiting.indexOf(waiter), 1);
      waiter.resolve(seen);
    }
    if (request.url === "/v1/embeddings") {
      return response.writeHead(200, { "content-type": "application/json" }).end(embeddings(seen.body));
    }
    const [fault] = model.split(":");
    if (request.url in MEDIA && fault === "media") {
      const [type, body] = MEDIA[request.url](seen.body);
      return response.writeHead(200, { "content-type": type }).end(body);
    }
    const say = Object.values(SPEAK).find(({ path }) => path === request.url) ?? SPEAK.openai;
    const pieces = [`Answer ${number}: `, "good ", "day, ", "世界", "。"];
    await (BEHAVIOURS[fault] ?? own[fault])({
      say,
      stream: seen.body.stream === true,
      body: seen.body,
      key: request.headers["x-api-key"] ?? request.headers.authorization?.split(" ")[1],
      text: pieces.join(""),
      pieces,
      count: of(model).length,
      response,
      socket: request.socket,
      released: seen.released,
      wait,
      second: second.url,
    });
  }

  // A connection that is closed while it is asked is no answer, and a test that allows one attempt would tell of it.
  const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
    answer(request, response).catch((error) => response.destroy(error));
  });
  server.on("connection", (socket) => {
    // A kept connection serves many requests, and each listens for its end.
    socket.setMaxListeners(0);
    socket.on("error", () => {});
  });
  const url = await listen(server);
  return {
    url,
    requests,
    second,
    own,
    of,
    next: (model) => within(new Promise((resolve) => waiting.push({ model, resolve })), `a request for ${model}`),
    stop: () => Promise.all([close(server), close(other)]),
  };
}
