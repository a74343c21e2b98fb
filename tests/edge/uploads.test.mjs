// Uploads: what may come in, how it goes out again, quotas, and what is left when it is over.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { json } from "node:stream/consumers";
import { after, before, test } from "node:test";

import OpenAI, { toFile } from "openai";

import { call, open } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { withObjects } from "./support/objects.mjs";
import { BOUNDARY, MIB, blobs, form, list, uploadHead, visitor } from "./support/visitor.mjs";
import { fileHolds, until, within } from "./support/wait.mjs";

let house;
let url;
before(async () => {
  house = await startHouse({
    documents: { max_bytes: 10 * MIB, max_count: 4, max_visitor_bytes: 12 * MIB, max_network_bytes: 14 * MIB, ttl_seconds: 3600 },
  });
  url = house.worker.url;
});
after(() => house?.stop());

// === what may come in, and how it goes out ===

test("what a browser would run is served as inert text or refused", async () => {
  const who = visitor(house);
  for (const [filename, type] of [["page.html", "text/html"], ["script.js", "text/javascript"], ["x.xml", "text/xml"], ["style.css", "text/css"]]) {
    const made = await who.upload("<script>alert(1)</script>", { filename, type });
    assert.equal(made.status, 200, made.text);
    const { id } = made.json();
    const { headers } = await who.ask(`/v1/files/${id}/content`);
    assert.match(headers["content-type"], /^(text\/plain|application\/octet-stream)/, type);
    assert.match(headers["content-disposition"], /^attachment/);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.match(headers["content-security-policy"], /sandbox/);
    await who.ask(`/v1/files/${id}`, { method: "DELETE" });
  }
  for (const [filename, type, content] of [
    ["a.svg", "image/svg+xml", "<svg onload='alert(1)'>"],
    ["a.png", "image/png", "<svg onload='alert(1)'>"],
    ["a.exe", "application/x-msdownload", "MZ\0\x01\x02\x03"],
    ["a.txt", "text/plain", "MZ\0\x01\x02\x03"],
  ]) {
    assertRefused(await who.upload(content, { filename, type }), "openai", 415, "document_type_refused");
  }
  assert.deepEqual((await list(who)).data, []);
});

test("a file name cannot break out of its header", async () => {
  const who = visitor(house);
  const made = await who.upload("x", { filename: "../../a%22;b%0d%0aset-cookie: c.txt" });
  assert.equal(made.status, 200, made.text);
  const answer = await who.ask(`/v1/files/${made.json().id}/content`);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["set-cookie"], undefined);
  assert.match(answer.headers["content-disposition"], /^attachment; filename="[^"\\/]*"(; filename\*=UTF-8''[\w%.!#$&+^`|~-]+)?$/);
});

test("a form that is not one is refused", async () => {
  const who = visitor(house);
  const type = { "content-type": `multipart/form-data; boundary=${BOUNDARY}` };
  for (const [body, headers, status] of [
    ["{}", { "content-type": "application/json" }, 415],
    ["x", { "content-type": "multipart/form-data" }, 400],
    ["nothing of the kind", type, 400],
    [`--${BOUNDARY}--\r\n`, type, 400],
    [form("x", { purpose: "world-domination" }).body, type, 400],
  ]) {
    const answer = await who.ask("/v1/files", { body, headers });
    assert.equal(answer.status, status, answer.text);
    assertDressed(answer);
  }
  assertRefused(await who.ask("/v1/files", form("x", { headers: { "content-encoding": "gzip" } })), "openai", 415, "unsupported_media_type");
});

test("a document over the limit is refused, declared or not, and leaves nothing", async () => {
  const who = visitor(house);
  await who.upload("keep");
  const before = blobs(house).length;
  for (const chunked of [false, true]) {
    const answer = await who.upload(Buffer.alloc(10 * MIB + 1, "x"), { chunked });
    assertRefused(answer, "openai", 413, "payload_too_large");
  }
  assert.equal((await list(who)).data.length, 1);
  await until(() => blobs(house).length === before, "the segments of refused uploads to go");
});

