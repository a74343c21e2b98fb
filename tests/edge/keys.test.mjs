// API keys: scopes, rotation with overlap, revocation at once, signed requests.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { call, question } from "./support/client.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";

let house;
let owner;
before(async () => {
  house = await startHouse({ abuse: { enabled: false } }, { ADMIN_TOKEN });
  owner = await claimHouse(house.worker);
});
after(() => house?.stop());

const chat = (key, model = "good", more = {}) =>
  call(house.worker.url, { path: "/v1/chat/completions", json: question(model), ...more, headers: { authorization: `Bearer ${key}`, ...more.headers } });

const SCOPES = { aliases: ["private", "good"], endpoints: "all", stores: "none" };

test("a key reaches the aliases of its scopes, private ones too, and nothing else", async () => {
  const made = await owner.do("POST", "/keys", { name: "a server", scopes: SCOPES, tags: { team: "search" } });
  assert.match(made.key, /^gh_tst_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}$/);
  assert.equal((await chat(made.key, "private")).status, 200);
  assert.equal((await chat(made.key, "good")).status, 200);
  assertRefused(await chat(made.key, "builtin"), "openai", 403, "forbidden");
  const messages = await call(house.worker.url, {
    path: "/v1/messages",
    json: { ...question("good"), max_tokens: 10 },
    headers: { "x-api-key": made.key, "anthropic-version": "2023-06-01" },
  });
  assert.equal(messages.status, 200, messages.text);
  const listed = await call(house.worker.url, { path: "/v1/models", headers: { authorization: `Bearer ${made.key}` } });
  assert.deepEqual(listed.json().data.map((model) => model.id).sort(), ["good", "private"]);
  const files = await call(house.worker.url, { path: "/v1/files", headers: { authorization: `Bearer ${made.key}` } });
  assertRefused(files, "openai", 403, "forbidden");
  // It is shown once: neither the list nor the key itself tells it again.
  const secret = made.key.split("_").at(-1).slice(0, 43);
  for (const path of ["/keys", `/keys/${made.id}`]) assert.ok(!JSON.stringify(await owner.do("GET", path)).includes(secret));
  assert.ok((await owner.do("GET", `/keys/${made.id}`)).last_used_at);
});

test("what looks like a key and is none is refused alike, whatever is wrong", async () => {
  const made = await owner.do("POST", "/keys", { name: "another", scopes: SCOPES });
  const [head, env, id, tail] = made.key.split("_");
  const wrong = [
    [head, env, id, tail.slice(0, -1) + (tail.endsWith("0") ? "1" : "0")].join("_"),
    [head, env, `${id.slice(0, -1)}${id.endsWith("0") ? "1" : "0"}`, tail].join("_"),
    "gh_tst_nothing",
    "sk-0123456789",
  ];
  const bodies = new Set();
  for (const key of wrong) {
    const answer = await chat(key);
    assertRefused(answer, "openai", 401, "invalid_credentials");
    bodies.add(answer.text.replaceAll(answer.headers["x-request-id"], ""));
  }
  assert.equal(bodies.size, 1);
  const twice = await call(house.worker.url, {
    path: "/v1/chat/completions",
    json: question("good"),
    headers: { authorization: `Bearer ${made.key}`, "x-api-key": "sk-0123456789" },
  });
  assertRefused(twice, "openai", 401, "invalid_credentials");
});

test("a revoked key opens nothing a second later at the latest", async () => {
  const made = await owner.do("POST", "/keys", { name: "to go", scopes: SCOPES });
  for (let i = 0; i < 5; i += 1) assert.equal((await chat(made.key)).status, 200);
  await owner.do("DELETE", `/keys/${made.id}`);
  await sleep(1000);
  assertRefused(await chat(made.key), "openai", 401, "invalid_credentials");
  assert.ok((await owner.do("GET", "/keys")).keys.find((key) => key.id === made.id).revoked_at);
  await owner.do("POST", `/keys/${made.id}/rotate`, {}, [409]);
});

