// The wire forms of a streamed answer: OpenAI chat completions, Anthropic messages, and OpenAI responses for what belongs to
// a conversation.

import { Connection, guard } from "./connection.js";
import { Failure, failure, gone, incomplete, lost, refused, strange, unreachable } from "./problems.js";
import { session } from "./session.js";
import { events } from "./sse.js";

/** Anthropic's `max_tokens` is required; the alias's own ceiling applies below it. */
const MAX_TOKENS = 4096;

const DIALECTS = {
  openai: {
    path: "/v1/chat/completions",
    headers: {},
    body: (model, messages) => ({ model, messages, stream: true }),
    isEnd: (event) => event.data === "[DONE]",
    read(part) {
      const choice = part.choices?.[0];
      return { text: choice?.delta?.content ?? "", isTruncated: choice?.finish_reason === "length" };
    },
    isError: (event, part) => part.error !== undefined && part.error !== null,
  },
  anthropic: {
    path: "/v1/messages",
    headers: { "anthropic-version": "2023-06-01" },
    body: (model, messages) => ({ model, messages, stream: true, max_tokens: MAX_TOKENS }),
    isEnd: (event) => event.type === "message_stop",
    read(part) {
      const isText = part.type === "content_block_delta" && part.delta?.type === "text_delta";
      return { text: isText ? part.delta.text : "", isTruncated: part.delta?.stop_reason === "max_tokens" };
    },
    isError: (event) => event.type === "error",
  },
  responses: {
    path: "/v1/responses",
    headers: {},
    body: (model, input, conversation, store) => ({
      model,
      input,
      conversation,
      stream: true,
      ...(store ? { tools: [{ type: "file_search", vector_store_ids: [store] }] } : {}),
    }),
    isEnd: (event) => event.type === "response.completed" || event.type === "response.incomplete",
    read(part) {
      return { text: part.type === "response.output_text.delta" ? part.delta : "", isTruncated: part.type === "response.incomplete" };
    },
    isError: (event) => event.type === "error" || event.type === "response.failed",
  },
};

/** Statuses after which the same read can succeed. An answer that the server lost stays lost. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];
const isPassing = ({ problem }) => PASSING.includes(problem.status) && problem.code !== "stream_lost";

/** Which wire form an alias speaks; OpenAI's where it speaks both. */
function dialectOf(alias) {
  const spoken = alias?.gatehouse?.dialects ?? ["openai"];
  return spoken.includes("openai") || !spoken.includes("anthropic") ? "openai" : "anthropic";
}

/**
 * @typedef {import("./memory.js").Place} Place
 * @typedef {import("./memory.js").Source} Source
 * @typedef {{text: string, isTruncated: boolean, place?: Place, sources?: Source[]}} Part  `place` stands behind this part; an
 *   answer that cannot be attached to again has none. `sources`: the passages that the answer may cite.
 */

/**
 * Asks an alias and gives the answer's text as it arrives, over as many connections as that takes.
 *
 * @param {object | undefined} alias   An entry of `GET /v1/models`.
 * @param {{role: string, content: string}[] | string} messages A text alone is what is asked in a conversation.
 * @param {AbortSignal} signal
 * @param {(word: import("./connection.js").Word) => void} tell
 * @param {string} [conversation] The one that it belongs to, which knows what was said before.
 * @param {string} [store]        A vector store that is searched for the question.
 * @returns {AsyncGenerator<Part>}
 * @throws {Failure} The reader is told; an abort is passed on as it is.
 */
export async function* ask(alias, messages, signal, tell, conversation, store) {
  const dialect = conversation ? "responses" : dialectOf(alias);
  const response = await send(DIALECTS[dialect], DIALECTS[dialect].body(alias?.id, messages, conversation, store), signal, tell);
  if (!response.ok) throw await refused(response);
  if (!isStream(response)) throw strange(requestId(response));
  const id = response.headers.get("x-gatehouse-response-id");
  const sources = parse(response.headers.get("x-gatehouse-sources") ?? "null");
  if (sources) yield { text: "", isTruncated: false, sources };
  if (id === null) {
    yield* once(DIALECTS[dialect], response, signal);
  } else {
    const place = { dialect, id, after: -1 };
    yield { text: "", isTruncated: false, place };
    yield* follow(place, response, signal, tell);
  }
}

/**
 * Goes on with an answer that an earlier page began.
 *
 * @param {Place} place
 * @param {AbortSignal} signal
 * @param {(word: import("./connection.js").Word) => void} tell
 * @returns {AsyncGenerator<Part>}
 * @throws {Failure}
 */
export function goOn(place, signal, tell) {
  return follow(place, undefined, signal, tell);
}