test("an upload that is cut leaves nothing", async () => {
  const who = visitor(house);
  await who.upload("keep");
  const before = blobs(house).length;
  const { body } = form(Buffer.alloc(9 * MIB, "x"));
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.concat([uploadHead(who, body.length), body.subarray(0, body.length - 1000)]));
  await until(() => blobs(house).length > before, "a first segment to be written");
  socket.destroy();
  assert.equal((await list(who)).data.length, 1);
  await until(() => blobs(house).length === before, "the segments of the cut upload to go");
  await until(async () => (await who.upload(Buffer.alloc(9 * MIB, "y"))).status === 200, "its room to be free again");
});

// === quotas ===

test("a visitor may keep so many documents, and deleting makes room", async () => {
  const who = visitor(house);
  const ids = [];
  for (let i = 0; i < 4; i += 1) ids.push((await who.upload(`document ${i}`)).json().id);
  assertRefused(await who.upload("one too many"), "openai", 403, "quota_exceeded");
  assert.equal((await who.ask(`/v1/files/${ids[0]}`, { method: "DELETE" })).status, 200);
  assert.equal((await who.upload("room again")).status, 200);
});

test("uploads at the same time do not pass the quota together", async () => {
  const who = visitor(house);
  await who.upload("first");
  const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => who.upload(`parallel ${i}`)));
  assert.equal(answers.filter((answer) => answer.status === 200).length, 3);
  for (const answer of answers.filter((answer) => answer.status !== 200)) assertRefused(answer, "openai", 403, "quota_exceeded");
  assert.equal((await list(who)).data.length, 4);
});

test("a new cookie is no new quota for the network", async () => {
  const address = "100.66.1.1";
  const first = visitor(house, address);
  const { id } = (await first.upload(Buffer.alloc(9 * MIB, "a"))).json();
  const second = visitor(house, "100.66.1.2");
  assertRefused(await second.upload(Buffer.alloc(6 * MIB, "b")), "openai", 403, "quota_exceeded");
  assert.equal((await visitor(house, "100.66.2.1").upload(Buffer.alloc(6 * MIB, "c"))).status, 200, "another network has room");
  await first.ask(`/v1/files/${id}`, { method: "DELETE" });
  assert.equal((await second.upload(Buffer.alloc(6 * MIB, "d"))).status, 200);
});

// === keys ===

let keys = 0;
const fresh = () => `upload ${(keys += 1)}`;
const keyed = (key, more) => ({ ...more, headers: { ...more?.headers, "idempotency-key": key } });
const attached = ({ headers }) => headers["x-gatehouse-attached"] === "true";

/** A visitor with a cookie, who keeps nothing yet. */
async function known() {
  const who = visitor(house);
  const { id } = (await who.upload("for the cookie")).json();
  await who.ask(`/v1/files/${id}`, { method: "DELETE" });
  return who;
}

test("a storm of 20 uploads with one key is one document, and all get the same bytes", async () => {
  const who = await known();
  const before = blobs(house).length;
  const key = fresh();
  // The network has room for one of this length, and the visitor too.
  const content = Buffer.alloc(9 * MIB, "storm");
  const answers = await Promise.all(Array.from({ length: 20 }, () => who.upload(content, keyed(key))));
  for (const answer of answers) {
    assert.equal(answer.status, 200, answer.text);
    assertDressed(answer);
    assert.ok(answer.bytes.equals(answers[0].bytes));
  }
  assert.equal(answers.filter(attached).length, 19);
  assert.deepEqual((await list(who)).data.map(({ id }) => id), [answers[0].json().id]);
  assert.equal(blobs(house).length, before + 2, "two segments");
  assert.ok((await who.ask(`/v1/files/${answers[0].json().id}/content`)).bytes.equals(content));
  assert.equal((await who.upload(Buffer.alloc(2 * MIB, "x"))).status, 200, "the quota counts it once");
});

