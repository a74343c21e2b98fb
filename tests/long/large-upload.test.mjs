// A document far larger than an isolate's memory allows to hold twice goes in and comes out whole.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { after, before, test } from "node:test";

import { config } from "../edge/support/config.mjs";
import { startWorker } from "../edge/support/worker.mjs";

/** 300 MiB: more than twice the 128 MB of an isolate. */
const SIZE = 300 * 1024 * 1024;
const PIECE = 1024 * 1024;

let site;

before(async () => {
  const room = { max_bytes: SIZE, max_visitor_bytes: SIZE, max_network_bytes: SIZE * 2, max_site_bytes: SIZE * 2 };
  site = await startWorker(config({ url: "http://127.0.0.1:9" }, { documents: room }));
});

after(() => site?.stop());

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
