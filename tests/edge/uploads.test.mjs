// Uploads: what may come in, how it goes out again, quotas, and what is left when it is over.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";

import { call } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { BOUNDARY, MIB, blobs, form, list, uploadHead, visitor } from "./support/visitor.mjs";
import { fileHolds, until } from "./support/wait.mjs";

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

// === the end ===

test("what is deleted is gone from the store", async () => {
  const who = visitor(house);
  const canary = `canary-${Date.now()}`;
  const { id } = (await who.upload(canary)).json();
  const holds = () => blobs(house).some((file) => fileHolds(file, canary));
  assert.ok(holds());
  await who.ask(`/v1/files/${id}`, { method: "DELETE" });
  await until(() => !holds(), "the blob to go");
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