test("a key with another file or field is a conflict, and nothing is stored", async () => {
  const who = await known();
  const key = fresh();
  const first = await who.upload("the file", keyed(key));
  const before = blobs(house).length;
  for (const [content, more] of [["another file", {}], ["the file", { filename: "other.txt" }], ["the file", { purpose: "batch" }]]) {
    const answer = await who.upload(content, keyed(key, more));
    assertRefused(answer, "openai", 422, "idempotency_conflict");
    assert.deepEqual([answer.json().error.param, answer.headers["x-should-retry"]], ["Idempotency-Key", "false"]);
  }
  assert.deepEqual([(await list(who)).data.length, blobs(house).length], [1, before]);
  const again = await who.upload("the file", keyed(key));
  assert.ok(attached(again) && again.bytes.equals(first.bytes));
});

test("one key of two visitors or of two protocols is two keys", async () => {
  const [a, b] = [await known(), await known()];
  const key = fresh();
  const claude = { headers: { "anthropic-version": "2023-06-01" } };
  const ways = [[a, {}], [b, {}], [a, claude]];
  const made = [];
  for (const [who, more] of ways) made.push(await who.upload("same", keyed(key, more)));
  assert.deepEqual(made.map(attached), [false, false, false]);
  assert.equal(new Set(made.map((answer) => answer.json().id)).size, 3);
  for (const [i, [who, more]] of ways.entries()) {
    assert.ok((await who.upload("same", keyed(key, more))).bytes.equals(made[i].bytes));
  }
});

test("an upload that failed frees its key: no room, no accepted type, a cut body", async () => {
  const who = await known();
  const key = fresh();
  const ids = [];
  for (let i = 0; i < 4; i += 1) ids.push((await who.upload(`document ${i}`)).json().id);
  assertRefused(await who.upload("late", keyed(key)), "openai", 403, "quota_exceeded");
  await who.ask(`/v1/files/${ids[0]}`, { method: "DELETE" });
  assertRefused(await who.upload("MZ\0\x01", keyed(key)), "openai", 415, "document_type_refused");
  const before = blobs(house).length;
  const { body } = form(Buffer.alloc(9 * MIB, "x"));
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.concat([uploadHead(who, body.length, { "idempotency-key": key }), body.subarray(0, body.length - 1000)]));
  await until(() => blobs(house).length > before, "a first segment to be written");
  socket.destroy();
  // At once: it waits until the cut upload is undone, and then there is room again.
  const answer = await who.upload("late", keyed(key));
  assert.equal(answer.status, 200, answer.text);
  assert.ok(!attached(answer));
  assert.ok((await who.upload("late", keyed(key))).bytes.equals(answer.bytes));
});

test("a reply is repeated when its document was deleted meanwhile", async () => {
  const who = await known();
  const key = fresh();
  const first = await who.upload("short-lived", keyed(key));
  await who.ask(`/v1/files/${first.json().id}`, { method: "DELETE" });
  const again = await who.upload("short-lived", keyed(key));
  assert.ok(attached(again) && again.bytes.equals(first.bytes));
  assert.deepEqual((await list(who)).data, []);
});

test("a key that cannot be one is refused, and without a cookie a key is not kept", async () => {
  const who = await known();
  for (const key of ["", "x".repeat(256), "caf\u00e9"]) {
    for (const caller of [who, visitor(house)]) {
      const answer = await caller.upload("x", keyed(key));
      assertRefused(answer, "openai", 400, "invalid_parameter");
      assert.equal(answer.json().error.param, "Idempotency-Key");
    }
  }
  const [one, two] = [visitor(house), visitor(house)];
  const key = fresh();
  const made = [await one.upload("new here", keyed(key)), await two.upload("new here", keyed(key))];
  assert.deepEqual(made.map(attached), [false, false]);
  assert.notEqual(one.jar.cookie, two.jar.cookie);
});

