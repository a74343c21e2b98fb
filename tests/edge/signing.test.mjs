// Signed requests, by the very code that docs/signing.md shows.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";

import { signed } from "../../docs/snippets/signed.mjs";
import { call } from "./support/client.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";
import { startWorker } from "./support/worker.mjs";

const KID = "ci";
const pair = generateKeyPairSync("ed25519");
const privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" });

let worker;
let url;
let key;

before(async () => {
  worker = await startWorker(undefined, { ADMIN_TOKEN });
  url = worker.url;
  const owner = await claimHouse(worker);
  key = await owner.do("POST", "/keys", {
    name: "ci",
    scopes: { aliases: ["site"] },
    public_keys: [{ kid: KID, alg: "ed25519", key: pair.publicKey.export({ format: "jwk" }).x }],
    must_sign: true,
  });
});
after(() => worker?.stop());

const body = JSON.stringify({ model: "site", messages: [{ role: "user", content: "Where are the keys kept?" }] });
const path = "/v1/chat/completions";
const headersFor = (options = {}) =>
  signed({ method: "POST", url: `${url.replace(/\/$/, "")}${path}`, body, keyid: `${key.id}/${KID}`, privateKey, ...options });
const send = (headers, given = body, to = path) =>
  call(url, { method: "POST", path: to, body: given, headers: { "content-type": "application/json", ...headers } });

test("a request that is signed as the docs say is answered, once", async () => {
  const headers = headersFor();
  const answer = await send(headers);
  assert.equal(answer.status, 200, answer.text);
  const again = await send(headers);
  assert.equal(again.status, 409, again.text);
  assert.equal(again.json().error.gatehouse.code, "replayed_request");
  assert.equal((await send(headersFor())).status, 200);
});

test("of two equal requests at the same time one is answered", async () => {
  const headers = headersFor();
  const statuses = (await Promise.all([send(headers), send(headers), send(headers)])).map((answer) => answer.status);
  assert.deepEqual(statuses.sort(), [200, 409, 409]);
});

test("without a body the path is covered all the same", async () => {
  const options = { method: "GET", url: `${url.replace(/\/$/, "")}/api/me`, body: "" };
  const me = await call(url, { path: "/api/me", headers: headersFor(options) });
  assert.equal(me.status, 200, me.text);
  assert.equal(me.json().id, key.id);
});

test("date, length, type and the key of a repeat may be covered too, and count then", async () => {
  const headers = {
    date: new Date().toUTCString(),
    "content-length": String(Buffer.byteLength(body)),
    "content-type": "application/json",
    "idempotency-key": "a-key-of-the-signed-call",
  };
  const answer = await send(headersFor({ headers }));
  assert.equal(answer.status, 200, answer.text);
  const changed = { ...headersFor({ headers }), date: new Date(Date.now() - 60_000).toUTCString() };
  assert.equal((await send(changed)).json().error.gatehouse.code, "signature_invalid");
});

test("a signature for somebody else is not looked at", async () => {
  const foreign = headersFor();
  foreign["signature-input"] = foreign["signature-input"].replace('tag="gatehouse"', 'tag="proxy"');
  const answer = await send(foreign);
  assert.equal(answer.status, 200, answer.text);
  const me = await call(url, { path: "/api/me", headers: foreign });
  assert.notEqual(me.json().id, key.id);
});

test("what is not what was signed is refused", async () => {
  const code = (answer) => [answer.status, answer.json().error.gatehouse.code];
  const refused = [401, "signature_invalid"];
  assert.deepEqual(code(await send(headersFor(), body.replace("kept", "lost"))), refused);
  assert.deepEqual(code(await send(headersFor(), body, `${path}?a=b`)), refused);
  const other = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
  assert.deepEqual(code(await send(headersFor({ privateKey: other }))), refused);
  assert.deepEqual(code(await send(headersFor({ keyid: `${key.id}/other` }))), refused);
  const late = headersFor();
  late["signature-input"] = late["signature-input"].replace(/created=\d+/, "created=1");
  assert.deepEqual(code(await send(late)), refused);
});

test("a key that must sign opens nothing by its secret", async () => {
  const answer = await send({ authorization: `Bearer ${key.key}` });
  assert.equal(answer.status, 401);
  assert.equal(answer.json().error.gatehouse.code, "invalid_credentials");
});
