// A plain HTTP client: every header as given, nothing added, nothing hidden.

import { Agent, request } from "node:http";
import { connect } from "node:net";

import { SECRETS } from "./config.mjs";
import { within } from "./wait.mjs";

const agent = new Agent({ keepAlive: true, maxSockets: 128 });

/** Answers in which a secret was seen. */
export const leaks = [];

/** Which secrets stand in a text? */
export const secretsIn = (text) => Object.keys(SECRETS).filter((name) => text.includes(SECRETS[name]));

/**
 * Sends a request and resolves when the headers of the answer are there; its body is still on its way.
 *
 * @param {string} base Where the server is.
 * @param {{method?: string, path?: string, headers?: object, body?: string | Buffer, json?: unknown, chunked?: boolean,
 *   address?: string, country?: string}} options `address` and `country` are what the network says of the client; `json`
 *   sets body and type.
 */
export function open(base, options = {}) {
  const { method, path = "/", json, chunked = false, address = "192.0.2.1", country } = options;
  const headers = { "cf-connecting-ip": address, ...options.headers };
  // How the local network tells what it knows; at Cloudflare this stands in `request.cf`.
  if (country !== undefined) headers["mf-cf-blob"] = JSON.stringify({ country, clientAcceptEncoding: "identity" });
  let body = options.body;
  if (json !== undefined) {
    body = JSON.stringify(json);
    headers["content-type"] ??= "application/json";
  }
  if (chunked) headers["transfer-encoding"] = "chunked";
  else if (body !== undefined) headers["content-length"] ??= Buffer.byteLength(body);
  for (const [name, value] of Object.entries(headers)) if (value === undefined) delete headers[name];
  return new Promise((resolve, reject) => {
    const call = request(new URL(base).origin, { method: method ?? (body === undefined ? "GET" : "POST"), path, headers, agent });
    call.on("response", (response) => {
      response.on("error", () => {});
      resolve({ status: response.statusCode, headers: response.headers, raw: response.rawHeaders, response, abort: () => call.destroy() });
    });
    call.on("error", (error) => {
      // The server closed a kept connection just when it was taken again.
      if (call.reusedSocket && error.code === "ECONNRESET") resolve(open(base, options));
      else reject(error);
    });
    call.end(body);
  });
}

/** Sends a request and reads the whole answer. `broken` tells that the body did not arrive whole. */
export function call(base, options) {
  return within(whole(base, options), `the whole answer of ${options.path}`, 30_000);
}

async function whole(base, options) {
  const answer = await open(base, options);
  const parts = [];
  let broken = false;
  try {
    for await (const part of answer.response) parts.push(part);
  } catch {
    broken = true;
  }
  const bytes = Buffer.concat(parts);
  const text = bytes.toString("utf8");
  if (secretsIn(`${JSON.stringify(answer.headers)} ${text}`).length > 0) leaks.push(`${answer.status} ${text}`);
  return { ...answer, bytes, text, broken, json: () => JSON.parse(text) };
}

/** Sends bytes as they are over a socket of their own and resolves with all that comes back. */
export function raw(base, bytes, { halfClose = false, ms = 3000 } = {}) {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => (halfClose ? socket.end(bytes) : socket.write(bytes)));
    const parts = [];
    const over = () => {
      socket.destroy();
      resolve(Buffer.concat(parts).toString("latin1"));
    };
    socket.setTimeout(ms, over);
    socket.on("data", (part) => parts.push(part));
    socket.on("close", over);
    socket.on("error", reject);
  });
}

/** The events of a stream, read as browsers do (WHATWG HTML §9.2.6): `{ event, data }`. */
export function events(text) {
  const blocks = text.replace(/^\uFEFF/, "").replace(/\r\n|\r/g, "\n").split("\n\n");
  return blocks.flatMap((block) => {
    const field = (name) =>
      block
        .split("\n")
        .filter((line) => line.startsWith(`${name}:`))
        .map((line) => line.slice(name.length + 1).replace(/^ /, ""));
    const data = field("data");
    return data.length === 0 ? [] : [{ event: field("event").at(-1) ?? "message", data: data.join("\n") }];
  });
}

/** A chat request's body. */
export const question = (model, more = {}) => ({ model, messages: [{ role: "user", content: "Good day?" }], ...more });

/** A messages request's body. */
export const prompt = (model, more = {}) => ({ max_tokens: 100, ...question(model), ...more });
