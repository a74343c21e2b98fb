// Uploads in parts, and documents at rest: in workerd, with the official SDK, through restarts, and with the bucket's
// files edited behind the Worker's back.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";

import OpenAI, { toFile } from "openai";

import { assertRefused, startHouse } from "./support/house.mjs";
import { withBucket } from "./support/objects.mjs";
import { BOUNDARY, MIB, blobs, list, visitor } from "./support/visitor.mjs";
import { fileHolds, until } from "./support/wait.mjs";

const LIMITS = { max_bytes: 64 * MIB, max_count: 20, max_visitor_bytes: 128 * MIB, max_network_bytes: 256 * MIB, ttl_seconds: 3600 };

let house;
before(async () => {
  house = await startHouse({ documents: LIMITS });
});
after(() => house?.stop());

/** Text that compresses and repeats nowhere. */
function text(bytes) {
  return Buffer.from(randomBytes(Math.ceil(bytes / 2)).toString("hex").slice(0, bytes));
}

/** The SDK, unmodified, for a visitor with a cookie jar. */
function sdk(address) {
  const jar = {};
  return new OpenAI({
    baseURL: `${house.worker.url}/v1`,
    apiKey: "visitor",
    maxRetries: 0,
    async fetch(url, init) {
      const headers = new Headers(init.headers);
      headers.set("cf-connecting-ip", address);
      if (jar.cookie) headers.set("cookie", jar.cookie);
      const answer = await fetch(url, { ...init, headers });
      jar.cookie = answer.headers.getSetCookie()[0]?.split(";")[0] ?? jar.cookie;
      return answer;
    },
  });
}

const json = (body) => ({ method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });

async function begin(who, bytes, more = {}) {
  const made = await who.ask("/v1/uploads", json({ filename: "long.txt", purpose: "user_data", bytes, mime_type: "text/plain", ...more }));
  assert.equal(made.status, 200, made.text);
  return made.json().id;
}