/**
 * Tells the server that an answer is wanted no more: to leave is not to stop. Where this does not arrive, the server stops
 * an answer that nobody reads by itself after a while.
 *
 * @param {Place} place
 */
export function cancel(place) {
  const dialect = DIALECTS[place.dialect];
  fetch(`${addressOf(place)}/cancel`, { method: "POST", headers: dialect?.headers, keepalive: true }).catch(() => {});
}

/** An answer that lives as long as its connection. */
async function* once(dialect, response, signal) {
  try {
    for await (const event of events(response.body)) {
      const part = await read(dialect, event, response.headers);
      if (part) yield part;
      if (dialect.isEnd(event)) return;
    }
  } catch (error) {
    if (error instanceof Failure || signal.aborted) throw error;
    // The connection broke while the answer was arriving.
  }
  throw incomplete(requestId(response));
}

/** An answer whose events are numbered: what a lost connection did not bring is read from another one. */
async function* follow(from, response, signal, tell) {
  if (!Object.hasOwn(DIALECTS, from.dialect)) throw gone();
  const dialect = DIALECTS[from.dialect];
  let place = from;
  const request = response && requestId(response);
  let empty = 0;
  const connection = new Connection(signal, tell);
  for (;;) {
    const guarded = guard(signal);
    const before = place.after;
    let problem;
    try {
      const body = response?.body ?? (await attach(dialect, place, guarded.signal));
      for await (const event of events(body, guarded)) {
        const number = Number(event.id ?? Number.NaN);
        if (number <= place.after) continue;
        const part = await read(dialect, event);
        const isEnd = dialect.isEnd(event);
        if (isEnd && !part?.isTruncated) return;
        connection.progress();
        if (Number.isInteger(number)) place = { ...place, after: number };
        yield { text: "", isTruncated: false, ...part, place };
        if (isEnd) return;
      }
      // An orderly end with nothing new, twice: whoever wrote the answer stopped there.
      empty = place.after > before || guarded.signal.aborted ? 0 : empty + 1;
      if (empty >= 2) throw incomplete(request);
    } catch (error) {
      if (signal.aborted) throw error;
      problem = error instanceof Failure ? error : undefined;
      if (problem && !isPassing(problem)) throw problem;
    } finally {
      guarded.end();
    }
    response = undefined;
    if (!(await connection.wait(problem?.problem.wait))) throw lost(problem, request);
  }
}

/** The part of an answer that an event carries; nothing for one that cannot be read. */
async function read(dialect, event, headers) {
  const part = parse(event.data);
  if (part === undefined) return undefined;
  if (dialect.isError(event, part)) throw await failure(part, headers);
  return dialect.read(part);
}

async function attach(dialect, place, signal) {
  const after = place.after < 0 ? "" : `&starting_after=${place.after}`;
  const response = await fetch(`${addressOf(place)}?stream=true${after}`, { headers: dialect.headers, cache: "no-store", signal });
  if (response.status === 404) throw gone(requestId(response));
  if (!response.ok) throw await refused(response);
  // A network's sign-in page is no answer; it may be gone at the next attempt.
  if (!isStream(response)) throw new TypeError("not a stream of events");
  return response.body;
}

const addressOf = (place) => `${DIALECTS[place.dialect]?.path}/${encodeURIComponent(place.id)}`;
const requestId = (response) => response.headers.get("x-request-id") ?? undefined;
const isStream = (response) => response.body !== null && response.headers.get("content-type")?.startsWith("text/event-stream") === true;

async function send(dialect, body, signal, tell) {
  const options = {
    method: "POST",
    headers: { "content-type": "application/json", "x-gatehouse-resumable": "true", ...dialect.headers },
    body: JSON.stringify(body),
    signal,
  };
  try {
    return await session.fetch(dialect.path, options, (check) => tell(check ? { state: "checking", check } : { state: "working" }));
  } catch (error) {
    throw signal.aborted ? error : unreachable();
  }
}

function parse(data) {
  try {
    const part = JSON.parse(data);
    return typeof part === "object" && part !== null ? part : undefined;
  } catch {
    return undefined;
  }
}

/** Aliases that can hold a conversation, in the order the site lists them. */
export async function aliases() {
  const response = await fetch("/v1/models", { headers: { accept: "application/json" } }).catch(() => {
    throw unreachable();
  });
  if (!response.ok) throw await refused(response);
  const list = await response.json().catch(() => ({}));
  const talks = ({ gatehouse: own }) => {
    const endpoints = own?.endpoints ?? ["chat.completions"];
    return endpoints.includes("chat.completions") || endpoints.includes("messages");
  };
  return (Array.isArray(list.data) ? list.data : []).filter(talks);
}
