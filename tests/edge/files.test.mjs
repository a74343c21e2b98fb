// Documents: from the first cookie to the last byte, and whose they are.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI, { toFile } from "openai";

import { call, leaks, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { MIB, form, list, visitor } from "./support/visitor.mjs";

let house;
let url;
before(async () => {
  house = await startHouse({
    documents: { max_bytes: 10 * MIB, max_count: 4, max_visitor_bytes: 12 * MIB, max_network_bytes: 14 * MIB, ttl_seconds: 3600 },
  });
  url = house.worker.url;
});
after(() => house?.stop());

// === the life of a document ===

test("the official SDK creates, lists, reads and deletes a document", async () => {
  const jar = {};
  const client = new OpenAI({
    baseURL: `${url}/v1`,
    apiKey: "visitor",
    async fetch(address, init) {
      const headers = new Headers(init.headers);
      headers.set("cf-connecting-ip", "100.65.200.1");
      if (jar.cookie) headers.set("cookie", jar.cookie);
      const answer = await fetch(address, { ...init, headers });
      jar.cookie = answer.headers.getSetCookie()[0]?.split(";")[0] ?? jar.cookie;
      return answer;
    },
  });
  const content = "Line one\nLine two: 你好\n";
  const made = await client.files.create({ file: await toFile(Buffer.from(content), "héllo 世界.txt", { type: "text/plain" }), purpose: "user_data" });
  assert.deepEqual([made.object, made.bytes, made.filename, made.purpose], ["file", Buffer.byteLength(content), "héllo 世界.txt", "user_data"]);
  assert.ok(made.expires_at > made.created_at && made.expires_at <= made.created_at + 3600);
  const found = [];
  for await (const file of client.files.list()) found.push(file.id);
  assert.deepEqual(found, [made.id]);
  const { gatehouse, ...retrieved } = await client.files.retrieve(made.id);
  assert.deepEqual(retrieved, made);
  assert.deepEqual([gatehouse.version, gatehouse.right], [1, "own"]);
  assert.equal(await (await client.files.content(made.id)).text(), content);
  assert.equal((await client.files.delete(made.id)).deleted, true);
  await assert.rejects(client.files.retrieve(made.id), (error) => error instanceof OpenAI.NotFoundError && error.code === "document_not_found");
});

test("the cookie is made on the first write and is out of reach of scripts and other sites", async () => {
  const who = visitor(house);
  assert.deepEqual((await list(who)).data, []);
  assert.equal(who.jar.set.length, 0, "reading makes no cookie");
  assert.equal((await who.upload("a")).status, 200);
  assert.equal(who.jar.set.length, 1);
  const [name, ...attributes] = who.jar.set[0].split("; ");
  assert.match(name, /^gatehouse=ey[\w-]+\.[\w-]+\.[\w-]+$/);
  for (const attribute of ["Path=/", "HttpOnly", "SameSite=Strict"]) assert.ok(attributes.includes(attribute), attribute);
  assert.ok(!attributes.some((attribute) => attribute.startsWith("Domain")));
  assert.equal((await who.upload("b")).status, 200);
  assert.equal(who.jar.set.length, 1, "a good cookie is not made again");
  assert.equal((await list(who)).data.length, 2);
});

test("a forged cookie is nobody's", async () => {
  const who = visitor(house);
  const id = (await who.upload("mine")).json().id;
  const forged = who.jar.cookie.replace(/.$/, (last) => (last === "A" ? "Q" : "A"));
  const [header, payload, mac] = who.jar.cookie.split(".");
  const other = Buffer.from(Buffer.from(payload, "base64url").toString().replace(/vis_./, "vis_z")).toString("base64url");
  for (const cookie of [forged, `${header}.${other}.${mac}`, "gatehouse=x", `${header}.${payload}.`]) {
    const answer = await call(url, { path: `/v1/files/${id}`, headers: { cookie } });
    assertRefused(answer, "openai", 404, "document_not_found");
  }
});

test("a list has pages, newest first", async () => {
  const who = visitor(house);
  const ids = [];
  for (const name of ["a", "b", "c"]) ids.unshift((await who.upload(name, { filename: `${name}.txt` })).json().id);
  const first = await list(who, "?limit=2");
  assert.deepEqual([first.data.map((file) => file.id), first.has_more], [ids.slice(0, 2), true]);
  const second = await list(who, `?limit=2&after=${first.data.at(-1).id}`);
  assert.deepEqual([second.data.map((file) => file.id), second.has_more], [ids.slice(2), false]);
  assert.deepEqual((await list(who, "?order=asc")).data.map((file) => file.id), ids.toReversed());
  for (const query of ["?limit=0", "?limit=x", "?order=up", "?after=nothing"]) {
    assertRefused(await who.ask(`/v1/files${query}`), "openai", 400, "invalid_parameter");
  }
  const anthropic = await who.ask("/v1/files", { headers: { "anthropic-version": "2023-06-01" } });
  assert.deepEqual([anthropic.json().first_id, anthropic.json().data[0].type], [ids[0], "file"]);
});

test("content comes whole, in part, or not again", async () => {
  const who = visitor(house);
  const content = Buffer.from(Array.from({ length: 1000 }, (_, i) => 32 + (i % 89)));
  const { id } = (await who.upload(content, { filename: "data.txt" })).json();
  const path = `/v1/files/${id}/content`;
  const whole = await who.ask(path);
  assert.equal(whole.status, 200);
  assert.deepEqual(whole.bytes, content);
  assertDressed(whole);
  assert.equal(whole.headers["content-length"], "1000");
  assert.equal(whole.headers["accept-ranges"], "bytes");
  assert.match(whole.headers["content-disposition"], /^attachment; filename="data\.txt"/);
  assert.match(whole.headers["cache-control"], /private/);
  assert.match(whole.headers["content-security-policy"], /sandbox/);
  const { etag } = whole.headers;
  for (const [range, first, last] of [["bytes=0-9", 0, 9], ["bytes=990-", 990, 999], ["bytes=-5", 995, 999], ["bytes=500-5000", 500, 999]]) {
    const part = await who.ask(path, { headers: { range } });
    assert.equal(part.status, 206, range);
    assert.equal(part.headers["content-range"], `bytes ${first}-${last}/1000`);
    assert.deepEqual(part.bytes, content.subarray(first, last + 1));
    assert.equal(part.headers["content-length"], String(last - first + 1));
  }
  const outside = await who.ask(path, { headers: { range: "bytes=1000-" } });
  assertRefused(outside, "openai", 416, "range_not_satisfiable");
  assert.equal(outside.headers["content-range"], "bytes */1000");
  for (const headers of [{ "if-none-match": etag }, { "if-none-match": `"x", W/${etag}` }, { "if-none-match": "*" }]) {
    const again = await who.ask(path, { headers });
    assert.deepEqual([again.status, again.text, again.headers.etag], [304, "", etag]);
  }
  assert.equal((await who.ask(path, { headers: { range: "bytes=0-9", "if-range": '"other"' } })).status, 200);
  assert.equal((await who.ask(path, { headers: { range: "bytes=0-9", "if-range": etag } })).status, 206);
  const head = await who.ask(path, { method: "HEAD" });
  assert.deepEqual([head.status, head.text, head.headers["content-length"], head.headers.etag], [200, "", "1000", etag]);
});

test("a document of more than one segment is read across its seam", async () => {
  const who = visitor(house);
  const content = Buffer.alloc(9 * MIB, "0123456789abcdef");
  content.write("seam", 8 * MIB - 2);
  const made = await who.upload(content, { filename: "large.txt", chunked: true });
  assert.equal(made.status, 200, made.text);
  const path = `/v1/files/${made.json().id}/content`;
  assert.ok((await who.ask(path)).bytes.equals(content));
  const seam = await who.ask(path, { headers: { range: `bytes=${8 * MIB - 2}-${8 * MIB + 1}` } });
  assert.equal(seam.text, "seam");
});

// === whose it is ===

test("somebody else's document answers as one that never was", async () => {
  const [owner, other] = [visitor(house), visitor(house)];
  const { id } = (await owner.upload("private")).json();
  await other.upload("own");
  const unknown = `file-${"0".repeat(id.length - 5)}`;
  const plain = (answer) => {
    const text = answer.text.replaceAll(answer.headers["x-request-id"], "ID");
    const names = Object.keys(answer.headers).filter((name) => !/ratelimit|date/.test(name));
    return JSON.stringify([answer.status, text, names]);
  };
  for (const [method, tail] of [["GET", ""], ["HEAD", ""], ["GET", "/content"], ["DELETE", ""]]) {
    const seen = [];
    for (const [who, target] of [[other, id], [other, unknown], [visitor(house), id], [other, "x"]]) {
      seen.push(plain(await who.ask(`/v1/files/${target}${tail}`, { method })));
    }
    assert.equal(new Set(seen).size, 1, `${method} ${tail}: ${seen.join("\n")}`);
  }
  assert.equal((await owner.ask(`/v1/files/${id}/content`)).text, "private");
});

test("a write from another site is refused, and so is a read", async () => {
  const who = visitor(house);
  const { id } = (await who.upload("x")).json();
  for (const headers of [
    { origin: "https://evil.example" },
    { origin: "null" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: `${url}.evil.example` },
  ]) {
    const upload = form("y");
    const answer = await who.ask("/v1/files", { ...upload, headers: { ...upload.headers, ...headers } });
    assertRefused(answer, "openai", 403, "cross_site_refused");
    assert.equal(answer.headers["access-control-allow-origin"], undefined);
    assert.equal(answer.headers["set-cookie"], undefined);
    assertRefused(await who.ask(`/v1/files/${id}`, { method: "DELETE", headers }), "openai", 403, "cross_site_refused");
    assertRefused(await who.ask(`/v1/files/${id}`, { headers }), "openai", 403, "cross_site_refused");
  }
  const upload = form("z");
  const own = await who.ask("/v1/files", { ...upload, headers: { ...upload.headers, origin: url, "sec-fetch-site": "same-origin" } });
  assert.equal(own.status, 200);
  assert.equal(own.headers["access-control-allow-credentials"], undefined);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
