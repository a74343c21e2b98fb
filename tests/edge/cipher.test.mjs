// Sealing and opening by the platform's cipher, in workerd, against vectors that were not written here.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { inflateSync } from "node:zlib";

import { at } from "../../tools/lib.mjs";
import { startBare } from "./support/bare.mjs";

const { tests } = JSON.parse(readFileSync(at("tests", "vectors", "cobblestone-256.json")));
const HEADER = 56;
const CHUNK = 16_384;
const TAG = 16;

/** Answers with what is sealed, or with what opens; 422 for what does not. */
const PROBE = `
import { openBlob, putSealed } from "./blobs.js";
const unhex = (text) => Uint8Array.fromHex(text);
export default {
  async fetch(request) {
    const { key, nonce, header, first, skip, length, last } = JSON.parse(request.headers.get("x-how"));
    const bytes = new Uint8Array(await request.arrayBuffer());
    if (header !== undefined) {
      let sealed;
      await putSealed({ put: async (_, value) => (sealed = value) }, "", unhex(key), unhex(nonce), unhex(header), bytes);
      return new Response(sealed);
    }
    const bucket = { get: async () => new Response(bytes) };
    try {
      return new Response(await openBlob(bucket, ["", 0, 0, [unhex(key), unhex(nonce), first, skip, length, last]]));
    } catch (error) {
      return new Response(String(error), { status: error.name === "Forged" ? 422 : 500 });
    }
  },
};`;

let bare;
before(async () => {
  bare = await startBare({ "probe.mjs": PROBE, "blobs.js": readFileSync(at("src", "edge", "blobs.js"), "utf8") });
});
after(() => bare?.stop());

async function ask(how, body) {
  const answer = await fetch(bare.url, { method: "POST", body, headers: { "x-how": JSON.stringify(how) } });
  return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
}

const open = (test, chunks, more) =>
  ask({ key: test.aeadKey, nonce: test.baseNonce, first: 0, skip: 0, length: Math.max(0, chunks.length - TAG * Math.ceil(chunks.length / (CHUNK + TAG))), last: true, ...more }, chunks);

const message = (test) => inflateSync(Buffer.from(test.ct, "hex"));

test("messages of Wycheproof open, and are sealed to the same bytes", async () => {
  const valid = tests.filter((test) => test.result === "valid");
  assert.equal(valid.length, 10);
  for (const test of valid) {
    const sealed = message(test);
    const opened = await open(test, sealed.subarray(HEADER));
    assert.deepEqual([opened.status, opened.bytes.length], [200, test.msgLength], test.comment);
    assert.equal(createHash("sha512").update(opened.bytes).digest("hex"), test.msgSha512, test.comment);
    const again = await ask({ key: test.aeadKey, nonce: test.baseNonce, header: sealed.subarray(0, HEADER).toString("hex") }, opened.bytes);
    assert.ok(again.bytes.equals(sealed), test.comment);
  }
});

test("what was changed, cut off, lengthened or moved does not open", async () => {
  // The others fail at the header, which is read elsewhere.
  const invalid = tests.filter((test) => test.result !== "valid" && test.aeadKey !== null);
  assert.equal(invalid.length, 15);
  for (const test of invalid) {
    const { status } = await open(test, message(test).subarray(HEADER));
    assert.equal(status, 422, `${test.tcId}: ${test.comment}`);
  }
});

test("any range opens from its chunks alone", async () => {
  // 257 chunks: more than are opened at a time.
  const test = tests.find((test) => test.msgLength === 4_210_689);
  const sealed = message(test).subarray(HEADER);
  const whole = (await open(test, sealed)).bytes;
  for (const [from, length] of [
    [0, 1],
    [CHUNK - 1, 2],
    [CHUNK * 64, CHUNK * 64],
    [CHUNK * 63 + 5, CHUNK * 130],
    [4_210_688, 1],
    [1, 4_210_688],
  ]) {
    const last = from + length > whole.length - (whole.length % CHUNK);
    const first = Math.floor(from / CHUNK);
    const end = last ? sealed.length : Math.ceil((from + length) / CHUNK) * (CHUNK + TAG);
    const part = sealed.subarray(first * (CHUNK + TAG), end);
    const { status, bytes } = await open(test, part, { first, skip: from % CHUNK, length, last });
    assert.equal(status, 200, `${from} ${length}`);
    assert.ok(bytes.equals(whole.subarray(from, from + length)), `${from} ${length}`);
    const cut = await open(test, part.subarray(0, part.length - 1), { first, skip: from % CHUNK, length, last });
    assert.equal(cut.status, 422, `${from} ${length}, cut`);
  }
});
