// The two wire forms of a streamed answer: OpenAI chat completions and Anthropic messages.

import { Failure, failure, incomplete, refused, unreachable } from "./problems.js";
import { events } from "./sse.js";
import { say } from "./texts.js";

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
};

/** Which wire form an alias speaks; OpenAI's where it speaks both. */
function dialectOf(alias) {
  const spoken = alias?.gatehouse?.dialects ?? ["openai"];
  return spoken.includes("openai") || !spoken.includes("anthropic") ? DIALECTS.openai : DIALECTS.anthropic;
}

/**
 * Asks an alias and gives the answer's text as it arrives.
 *
 * @param {object | undefined} alias   An entry of `GET /v1/models`.
 * @param {{role: string, content: string}[]} messages
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{text: string, isTruncated: boolean}>}
 * @throws {Failure} The reader is told; an abort is passed on as it is.
 */
export async function* ask(alias, messages, signal) {
  const dialect = dialectOf(alias);
  const response = await send(dialect, alias?.id, messages, signal);
  if (!response.ok) throw await refused(response);
  const requestId = response.headers.get("x-request-id") ?? undefined;
  if (!response.headers.get("content-type")?.startsWith("text/event-stream") || response.body === null) {
    throw new Failure({ title: say("strangeTitle"), fix: say("strangeFix"), requestId });
  }
  try {
    for await (const event of events(response.body)) {
      if (dialect.isEnd(event)) return;
      const part = parse(event.data);
      if (part === undefined) continue;
      if (dialect.isError(event, part)) throw await failure(part, response.headers);
      yield dialect.read(part);
    }
  } catch (error) {
    if (error instanceof Failure || signal.aborted) throw error;
    // The connection broke while the answer was arriving.
  }
  throw incomplete(requestId);
}

async function send(dialect, model, messages, signal) {
  try {
    return await fetch(dialect.path, {
      method: "POST",
      headers: { "content-type": "application/json", ...dialect.headers },
      body: JSON.stringify(dialect.body(model, messages)),
      signal,
    });
  } catch (error) {
    throw signal.aborted ? error : unreachable();
  }
}

function parse(data) {
  try {
    return JSON.parse(data);
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