test("an SDK that loses the reply and tries again by itself has one document", async () => {
  const who = await known();
  let tries = 0;
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: "visitor",
    maxRetries: 2,
    async fetch(address, init) {
      const headers = new Headers(init.headers);
      headers.set("cf-connecting-ip", who.address);
      headers.set("cookie", who.jar.cookie);
      const answer = await fetch(address, { ...init, headers });
      if ((tries += 1) === 1) throw new TypeError("fetch failed");
      return answer;
    },
  });
  const file = await toFile(Buffer.from("once"), "once.txt", { type: "text/plain" });
  const made = await client.files.create({ file, purpose: "user_data" }, { headers: { "Idempotency-Key": fresh() } });
  assert.equal(tries, 2);
  const listed = (await list(who)).data.map(({ gatehouse, ...file }) => file);
  assert.deepEqual(listed, [JSON.parse(JSON.stringify(made))]);
});

test("a key outlives a restart, and one whose upload was lost is free again by itself", async () => {
  const who = await known();
  const [done, lost] = [fresh(), fresh()];
  const first = await who.upload("done", keyed(done));
  const before = blobs(house).length;
  const { body } = form(Buffer.alloc(9 * MIB, "x"));
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.concat([uploadHead(who, body.length, { "idempotency-key": lost }), body.subarray(0, body.length - 1000)]));
  await until(() => blobs(house).length > before, "a first segment to be written");
  const rows = [];
  const meanwhile = () => withObjects(house, "Owner", (database) => rows.push(...database.prepare("SELECT key, value FROM rows").all()));
  await house.worker.restart({ hard: true, meanwhile });
  socket.destroy();
  url = house.worker.url;
  const text = JSON.stringify(rows);
  const running = rows.filter(({ key, value }) => /^key\/[\w-]{22}$/.test(key) && !value.includes("fingerprint"));
  assert.equal(running.length, 1, "the lost upload left its key");
  assert.ok(!text.includes(done) && !text.includes(lost), "no key in the clear");
  const again = await who.upload("done", keyed(done));
  assert.ok(attached(again) && again.bytes.equals(first.bytes));
  // Whoever asks before the lease is over waits for its end.
  const { headers, ...sent } = form("at last", keyed(lost));
  const answered = open(url, { path: "/v1/files", address: who.address, ...sent, headers: { ...headers, cookie: who.jar.cookie } });
  const answer = await within(answered, "the lease to end", 60_000);
  assert.deepEqual([answer.status, attached(answer)], [200, false]);
  const ids = [first.json().id, (await json(answer.response)).id];
  assert.deepEqual((await list(who, "?order=asc")).data.map(({ id }) => id), ids);
});

// === the end ===

test("what is deleted is gone from the store", async () => {
  const who = visitor(house);
  const before = blobs(house).length;
  const canary = `canary-${Date.now()}`;
  const { id } = (await who.upload(canary)).json();
  assert.equal(blobs(house).length, before + 1);
  await who.ask(`/v1/files/${id}`, { method: "DELETE" });
  await until(() => blobs(house).length === before, "the blob to go");
  assert.ok(!blobs(house).some((file) => fileHolds(file, canary)));
  assertRefused(await who.ask(`/v1/files/${id}`, { method: "DELETE" }), "openai", 404, "document_not_found");
});

test("a document outlives a restart, and the sweep leaves it alone before its time", async () => {
  const who = visitor(house);
  const { id } = (await who.upload("durable")).json();
  await house.worker.restart({ hard: true });
  url = house.worker.url;
  const swept = await call(url, { path: "/cdn-cgi/handler/scheduled" });
  assert.equal(swept.status, 200);
  assert.equal((await who.ask(`/v1/files/${id}/content`)).text, "durable");
});