test("a rotated key has two secrets for the overlap, and then one", async () => {
  const made = await owner.do("POST", "/keys", { name: "to rotate", scopes: SCOPES });
  const rotated = await owner.do("POST", `/keys/${made.id}/rotate`, { overlap_seconds: 3 });
  assert.notEqual(rotated.key, made.key);
  assert.equal((await chat(rotated.key)).status, 200);
  assert.equal((await chat(made.key)).status, 200, "the old one is still good");
  await sleep(4200);
  assertRefused(await chat(made.key), "openai", 401, "invalid_credentials");
  assert.equal((await chat(rotated.key)).status, 200);
});

test("a key's own limits and tier hold, and a change of them holds at once", async () => {
  const burst = (requests, seconds = 3600) => ({ requests: [{ class: "chat", burst: { requests, seconds } }] });
  const made = await owner.do("POST", "/keys", { name: "limited", scopes: SCOPES, allowance: burst(5) });
  const admitted = async (count, from) => {
    const answers = await Promise.all(Array.from({ length: count }, (_, i) => chat(made.key, "good", { address: `198.18.${from}.${i % 250}` })));
    for (const answer of answers.filter((answer) => answer.status !== 200)) assertRefused(answer, "openai", 429, "rate_limited");
    return answers.filter((answer) => answer.status === 200);
  };
  const first = await admitted(60, 1);
  assert.equal(first.length, 5, "from whatever address");
  assert.match(first[0].headers["ratelimit-policy"], /"burst";q=5;w=3600/);
  assert.equal(first[0].headers["x-ratelimit-limit-requests"], "5");
  await owner.do("PUT", "/limits", { scope: `key/${made.id}`, allowance: burst(20, 7200) });
  await sleep(1100);
  const more = (await admitted(60, 2)).length;
  // What an isolate leased ahead and did not need is spent for a second.
  assert.ok(more >= 8 && more <= 15, `what was used counts against the new limit: ${more}`);
});

// === signed requests (RFC 9421) ===

const KEYS = generateKeyPairSync("ed25519");