function partForm(content, number) {
  const field = (name, more, value) => Buffer.concat([Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"${more}\r\n\r\n`), Buffer.from(value), Buffer.from("\r\n")]);
  const parts = [field("data", '; filename="blob"', content), Buffer.from(`--${BOUNDARY}--\r\n`)];
  if (number !== undefined) parts.unshift(field("part_number", "", String(number)));
  return { method: "POST", body: Buffer.concat(parts), headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` } };
}

const add = (who, id, content, number) => who.ask(`/v1/uploads/${id}/parts`, partForm(content, number));
const complete = (who, id, part_ids, md5) => who.ask(`/v1/uploads/${id}/complete`, json({ part_ids, md5 }));
const parts = async (who, id) => (await who.ask(`/v1/uploads/${id}/parts`)).json().data;
const content = (who, file, headers) => who.ask(`/v1/files/${file}/content`, { headers });
const md5 = (bytes) => createHash("md5").update(bytes).digest("hex");

test("the official SDK uploads parts at the same time and completes them in their order", async () => {
  const client = sdk("100.66.1.1");
  const whole = text(21 * MIB + 5);
  const upload = await client.uploads.create({ filename: "long.txt", purpose: "user_data", bytes: whole.length, mime_type: "text/plain" });
  assert.deepEqual([upload.object, upload.status, upload.bytes], ["upload", "pending", whole.length]);
  const cuts = [0, 9 * MIB, 10 * MIB, whole.length];
  const made = await Promise.all(
    cuts.slice(1).map(async (end, i) => client.uploads.parts.create(upload.id, { data: await toFile(whole.subarray(cuts[i], end), "part") })),
  );
  for (const part of made) assert.deepEqual([part.object, part.upload_id], ["upload.part", upload.id]);
  const part_ids = made.map((part) => part.id);
  await assert.rejects(client.uploads.complete(upload.id, { part_ids, md5: "0".repeat(32) }), (error) => error.status === 400 && error.code === "checksum_mismatch");
  const done = await client.uploads.complete(upload.id, { part_ids, md5: md5(whole) });
  assert.deepEqual([done.status, done.file.bytes, done.file.filename, done.file.object], ["completed", whole.length, "long.txt", "file"]);
  const got = Buffer.from(await (await client.files.content(done.file.id)).arrayBuffer());
  assert.ok(got.equals(whole));
  // A lost answer: the same call again.
  assert.deepEqual((await client.uploads.complete(upload.id, { part_ids })).file, done.file);

  const other = await client.uploads.create({ filename: "b.txt", purpose: "user_data", bytes: 5, mime_type: "text/plain" });
  assert.equal((await client.uploads.cancel(other.id)).status, "cancelled");
  await assert.rejects(client.uploads.cancel(other.id), (error) => error instanceof OpenAI.NotFoundError && error.code === "upload_not_found");
});

test("what does not fit together is refused in the catalogue's words", async () => {
  const who = visitor(house);
  const id = await begin(who, 8);
  const [a, b] = [(await add(who, id, "aaaa", 1)).json().id, (await add(who, id, "bbbb", 2)).json().id];
  assertRefused(await complete(who, id, [b, a]), "openai", 400, "invalid_parameter");
  assertRefused(await complete(who, id, [a]), "openai", 400, "upload_incomplete");
  assertRefused(await complete(who, id, [a, b, "part_x"]), "openai", 400, "invalid_parameter");
  assertRefused(await add(who, id, "c", 3), "openai", 413, "payload_too_large");
  assertRefused(await add(who, id, ""), "openai", 400, "invalid_parameter");
  assertRefused(await add(visitor(house), id, "c"), "openai", 404, "upload_not_found");
  assertRefused(await who.ask("/v1/uploads", json({ filename: "x", purpose: "user_data", bytes: 65 * MIB, mime_type: "text/plain" })), "openai", 413, "payload_too_large");
  assert.equal((await complete(who, id, [a, b])).status, 200);
});

test("an interrupted upload goes on after the server was killed", async () => {
  const who = visitor(house);
  const whole = text(20 * MIB);
  const cut = (i) => whole.subarray(i * 4 * MIB, (i + 1) * 4 * MIB);
  const id = await begin(who, whole.length);
  assert.equal((await add(who, id, cut(0), 1)).status, 200);
  assert.equal((await add(who, id, cut(2), 3)).status, 200);
  const before = blobs(house).length;
  // A part of which only the beginning arrives: 9 MiB of 12, so that one segment is written.
  const long = partForm(whole.subarray(8 * MIB), 9);
  const socket = connect(new URL(house.worker.url).port, "127.0.0.1");
  const lines = [`POST /v1/uploads/${id}/parts HTTP/1.1`, `host: ${who.host()}`, `content-type: ${long.headers["content-type"]}`, `content-length: ${long.body.length}`, `cookie: ${who.jar.cookie}`, `cf-connecting-ip: ${who.address}`];
  socket.on("error", () => {});
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  socket.write(long.body.subarray(0, 9 * MIB));
  await until(() => blobs(house).length > before, "a first segment to be written");
  await house.worker.restart({ hard: true });
  socket.destroy();
  const there = await parts(who, id);
  assert.deepEqual(there.map((part) => [part.part_number, part.bytes]), [[1, 4 * MIB], [3, 4 * MIB]]);
  for (const part of there) assert.equal(part.sha256, createHash("sha256").update(cut(part.part_number - 1)).digest("hex"));
  const missing = [1, 3, 4];
  const added = await Promise.all(missing.map((i) => add(who, id, cut(i), i + 1)));
  for (const answer of added) assert.equal(answer.status, 200, answer.text);
  const order = (await parts(who, id)).sort((a, b) => a.part_number - b.part_number).map((part) => part.id);
  const done = await complete(who, id, order, md5(whole));
  assert.equal(done.status, 200, done.text);
  const got = await content(who, done.json().file.id);
  assert.ok(got.bytes.equals(whole));
});

test("no file of the bucket holds a word of a document, and what is changed there is found", async () => {
  const who = visitor(house);
  const canary = "canary-7c1e55";
  const whole = Buffer.concat([Buffer.from(canary), text(9 * MIB)]);
  const known = new Set(blobs(house));
  const made = await who.upload(whole, { filename: "secret.txt" });
  assert.equal(made.status, 200, made.text);
  const file = made.json().id;
  const written = blobs(house).filter((path) => !known.has(path));
  assert.equal(written.length, 2, "two segments");
  for (const path of written) assert.ok(!fileHolds(path, canary), "at rest");

  const where = [];
  withBucket(house, (database, folder) => {
    const rows = database.prepare("SELECT key, blob_id FROM _mf_objects WHERE key LIKE ?").all(`%${file}%`);
    where.push(...rows.map(({ key, blob_id }) => [key, join(folder, blob_id)]).sort());
  });
  const first = where[0][1];
  const untouched = readFileSync(first);
  const flip = (at) => {
    const bytes = Buffer.from(untouched);
    bytes[at] ^= 1;
    writeFileSync(first, bytes);
  };
  // In the first chunk: nothing is delivered.
  flip(100);
  assertRefused(await content(who, file), "openai", 500, "integrity");
  // A range that lies elsewhere does not touch it.
  const range = await content(who, file, { range: "bytes=40000-49999" });
  assert.equal(range.status, 206);
  assert.ok(range.bytes.equals(whole.subarray(40_000, 50_000)));
  // Far in: what comes before it may leave, the rest does not, and nobody takes it for the whole.
  flip(5 * MIB);
  const cut = await content(who, file);
  assert.ok(cut.broken && cut.bytes.length < 5 * MIB);
  assert.ok(cut.bytes.equals(whole.subarray(0, cut.bytes.length)));
  // Another segment in its place, and an older version of it.
  writeFileSync(first, readFileSync(where[1][1]));
  assert.equal((await content(who, file)).status, 500);
  writeFileSync(first, untouched);
  assert.ok((await content(who, file)).bytes.equals(whole));
});

test("parallel parts at the edge of the visitor's room are never over it", async () => {
  const who = visitor(house);
  await who.upload("a cookie");
  const made = await Promise.all(Array.from({ length: 30 }, () => who.ask("/v1/uploads", json({ filename: "x", purpose: "user_data", bytes: 16 * MIB, mime_type: "text/plain" }))));
  const open = made.filter((answer) => answer.status === 200).map((answer) => answer.json().id);
  for (const answer of made.filter((answer) => answer.status !== 200)) assertRefused(answer, "openai", 403, "quota_exceeded");
  // 128 MiB less one small document hold seven of 16 MiB.
  assert.equal(open.length, 7);
  const gone = await Promise.all(open.map((id) => who.ask(`/v1/uploads/${id}/cancel`, { method: "POST", body: "" })));
  for (const answer of gone) assert.equal(answer.status, 200, answer.text);
  assert.equal((await list(who)).data.length, 1);
  await begin(who, 64 * MIB);
});
