// `npm run bench -- --files`: what documents cost, against a Worker that puts and gets the same bytes in the same bucket.
// Both run in one workerd, over the local runtime's bucket, and take turns; ratios are taken within a round.

import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";

import { at, say } from "../../tools/lib.mjs";
import { bundle } from "./bundle.mjs";
import { filesFolder, startHouse } from "./house.mjs";
import { addresses } from "./load.mjs";
import { gatehouseVars } from "./scenarios.mjs";
import { cpuMs, memoryMiB } from "./servers.mjs";

const MIB = 1024 * 1024;
const SIZES = [1, 8, 64];
/** As the documents page cuts a long file. */
const PART = 8 * MIB;
/** What a client writes at once. */
const PIECE = 64 * 1024;
const BOUNDARY = "bench-boundary";

/** Starts both Workers over one bucket. */
function start(folder, out) {
  const vars = gatehouseVars({ provider: 9 }, 256);
  const config = JSON.parse(vars.GATEHOUSE_CONFIG);
  const room = 4096 * MIB;
  config.documents = { max_bytes: room / 4, max_visitor_bytes: room, max_network_bytes: room, max_site_bytes: room, max_count: 1000 };
  return startHouse({ folder, out, vars: { ...vars, GATEHOUSE_CONFIG: JSON.stringify(config) }, others: { bucket: at("tests", "bench", "bucket.mjs") } });
}

// === requests ===

const agent = new Agent({ keepAlive: true });
/** Many, because a visitor may send only so much from one. */
const nextAddress = addresses(1000, 1000);
let cookie;

/** Sends a request with a body made of buffers; gives status, body as JSON and how many bytes came. */
function send(url, what) {
  const { method = "GET", headers = {}, body = [], path = "" } = what;
  const length = body.reduce((sum, part) => sum + part.length, 0);
  return new Promise((resolve, reject) => {
    const given = { ...headers, ...(method === "GET" ? {} : { "content-length": length }), ...(cookie ? { cookie } : {}), "cf-connecting-ip": nextAddress() };
    const call = request(new URL(path, url), { method, headers: given, agent });
    // The server had closed an idle connection just when it was to be used again.
    call.on("error", (error) => (call.reusedSocket && error.code === "ECONNRESET" ? resolve(send(url, what)) : reject(error)));
    call.on("response", (answer) => {
      const parts = [];
      let bytes = 0;
      answer.on("error", reject);
      answer.on("data", (part) => {
        bytes += part.length;
        if (bytes < MIB) parts.push(part);
      });
      answer.on("end", () => {
        cookie ??= answer.headers["set-cookie"]?.[0].split(";")[0];
        const text = Buffer.concat(parts);
        if (answer.statusCode !== 200) reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
        else resolve({ bytes, json: () => JSON.parse(text) });
      });
    });
    const pieces = body.flatMap((part) => Array.from({ length: Math.ceil(part.length / PIECE) }, (_, i) => part.subarray(i * PIECE, (i + 1) * PIECE)));
    const more = () => {
      while (pieces.length > 0) if (!call.write(pieces.shift())) return call.once("drain", more);
      call.end();
    };
    more();
  });
}

const form = (fields, name, content) => ({
  headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` },
  body: [
    ...Object.entries(fields).map(([field, value]) => Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${field}"\r\n\r\n${value}\r\n`)),
    Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"; filename="bench.txt"\r\nContent-Type: text/plain\r\n\r\n`),
    content,
    Buffer.from(`\r\n--${BOUNDARY}--\r\n`),
  ],
});

const post = (url, path, value) => send(url, { method: "POST", path, headers: { "content-type": "application/json" }, body: [Buffer.from(JSON.stringify(value))] });

/** What is measured, by name: each does one thing with the content; `kept` are the documents that there are. */
const WAYS = {
  "put into the bucket": async ({ bucket }, content) => {
    await send(bucket, { method: "PUT", path: "/bench", body: [content] });
  },
  "get from the bucket": async ({ bucket }, content) => whole(await send(bucket, { path: "/bench" }), content),
  "POST /v1/files": async ({ gatehouse }, content, kept) => {
    const made = await send(gatehouse, { method: "POST", path: "/v1/files", ...form({ purpose: "user_data" }, "file", content) });
    kept.ids.push(made.json().id);
  },
  "GET /v1/files/{id}/content": async ({ gatehouse }, content, kept) => {
    whole(await send(gatehouse, { path: `/v1/files/${kept.ids.at(-1)}/content` }), content);
  },
  "/v1/uploads in parts": async ({ gatehouse }, content, kept) => {
    const begun = await post(gatehouse, "/v1/uploads", { filename: "bench.txt", purpose: "user_data", bytes: content.length, mime_type: "text/plain" });
    const { id } = begun.json();
    const part_ids = [];
    for (let from = 0; from < content.length; from += PART) {
      const part = await send(gatehouse, { method: "POST", path: `/v1/uploads/${id}/parts`, ...form({}, "data", content.subarray(from, from + PART)) });
      part_ids.push(part.json().id);
    }
    kept.ids.push((await post(gatehouse, `/v1/uploads/${id}/complete`, { part_ids })).json().file.id);
  },
};
/** What each is compared with. */
const BASES = { "POST /v1/files": "put into the bucket", "/v1/uploads in parts": "put into the bucket", "GET /v1/files/{id}/content": "get from the bucket" };

