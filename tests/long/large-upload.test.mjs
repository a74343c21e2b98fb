// A document far larger than an isolate's memory allows to hold twice goes in and comes out whole.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { after, before, test } from "node:test";

import { config } from "../edge/support/config.mjs";
import { freePort, inspect } from "../edge/support/heap.mjs";
import { until } from "../edge/support/wait.mjs";
import { startWorker } from "../edge/support/worker.mjs";

/** 300 MiB: more than twice the 128 MB of an isolate. */
const SIZE = 300 * 1024 * 1024;
const PIECE = 1024 * 1024;
/** 1 GiB in parts of 64 MiB, the longest there are. */
const LONG = 1024 * PIECE;
const PART = 64 * PIECE;
/** What the Worker's memory may grow by while 1 GiB passes through: three parts at a time hold a segment of 8 MiB each. */
const FLAT = 64 * PIECE;

let site;
let heap;

before(async () => {
  const room = { max_bytes: LONG, max_visitor_bytes: LONG * 2, max_network_bytes: LONG * 3, max_site_bytes: LONG * 3 };
  const port = await freePort();
  site = await startWorker(config({ url: "http://127.0.0.1:9" }, { documents: room }), {}, port);
  heap = await inspect(port);
});

after(() => {
  heap?.close();
  return site?.stop();
});

/** Text that differs in every piece. */
const piece = (index) => Buffer.alloc(PIECE, `piece ${index} of a long text\n`);

function upload(url) {
  const boundary = "long-boundary";
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="long.txt"\r\nContent-Type: text/plain\r\n\r\n`;
  const tail = `\r\n--${boundary}--\r\n`;
  const hash = createHash("sha256");
  return new Promise((resolve, reject) => {
    const out = request(`${url}/v1/files`, {
      method: "POST",
      headers: { "content-type": `multipart/form-data; boundary=${boundary}`, "content-length": head.length + SIZE + tail.length },
    });
    out.on("error", reject);
    out.on("response", async (answer) => {
      let body = "";
      for await (const part of answer) body += part;
      resolve({ status: answer.statusCode, cookie: answer.headers["set-cookie"]?.[0].split(";")[0], body: JSON.parse(body), hash: hash.digest("hex") });
    });
    out.write(head);
    let index = 0;
    const more = () => {
      while (index < SIZE / PIECE) {
        const bytes = piece(index++);
        hash.update(bytes);
        if (!out.write(bytes)) return out.once("drain", more);
      }
      out.end(tail);
    };
    more();
  });
}

test("300 MiB are stored in segments and come back whole, also by range", { timeout: 600_000 }, async () => {
  const stored = await upload(site.url);
  assert.equal(stored.status, 200, JSON.stringify(stored.body));
  assert.equal(stored.body.bytes, SIZE);
  const headers = { cookie: stored.cookie };
  const whole = await fetch(`${site.url}/v1/files/${stored.body.id}/content`, { headers });
  const hash = createHash("sha256");
  for await (const part of whole.body) hash.update(part);
  assert.equal(hash.digest("hex"), stored.hash);
  const at = 8 * 1024 * 1024 - 5; // across the border of the first two segments
  const range = await fetch(`${site.url}/v1/files/${stored.body.id}/content`, { headers: { ...headers, range: `bytes=${at}-${at + 9}` } });
  assert.equal(range.status, 206);
  assert.equal(Buffer.from(await range.arrayBuffer()).toString(), Buffer.concat([piece(7), piece(8)]).subarray(PIECE - 5, PIECE + 5).toString());
});

/** Sends a part as a form, piece by piece. */
function sendPart(url, cookie, id, number) {
  const boundary = "long-boundary";
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="part_number"\r\n\r\n${number}\r\n--${boundary}\r\nContent-Disposition: form-data; name="data"; filename="part"\r\n\r\n`;
  const tail = `\r\n--${boundary}--\r\n`;
  return new Promise((resolve, reject) => {
    const out = request(`${url}/v1/uploads/${id}/parts`, {
      method: "POST",
      headers: { cookie, "content-type": `multipart/form-data; boundary=${boundary}`, "content-length": head.length + PART + tail.length },
    });
    out.on("error", reject);
    out.on("response", async (answer) => {
      let body = "";
      for await (const part of answer) body += part;
      if (answer.statusCode === 200) resolve(JSON.parse(body));
      else reject(new Error(`${answer.statusCode} ${body}`));
    });
    out.write(head);
    const first = ((number - 1) * PART) / PIECE;
    let index = 0;
    const more = () => {
      while (index < PART / PIECE) if (!out.write(piece(first + index++))) return out.once("drain", more);
      out.end(tail);
    };
    more();
  });
}

