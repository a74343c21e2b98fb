// `npm run bench -- --search`: what a question to a vector store takes in workerd, by words alone and with embeddings, at
// 1,000, 10,000 and 100,000 passages. Passages are made of words as often as Zipf has it; a fake provider gives those of a
// topic neighbouring embeddings.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

import { say } from "../../tools/lib.mjs";
import { bundle } from "./bundle.mjs";
import { filesFolder, startHouse } from "./house.mjs";
import { addresses } from "./load.mjs";
import { gatehouseVars } from "./scenarios.mjs";
import { cpuMs, memoryMiB } from "./servers.mjs";

const SIZES = [1_000, 10_000, 100_000];
/** Passages of a file: 200 files are the most of a store. */
const OF_FILE = 500;
const WORDS = 60;
const VOCABULARY = 50_000;
const DIMENSIONS = 256;
/** Passages of a topic come one after the other, as those of a document do. */
const OF_TOPIC = 50;
/** How far a passage lies from the middle of its topic, which is 1 from the origin. */
const SPREAD = 0.8;
const QUESTIONS = 4;

// === made up ===

/** Numbers from 0 to 1 that are the same each time (mulberry32). */
function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const word = (random) => `word${Math.floor(VOCABULARY ** random())}`;
const words = (random, count) => Array.from({ length: count }, () => word(random)).join(" ");

/** A file: a heading for each passage, so that none has two. */
function text(file) {
  const random = numbers(1_000_000 + file);
  const passages = Array.from({ length: OF_FILE }, (_, i) => {
    const at = file * OF_FILE + i;
    return `# Topic ${Math.floor(at / OF_TOPIC)} passage ${at}\n\n${words(random, WORDS)}.\n`;
  });
  return passages.join("\n");
}

function direction(seed, length) {
  const random = numbers(seed);
  // Sums of four are near enough to a normal distribution.
  const made = Array.from({ length: DIMENSIONS }, () => random() + random() + random() + random() - 2);
  const norm = Math.hypot(...made);
  return made.map((x) => (x / norm) * length);
}

function embedding(input) {
  const [, topic, passage] = /topic (\d+)(?: passage (\d+))?/i.exec(input) ?? [0, 0, 0];
  const noise = direction(7_000_000 + Number(passage ?? 0), SPREAD);
  return direction(3_000_000 + Number(topic), 1).map((x, i) => Math.round((x + noise[i]) * 1e4) / 1e4);
}

function startProvider() {
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const { input, model } = JSON.parse(Buffer.concat(parts));
    const data = [input].flat().map((one, index) => ({ object: "embedding", index, embedding: embedding(one) }));
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ object: "list", model, data, usage: { prompt_tokens: 8, total_tokens: 8 } }));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

// === asked ===

const nextAddress = addresses(1000, 1000);
let cookie;

