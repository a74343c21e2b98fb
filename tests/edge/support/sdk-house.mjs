// A Worker before the provider of golden fixtures. There is an alias `<provider>-<feature>` for every feature, and
// `<provider>-<fault>--<caller>` for every fault: a breaker that one caller's test opened must not meet another's.

import OpenAI from "openai";

import { limit } from "./config.mjs";
import { DIALECTS, FAULT_NAMES, FEATURES, startSdkProvider } from "./sdk-provider.mjs";
import { startWorker } from "./worker.mjs";

const KINDS = { chat: "openai", responses: "openai_responses", messages: "anthropic" };

function configuration(provider, more) {
  const key = { messages: "CANARY_ANTHROPIC_KEY" };
  return {
    site: { title: "SDK house" },
    provider: DIALECTS.map((name) => ({
      name,
      kind: KINDS[name],
      base_url: name === "messages" ? provider.url : `${provider.url}/v1`,
      key: key[name] ?? "CANARY_OPENAI_KEY",
    })),
    // A provider's wait of a second is left to the caller.
    retry: { attempts_per_target: 2, attempts: 4, base_ms: 10, max_ms: 20, max_retry_after_ms: 100 },
    alias: DIALECTS.flatMap((name) =>
      [...FEATURES, ...FAULT_NAMES.flatMap((fault) => DIALECTS.map((caller) => `${fault}--${caller}`))].map((model) => ({
        name: `${name}-${model}`,
        public: true,
        cache: "never",
        max_output_tokens: 8192,
        allow_parameters: ["images"],
        target: [{ provider: name, model }],
      })),
    ),
    limit: ["read", "chat", "embeddings", "upload"].map((kind) => limit(kind, more.limits?.[kind])),
  };
}

/**
 * Starts both.
 *
 * @param {{limits?: object}} more Limits by class.
 * @returns {Promise<{url: string, provider: object, worker: object, stop(): Promise<void>}>}
 */
export async function startSdkHouse(more = {}) {
  const provider = await startSdkProvider();
  const worker = await startWorker(configuration(provider, more));
  const stop = async () => {
    await worker.stop();
    await provider.stop();
  };
  return { url: worker.url, provider, worker, stop };
}

/** OpenAI's SDK in a browser of its own: cookies are kept. */
export function sdkVisitor(house) {
  let cookie;
  const keeping = async (url, options = {}) => {
    const headers = new Headers(options.headers);
    if (cookie) headers.set("cookie", cookie);
    const response = await fetch(url, { ...options, headers });
    cookie = response.headers.getSetCookie().at(-1)?.split(";")[0] ?? cookie;
    return response;
  };
  return new OpenAI({ baseURL: `${house.worker.url}/v1`, apiKey: "visitor", maxRetries: 0, fetch: keeping });
}

/** Everything of a list of an SDK, page after page. */
export async function all(list) {
  const found = [];
  for await (const one of list) found.push(one);
  return found;
}

// === what all SDKs are asked ===

export const QUESTION = "What is the weather in Paris and in Rome?";

/** The tool that the fixtures call. */
export const WEATHER = {
  name: "get_weather",
  description: "The weather in a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
};

/** The form of the answer in the fixture `schema`. */
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "number" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};

/** What the fixture `schema` says. */
export const STRUCTURED = { city: "Paris", degrees: 18 };

/** What the tool answers. */
export const weatherIn = (city) => `It is sunny in ${city}.`;