test("1 GiB in parts, three at a time and not in their order, takes a fraction of that in memory", { timeout: 1_200_000 }, async () => {
  const json = (body, cookie) => ({ method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", cookie } });
  const begun = await fetch(`${site.url}/v1/uploads`, json({ filename: "long.txt", purpose: "user_data", bytes: LONG, mime_type: "text/plain" }, ""));
  assert.equal(begun.status, 200);
  const cookie = begun.headers.getSetCookie()[0].split(";")[0];
  const { id } = await begun.json();
  const numbers = Array.from({ length: LONG / PART }, (_, i) => i + 1).reverse();
  const before = { process: site.memory(), wasm: await heap.wasm() };
  const peak = { ...before };
  const watch = setInterval(() => (peak.process = Math.max(peak.process, site.memory())), 100).unref();
  const parts = new Map();
  const work = async () => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      parts.set(number, (await sendPart(site.url, cookie, id, number)).id);
      // A memory of WebAssembly does not shrink: what it is now it was at most.
      peak.wasm = await heap.wasm();
      grown.push(peak.wasm);
    }
  };
  const grown = [];
  const began = performance.now();
  await Promise.all([work(), work(), work()]);
  clearInterval(watch);
  const seconds = (performance.now() - began) / 1000;
  const mib = (bytes) => `${(bytes / PIECE).toFixed(1)} MiB`;
  console.log(`1 GiB in ${seconds.toFixed(0)} s; the runtime had ${mib(before.process)} before and ${mib(peak.process)} at most`);
  console.log(`the Worker's own memory: ${mib(before.wasm)}, and after each part ${grown.map(mib).join(", ")}`);
  // Three segments of 8 MiB, each in a few copies on its way, the store of the local runtime and its buffers: 367 MiB when
  // this was written.
  if (before.process !== undefined) assert.ok(peak.process - before.process < LONG / 2, `${mib(peak.process - before.process)} more`);
  // Flat: what the first parts took is enough for all.
  assert.ok(peak.wasm - before.wasm < FLAT, `${mib(peak.wasm - before.wasm)} more`);

  const part_ids = [...parts.keys()].sort((a, b) => a - b).map((number) => parts.get(number));
  const done = await fetch(`${site.url}/v1/uploads/${id}/complete`, json({ part_ids }, cookie));
  const { file } = await done.json();
  assert.equal(file.bytes, LONG);
  const whole = await fetch(`${site.url}/v1/files/${file.id}/content`, { headers: { cookie } });
  const [got, sent] = [createHash("sha256"), createHash("sha256")];
  for await (const part of whole.body) got.update(part);
  for (let index = 0; index < LONG / PIECE; index += 1) sent.update(piece(index));
  assert.equal(got.digest("hex"), sent.digest("hex"));
  const scanned = await until(async () => {
    const { gatehouse } = await (await fetch(`${site.url}/v1/files/${file.id}`, { headers: { cookie } })).json();
    return gatehouse.scan !== "waiting" && gatehouse.scan;
  }, "the scan of 1 GiB", 300_000);
  assert.equal(scanned, "clean");
  const after = await heap.wasm();
  console.log(`with scan and download: ${mib(after)}`);
  assert.ok(after - before.wasm < FLAT, mib(after));
});