function whole({ bytes }, content) {
  if (bytes !== content.length) throw new Error(`${bytes} bytes instead of ${content.length}`);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Does it as often as it takes to see something, and watches the memory. */
async function measure(way, running, content, kept) {
  const times = Math.max(1, Math.floor((4 * MIB) / content.length));
  let peak = 0;
  const look = () => running.pid && (peak = Math.max(peak, memoryMiB(running.pid)));
  const watch = setInterval(look, 10);
  const cpu = running.pid && cpuMs(running.pid);
  const began = performance.now();
  for (let i = 0; i < times; i += 1) await way(running.urls, content, kept);
  const seconds = (performance.now() - began) / 1000;
  look();
  clearInterval(watch);
  const used = running.pid ? (cpuMs(running.pid) - cpu) / times : undefined;
  return { mibPerSecond: (times * content.length) / MIB / seconds, cpuMs: used, peak };
}

/** Runs the benchmark, with the bundle in the folder `out` where there is one; gives its text and its numbers. */
export async function filesBench({ rounds = 7, out } = {}) {
  const folder = mkdtempSync(join(filesFolder(), "gatehouse-files-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const running = await start(folder, out ?? (await bundle()));
  const idle = running.pid ? memoryMiB(running.pid) : undefined;
  const results = [];
  try {
    for (const size of SIZES) {
      const content = Buffer.alloc(size * MIB, "What is sealed opens again, chunk by chunk. ");
      const rows = Object.fromEntries(Object.keys(WAYS).map((name) => [name, []]));
      for (let round = -1; round < rounds; round += 1) {
        say(`${size} MiB, ${round < 0 ? "warming up" : `round ${round + 1} of ${rounds}`}`);
        // A new visitor each time, who is within the limits of one.
        cookie = undefined;
        const kept = { ids: [] };
        for (const [name, way] of Object.entries(WAYS)) {
          const measured = await measure(way, running, content, kept);
          if (round >= 0) rows[name].push(measured);
        }
        for (const id of kept.ids) await send(running.urls.gatehouse, { method: "DELETE", path: `/v1/files/${id}` });
        await send(running.urls.bucket, { method: "DELETE", path: "/bench" });
        await pause(100);
      }
      for (const [name, measured] of Object.entries(rows)) {
        const base = rows[BASES[name]];
        const ratios = base?.map((one, i) => measured[i].mibPerSecond / one.mibPerSecond);
        results.push({
          size,
          name,
          mibPerSecond: median(measured.map((one) => one.mibPerSecond)),
          ratio: ratios && median(ratios),
          spread: ratios && [Math.min(...ratios), Math.max(...ratios)],
          cpuMs: running.pid ? median(measured.map((one) => one.cpuMs)) : undefined,
          peakMiB: running.pid ? Math.max(...measured.map((one) => one.peak)) : undefined,
        });
      }
    }
  } finally {
    agent.destroy();
    await running.house.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
  return { idle, results, text: table(results, idle, rounds) };
}

function table(results, idle, rounds) {
  const fixed = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
  const lines = results.map(
    ({ size, name, mibPerSecond, ratio, spread, cpuMs: cpu, peakMiB }) =>
      `| ${size} MiB | ${name} | ${fixed(mibPerSecond, 0)} | ${fixed(ratio, 2)} | ${spread ? spread.map((one) => one.toFixed(2)).join("–") : ""} | ${fixed(cpu, 0)} | ${fixed(peakMiB, 0)} |`,
  );
  return `
| document | way | MiB/s | × bucket | spread | CPU in ms | memory of the runtime at most in MiB |
| --- | --- | --- | --- | --- | --- | --- |
${lines.join("\n")}

Medians of ${rounds} rounds; ratios within a round. One at a time; parts of 8 MiB. The runtime had ${fixed(idle, 0)} MiB before. It holds both Workers, their
objects and the bucket's local simulator, whose files lie in memory where the system has such a folder.
`;
}
