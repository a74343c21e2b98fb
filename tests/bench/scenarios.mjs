// What is asked, and how an answer is known to be whole.

import { strangers } from "./load.mjs";

const CHAT = "/v1/chat/completions";
const MESSAGES = "/v1/messages";
const EVENTS = 64;

const system = "You answer questions of this site's visitors. Be brief and say so when you do not know.";
const chatBody = (model, question, more = {}) => ({
  model,
  messages: [
    { role: "system", content: system },
    { role: "user", content: question },
  ],
  ...more,
});

const isChat = (bytes) => {
  const { choices, usage } = JSON.parse(bytes);
  return choices[0].message.content.length > 20 && usage.prompt_tokens > 0;
};
const isStream = (bytes) => {
  const text = bytes.toString();
  const words = text.match(/"content":" ?word\d+/g) ?? [];
  return words.length === EVENTS && text.trimEnd().endsWith("data: [DONE]");
};
const isMessagesStream = (bytes) => {
  const text = bytes.toString();
  const words = text.match(/"text":" ?word\d+/g) ?? [];
  return words.length === EVENTS && text.includes("event: message_stop");
};
const isEmbedding = (bytes) => JSON.parse(bytes).data[0].embedding.length > 100;

const QUESTION = "What are your opening hours on public holidays, and may I bring a dog? Please answer in two sentences.";
/** Different questions in the cache: all of them fit in an isolate's memory. */
const CACHED = 100;

let nth = 0;
const cached = () => chatBody("bench", `${QUESTION} (${nth++ % CACHED})`, { temperature: 0 });

/**
 * `systems`: who takes part; `base`: the scenario whose (a) a ratio is taken of, when (a) does not take part itself.
 * `cache`: what Gatehouse must say of it. `store`: how often each request must read and write the key-value store.
 * `nextAddress`: where its clients are, when not among the thousand.
 * `headers`: what the request carries beside the SDK's own.
 * `status`: of the answer, when it is not 200.
 * `prime`: requests sent before each measurement. `slow`: takes hundreds of ms. `target`: the largest CPU in terms of (a).
 */
export const SCENARIOS = [
  {
    name: "plain chat",
    path: CHAT,
    body: () => chatBody("bench", QUESTION),
    isWhole: isChat,
    cache: "bypass",
    systems: ["passthrough", "gatehouse", "portkey"],
    target: 2.5,
  },
  // Four ways of a stream: as the provider sends it; without the usage that the SDK's default body does not ask for;
  // in another dialect; and through the object that keeps it, so that it can be read again.
  {
    name: "stream, native",
    path: CHAT,
    body: () => chatBody("bench", QUESTION, { stream: true, stream_options: { include_usage: true } }),
    isWhole: isStream,
    cache: "bypass",
    systems: ["passthrough", "gatehouse", "portkey"],
    target: 1.6,
    slow: true,
  },
  {
    name: "stream, inspecting",
    path: CHAT,
    body: () => chatBody("bench", QUESTION, { stream: true }),
    isWhole: isStream,
    cache: "bypass",
    systems: ["passthrough", "copying", "gatehouse", "portkey"],
    slow: true,
  },
  {
    name: "stream, translated",
    path: MESSAGES,
    body: () => ({ model: "bench", max_tokens: 1024, system, messages: [{ role: "user", content: QUESTION }], stream: true }),
    isWhole: isMessagesStream,
    cache: "bypass",
    // (c) refuses: "messages is not supported by openai".
    systems: ["gatehouse"],
    base: "stream, inspecting",
    slow: true,
  },
  {
    name: "stream, resumable",
    path: CHAT,
    headers: { "x-gatehouse-resumable": "true" },
    body: () => chatBody("bench", QUESTION, { stream: true }),
    isWhole: (bytes) => isStream(bytes) && /^id: 0$/m.test(bytes),
    cache: "bypass",
    systems: ["gatehouse"],
    base: "stream, inspecting",
    slow: true,
  },
  {
    name: "cache hit, isolate",
    path: CHAT,
    body: cached,
    isWhole: isChat,
    cache: "hit",
    systems: ["gatehouse"],
    base: "plain chat",
    target: 1.2,
    prime: CACHED,
    store: { reads: 0, writes: 0 },
  },
  {
    name: "cache hit, KV",
    path: CHAT,
    body: cached,
    isWhole: isChat,
    cache: "hit",
    systems: ["gatehouse-kv"],
    base: "plain chat",
    target: 1.2,
    store: { reads: 1, writes: 0 },
  },
  {
    name: "built-in answer",
    path: CHAT,
    body: () => chatBody("builtin", "How do I set the key of a provider?"),
    isWhole: isChat,
    cache: "bypass",
    systems: ["gatehouse"],
    base: "plain chat",
  },
  {
    name: "cache miss",
    path: CHAT,
    body: () => chatBody("bench", `${QUESTION} [${nth++}]`, { temperature: 0 }),
    isWhole: isChat,
    cache: "miss",
    systems: ["gatehouse"],
    base: "plain chat",
    store: { reads: 1, writes: 1 },
  },
  {
    name: "plain chat, newcomers",
    path: CHAT,
    body: () => chatBody("bench", QUESTION),
    isWhole: isChat,
    cache: "bypass",
    systems: ["gatehouse"],
    base: "plain chat",
    nextAddress: strangers(),
  },
  {
    name: "embeddings",
    path: "/v1/embeddings",
    body: () => ({ model: "bench-embed", input: QUESTION, encoding_format: "base64" }),
    isWhole: isEmbedding,
    cache: "bypass",
    systems: ["passthrough", "gatehouse", "portkey"],
  },
];

/** Fills the cache with what the hits ask for. */
export const FILL = { name: "filling the cache", path: CHAT, body: cached, isWhole: isChat, cache: "miss", count: CACHED };

const PLENTY = { requests: 1_000_000, seconds: 60 };
const MASTER_KEY = "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtMDA";

/** Gatehouse's variables: the example configuration's features, with limits that are kept but never reached. */
export function gatehouseVars(upstream, isolateEntries) {
  const windows = { burst: PLENTY, sustained: { ...PLENTY, seconds: 3600 }, network_burst: PLENTY, network_sustained: { ...PLENTY, seconds: 3600 } };
  const config = {
    site: { title: "Benchmark" },
    provider: [
      { name: "openai", kind: "openai", base_url: `http://127.0.0.1:${upstream.provider}/v1`, key: "BENCH_KEY" },
      { name: "builtin", kind: "builtin" },
    ],
    alias: [
      { name: "bench", public: true, system, target: [{ provider: "openai", model: "bench-model" }] },
      { name: "builtin", public: true, target: [{ provider: "builtin" }] },
      { name: "bench-embed", public: true, serves: "embeddings", cache: "never", target: [{ provider: "openai", model: "bench-embedder" }] },
    ],
    price: [{ model: "bench-model", input: 0.25, output: 2 }],
    limit: ["read", "chat", "embeddings", "upload"].map((kind) => ({ class: kind, ...windows })),
    cache: { writes_per_hour: 1_000_000, isolate_entries: isolateEntries },
  };
  return { ENVIRONMENT: "test", MASTER_KEY, BENCH_KEY: "sk-bench", GATEHOUSE_CONFIG: JSON.stringify(config) };
}

/** What the other gateway needs on every request. */
export const portkeyHeaders = (upstream) => ({
  "x-portkey-provider": "openai",
  "x-portkey-custom-host": `http://127.0.0.1:${upstream.provider}/v1`,
  authorization: "Bearer sk-bench",
});