/** Signs a request as an independent client would. */
function signed(keyid, body, { nonce = randomBytes(16).toString("base64url"), created = Math.floor(Date.now() / 1000), path = "/v1/chat/completions" } = {}) {
  const { host } = new URL(house.worker.url);
  const digest = `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
  const covered = '("@method" "@authority" "@path" "@query" "content-digest")';
  const params = `${covered};created=${created};expires=${created + 60};nonce="${nonce}";keyid="${keyid}";tag="gatehouse"`;
  const base = [
    '"@method": POST',
    `"@authority": ${host}`,
    `"@path": ${path}`,
    '"@query": ?',
    `"content-digest": ${digest}`,
    `"@signature-params": ${params}`,
  ].join("\n");
  const signature = sign(null, Buffer.from(base), KEYS.privateKey).toString("base64");
  return { "content-digest": digest, "signature-input": `sig=${params}`, signature: `sig=:${signature}:`, "content-type": "application/json" };
}

test("a signed request is taken once, for the very bytes that were signed", async () => {
  const jwk = KEYS.publicKey.export({ format: "jwk" });
  const made = await owner.do("POST", "/keys", {
    name: "signs",
    scopes: SCOPES,
    must_sign: true,
    public_keys: [{ kid: "k1", alg: "ed25519", key: jwk.x }],
  });
  assertRefused(await chat(made.key), "openai", 401, "invalid_credentials");
  const body = JSON.stringify(question("good"));
  const send = (headers, sent = body) => call(house.worker.url, { path: "/v1/chat/completions", body: sent, headers });
  const headers = signed(`${made.id}/k1`, body);
  const answers = await Promise.all([send(headers), send(headers), send(headers), send(headers)]);
  assert.deepEqual(answers.map((answer) => answer.status).sort(), [200, 409, 409, 409], answers.map((answer) => answer.text).join("\n"));
  assertRefused(await send(headers), "openai", 409, "replayed_request");
  assertRefused(await send(signed(`${made.id}/k1`, body), body.replace("day", "dax")), "openai", 401, "signature_invalid");
  const now = Math.floor(Date.now() / 1000);
  for (const made_at of [now - 400, now + 400]) {
    assertRefused(await send(signed(`${made.id}/k1`, body, { created: made_at })), "openai", 401, "signature_invalid");
  }
  assertRefused(await send(signed(`${made.id}/k2`, body)), "openai", 401, "signature_invalid");
  assertRefused(await send(signed(`${made.id}/k1`, body, { path: "/v1/messages" })), "openai", 401, "signature_invalid");
});

// === what is on record of keys ===

/** Entries about a key that operators did not write, oldest first; they come after the answer, so that it waits for so many. */
async function onRecord(id, count) {
  for (const end = Date.now() + 10_000; ; ) {
    const { entries } = await owner.do("GET", `/audit?target=key&subject=${id}`);
    const told = entries.filter((entry) => entry.actor !== "operator").reverse();
    if (told.length >= count || Date.now() > end) return told;
    await sleep(100);
  }
}

test("first uses of a key's secrets and refusals in its name are in the audit log, once", async () => {
  const made = await owner.do("POST", "/keys", { name: "on record", scopes: SCOPES });
  const firsts = await Promise.all(Array.from({ length: 5 }, () => chat(made.key)));
  assert.deepEqual(firsts.map((answer) => answer.status), [200, 200, 200, 200, 200]);
  assert.equal((await onRecord(made.id, 1)).length, 1);
  const rotated = await owner.do("POST", `/keys/${made.id}/rotate`, { overlap_seconds: 0 });
  await sleep(1100);
  for (let i = 0; i < 3; i += 1) assertRefused(await chat(made.key), "openai", 401, "invalid_credentials");
  assert.equal((await chat(rotated.key)).status, 200);
  await onRecord(made.id, 3);
  await house.worker.restart({ hard: true });
  assertRefused(await chat(made.key), "openai", 401, "invalid_credentials");
  assert.equal((await chat(rotated.key)).status, 200);
  await sleep(500);
  const told = await onRecord(made.id, 3);
  assert.deepEqual(
    told.map((entry) => [entry.action, entry.actor, entry.outcome, entry.what.reason ?? "-"].join(" ")),
    ["key.first_use key ok -", "auth.refuse key invalid_credentials old_secret", "key.first_use key ok -"],
  );
  const requests = firsts.map((answer) => answer.headers["x-request-id"]);
  assert.ok(requests.includes(told[0].request), JSON.stringify(told[0]));
  for (const entry of told) {
    assert.equal(entry.who.subject, made.id);
    assert.ok(entry.who.from);
    for (const key of [made.key, rotated.key]) assert.ok(!JSON.stringify(entry).includes(key.split("_").at(-1)));
  }
});

test("after a hard kill a key is what it was, and a nonce stays spent", async () => {
  const jwk = KEYS.publicKey.export({ format: "jwk" });
  const made = await owner.do("POST", "/keys", { name: "lasting", scopes: SCOPES, public_keys: [{ kid: "k", alg: "ed25519", key: jwk.x }] });
  const gone = await owner.do("POST", "/keys", { name: "gone", scopes: SCOPES });
  await owner.do("DELETE", `/keys/${gone.id}`);
  const body = JSON.stringify(question("good"));
  const nonce = randomBytes(16).toString("base64url");
  const first = await call(house.worker.url, { path: "/v1/chat/completions", body, headers: signed(`${made.id}/k`, body, { nonce }) });
  assert.equal(first.status, 200, first.text);
  await house.worker.restart({ hard: true });
  assert.equal((await chat(made.key)).status, 200);
  assertRefused(await chat(gone.key), "openai", 401, "invalid_credentials");
  const again = await call(house.worker.url, { path: "/v1/chat/completions", body, headers: signed(`${made.id}/k`, body, { nonce }) });
  assertRefused(again, "openai", 409, "replayed_request");
});