async function call(url, path, what = {}) {
  const { body, method = "POST", headers = {} } = what;
  const answer = await fetch(new URL(path, url), { method, body, headers: { ...headers, ...(cookie ? { cookie } : {}), "cf-connecting-ip": nextAddress() } });
  const said = await answer.text();
  if (answer.status === 429) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(answer.headers.get("retry-after"))));
    return call(url, path, what);
  }
  if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${said}`);
  cookie ??= answer.headers.getSetCookie()[0]?.split(";")[0];
  return JSON.parse(said);
}

const json = (url, path, value) => call(url, path, { body: JSON.stringify(value), headers: { "content-type": "application/json" } });

async function add(url, store, file) {
  const form = new FormData();
  form.set("purpose", "user_data");
  form.set("file", new Blob([text(file)], { type: "text/markdown" }), `part-${file}.md`);
  const { id } = await call(url, "/v1/files", { body: form });
  const added = await json(url, `/v1/vector_stores/${store}/files`, { file_id: id, chunking_strategy: { type: "static", static: { max_chunk_size_tokens: 800, chunk_overlap_tokens: 0 } } });
  if (added.status !== "completed") throw new Error(JSON.stringify(added));
}

/** What is asked: the query, and what counts. */
const asking = (size) => {
  const random = numbers(5);
  const topic = () => Math.floor((random() * size) / OF_TOPIC);
  const hybrid = { hybrid_search: { text_weight: 1, embedding_weight: 1 } };
  const plain = { hybrid_search: { text_weight: 1, embedding_weight: 0 } };
  const rare = () => Array.from({ length: QUESTIONS }, () => `word${1_000 + Math.floor(random() * 20_000)}`).join(" ");
  return {
    "rare words": () => ({ query: rare(), ranking_options: plain }),
    "frequent words": () => ({ query: "word1 word2 word3 word4", ranking_options: plain }),
    "rare words and embeddings": () => ({ query: `Topic ${topic()} ${rare()}`, ranking_options: hybrid }),
  };
};

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function timed(times, ask) {
  const took = [];
  for (let i = -2; i < times; i += 1) {
    const began = performance.now();
    await ask();
    if (i >= 0) took.push(performance.now() - began);
  }
  return median(took);
}

/** Runs the benchmark, with the bundle in the folder `out` where there is one; gives its text and its numbers. */
export async function searchBench({ times = 15, out } = {}) {
  const folder = mkdtempSync(join(filesFolder(), "gatehouse-search-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const provider = await startProvider();
  const vars = gatehouseVars({ provider: provider.address().port }, 256);
  const config = JSON.parse(vars.GATEHOUSE_CONFIG);
  config.documents = { max_count: 10_000, max_visitor_bytes: 2 ** 30, max_network_bytes: 2 ** 30 };
  config.retrieval = { embeddings: "bench-embed", dimensions: DIMENSIONS, max_passages: 100_000 };
  const { house, urls, pid } = await startHouse({ folder, out: out ?? (await bundle()), vars: { ...vars, GATEHOUSE_CONFIG: JSON.stringify(config) } });
  const url = urls.gatehouse;
  const results = [];
  try {
    const { id: store } = await json(url, "/v1/vector_stores", { name: "Bench" });
    let files = 0;
    for (const size of SIZES) {
      const began = performance.now();
      for (; files * OF_FILE < size; files += 1) {
        if (files % 20 === 0) say(`${size} passages: file ${files + 1} of ${size / OF_FILE}`);
        await add(url, store, files);
      }
      const adding = (performance.now() - began) / 1000;
      // Segments are joined meanwhile.
      await new Promise((resolve) => setTimeout(resolve, 5000));
      const base = await timed(times, () => call(url, `/v1/vector_stores/${store}`, { method: "GET" }));
      for (const [name, question] of Object.entries(asking(size))) {
        const cpu = pid && cpuMs(pid);
        let found = 0;
        const ms = await timed(times, async () => {
          found += (await json(url, `/v1/vector_stores/${store}/search`, question())).data.length;
        });
        if (found === 0) throw new Error(`${name}: nothing was found`);
        say(`${size} passages, ${name}: ${ms.toFixed(1)} ms`);
        results.push({ size, name, ms, ratio: ms / base, cpuMs: pid && (cpuMs(pid) - cpu) / (times + 2), memoryMiB: pid && memoryMiB(pid), adding });
      }
    }
  } finally {
    provider.closeAllConnections();
    provider.close();
    await house.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
  return { results, text: table(results, times) };
}

function table(results, times) {
  const fixed = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
  const lines = results.map(({ size, name, ms, ratio, cpuMs: cpu, memoryMiB: memory }) => `| ${size} | ${name} | ${fixed(ms, 1)} | ${fixed(ratio, 1)} | ${fixed(cpu, 1)} | ${fixed(memory, 0)} |`);
  return `
| passages | question | ms | × GET of the store | CPU in ms | memory of the runtime in MiB |
| --- | --- | --- | --- | --- | --- |
${lines.join("\n")}

Medians of ${times}, one at a time, through the whole Worker: the embedding of the question, the search in its object, and a look at each document
that was found. ${DIMENSIONS} numbers an embedding. The runtime holds the objects and the bucket's local simulator too.
`;
}
