// Visitors' sessions in workerd: cookies and tokens, site keys, proofs, the end of a session, and what is kept of a visitor.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { call, leaks, question, secretsIn } from "./support/client.mjs";
import { config, TURNSTILE_SECRET } from "./support/config.mjs";
import { startProvider } from "./support/fake-provider.mjs";
import { assertDressed, assertRefused } from "./support/house.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";
import { blobs, form } from "./support/visitor.mjs";
import { startWorker } from "./support/worker.mjs";

// The same after a restart, when the port is another one.
const HOUSE = "http://house.localhost";
const host = "house.localhost";
const PAGE = "https://page.example";
const OTHER = "https://other.example";
const BITS = 10;

let provider;
let siteverify;
let worker;
let house;
let owner;
let apiKey;

before(async () => {
  provider = await startProvider();
  siteverify = await startSiteverify();
  const settings = {
    ...config(provider, {
      server: { allowed_origins: [OTHER] },
      aliases: [{ name: "guarded", public: true, session: true, target: [{ provider: "openai", model: "good" }] }],
    }),
    session: { ttl_seconds: 600, work_bits: BITS, turnstile_site_key: "1x00000000000000000000AA" },
    tenant: [{ name: "acme", hosts: ["acme.localhost"] }],
  };
  worker = await startWorker(settings, { ADMIN_TOKEN, TURNSTILE_SECRET, TURNSTILE_URL: siteverify.url });
  house = { worker };
  owner = await claimHouse(worker, { host });
  const scopes = { aliases: "all", endpoints: "all", stores: "write" };
  apiKey = await owner.do("POST", "/keys", { name: "program", scopes });
});

after(async () => {
  await worker?.stop();
  siteverify?.stop();
  await provider?.stop();
});

/** Cloudflare's side of Turnstile: what is put into `next` is the answer to the next verification. */
async function startSiteverify() {
  const asked = [];
  const next = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    asked.push({ path: request.url, type: request.headers["content-type"], form: new URLSearchParams(Buffer.concat(parts).toString()) });
    const answer = next.shift();
    if (typeof answer === "function") return answer(response);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}/siteverify`;
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url, asked, next, stop };
}

let networks = 0;

/** A page in a browser: of the house's own origin with a cookie jar, or of another with a token. */
function page(origin = HOUSE) {
  const own = origin === HOUSE;
  const self = { cookies: new Map(), token: undefined, address: `100.81.${(networks += 1)}.1` };
  self.ask = async (path, { headers, ...options } = {}) => {
    const sent = {
      host,
      origin: own && (options.method ?? "GET") === "GET" && options.json === undefined && options.body === undefined ? undefined : origin,
      "sec-fetch-site": own ? "same-origin" : "cross-site",
      authorization: self.token && `Bearer ${self.token}`,
      cookie: own && self.cookies.size > 0 ? [...self.cookies].map((pair) => pair.join("=")).join("; ") : undefined,
      ...headers,
    };
    const answer = await call(worker.url, { path, address: self.address, ...options, headers: sent });
    for (const cookie of answer.headers["set-cookie"] ?? []) {
      const [, name, value, more] = /^([^=]+)=([^;]*); (.*)$/.exec(cookie);
      if (/Max-Age=0;/.test(more)) self.cookies.delete(name);
      else self.cookies.set(name, value);
    }
    return answer;
  };
  self.begin = async (json = {}) => {
    const answer = await self.ask("/api/session", { json });
    assert.equal(answer.status, 200, answer.text);
    self.token = answer.json().token;
    return answer.json();
  };
  self.me = async () => (await self.ask("/api/me")).json();
  self.upload = () => self.ask("/v1/files", form("the content of a session's test"));
  return self;
}

const solve = (challenge, bits) => {
  for (let n = 0; ; n += 1) {
    const digest = createHash("sha256").update(`${challenge}.${n}`).digest();
    if (Math.clz32(digest.readUInt32BE()) >= bits) return String(n);
  }
};

const problem = (answer, status, code) => assertRefused(answer, "problem", status, code);

// === the own origin ===

test("a page of the own origin gets two cookies and is that visitor from then on", async () => {
  const own = page();
  assert.equal((await own.me()).kind, "anonymous");
  const made = await own.ask("/api/session", { json: {} });
  assert.equal(made.status, 200, made.text);
  assertDressed(made);
  assert.equal(made.json().token, undefined);
  const cookies = made.headers["set-cookie"].sort();
  assert.match(cookies[0], /^gatehouse-session=ey[\w-]+\.[\w-]+\.[\w-]+; Path=\/; Max-Age=600; HttpOnly; SameSite=Strict$/);
  assert.match(cookies[1], /^gatehouse=ey[\w-]+\.[\w-]+\.[\w-]+; Path=\/; Max-Age=2592000; HttpOnly; SameSite=Strict$/);
  const me = await own.me();
  assert.deepEqual([me.kind, me.id, me.session.origin], ["visitor", made.json().visitor, HOUSE]);
});

test("an alias can be for those in a session alone", async () => {
  const own = page();
  const ask = () => own.ask("/v1/chat/completions", { json: question("guarded") });
  assertRefused(await ask(), "openai", 401, "session_required");
  await own.begin();
  assert.equal((await ask()).status, 200);
  own.cookies.delete("gatehouse-session");
  assertRefused(await ask(), "openai", 401, "session_required");
});

// === other origins ===

test("a page of another origin gets a token, no cookie, and is bound to its origin", async () => {
  const { id } = await owner.do("POST", "/site-keys", { name: "page", origins: [PAGE] });
  const preflight = await call(worker.url, {
    method: "OPTIONS",
    path: "/api/session",
    headers: { host, origin: PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" },
  });
  assert.equal(preflight.headers["access-control-allow-origin"], PAGE);
  assert.equal(preflight.headers["access-control-allow-headers"], "authorization, content-type");
  assert.match(preflight.headers["access-control-allow-methods"], /DELETE/);

  const other = page(PAGE);
  const made = await other.ask("/api/session", { json: { site_key: id } });
  assert.equal(made.status, 200, made.text);
  assert.equal(made.headers["set-cookie"], undefined);
  assert.equal(made.headers["access-control-allow-origin"], PAGE);
  assert.equal(made.headers["access-control-allow-credentials"], undefined);
  other.token = made.json().token;
  assert.equal((await other.me()).id, made.json().visitor);
  assert.equal((await other.ask("/v1/chat/completions", { json: question("guarded") })).status, 200);

  const thief = page(OTHER);
  thief.token = other.token;
  problem(await thief.ask("/api/me"), 401, "invalid_credentials");
  for (const site_key of [id, "pk_tst_0000000000000000"]) problem(await page(OTHER).ask("/api/session", { json: { site_key } }), 403, "origin_not_allowed");
  problem(await page(PAGE).ask("/api/session", { json: {} }), 400, "missing_parameter");
});

test("whatever is wrong with a token, the refusal says the same", async () => {
  const other = page(OTHER);
  await other.begin();
  const [head, claims, mac] = other.token.split(".");
  const none = Buffer.from('{"alg":"none","typ":"session+jwt"}').toString("base64url");
  const tokens = [`${head}.${claims}.${mac.replace(/^./, (c) => (c === "A" ? "B" : "A"))}`, `${none}.${claims}.`, `${none}.${claims}.AA`, "a.b.c"];
  const bodies = [];
  for (other.token of tokens) {
    const answer = await other.ask("/api/me");
    problem(answer, 401, "invalid_credentials");
    bodies.push(answer.text.replace(answer.headers["x-request-id"], ""));
  }
  assert.equal(new Set(bodies).size, 1, bodies.join("\n"));
});

test("another tenant's house does not know the token", async () => {
  const program = page();
  const { visitor } = await program.begin();
  const token = program.cookies.get("gatehouse-session");
  const at = (name, bearer = token) => call(worker.url, { path: "/api/me", headers: { host: name, authorization: `Bearer ${bearer}` } });
  assert.equal((await at(host)).json().id, visitor);
  const [known, unknown] = [await at("acme.localhost"), await at("acme.localhost", "a.b.c")];
  problem(known, 401, "invalid_credentials");
  const body = (answer) => answer.text.replace(answer.headers["x-request-id"], "");
  assert.equal(body(known), body(unknown));
});

// === proofs ===

test("of many answers to one puzzle exactly one makes a session", async () => {
  const { id: site_key } = await owner.do("POST", "/site-keys", { name: "work", origins: [PAGE], proof: "work" });
  const terms = (await page(PAGE).ask(`/api/session?site_key=${site_key}`)).json();
  assert.deepEqual([terms.proof, terms.bits], ["work", BITS]);
  problem(await page(PAGE).ask("/api/session", { json: { site_key } }), 400, "missing_parameter");
  const answer = { site_key, challenge: terms.challenge, nonce: solve(terms.challenge, BITS) };
  const wrong = { ...answer, nonce: "wrong" };
  problem(await page(PAGE).ask("/api/session", { json: wrong }), 403, "challenge_failed");
  // Each from a network of its own, all with one request id.
  const tries = Array.from({ length: 12 }, () => page(PAGE).ask("/api/session", { json: answer, headers: { "x-request-id": "req_same_for_all" } }));
  const statuses = (await Promise.all(tries)).map(({ status }) => status).sort();
  assert.deepEqual(statuses, [200, ...Array(11).fill(403)]);
});

test("Turnstile is asked at the server, without following it elsewhere", async () => {
  const { id: site_key } = await owner.do("POST", "/site-keys", { name: "turnstile", origins: [PAGE], proof: "turnstile" });
  const terms = (await page(PAGE).ask(`/api/session?site_key=${site_key}`)).json();
  assert.deepEqual([terms.proof, terms.turnstile_site_key], ["turnstile", "1x00000000000000000000AA"]);
  const good = () => ({ success: true, hostname: "page.example", action: "session", challenge_ts: new Date().toISOString(), "error-codes": [] });
  const send = (turnstile, visitor = page(PAGE)) => visitor.ask("/api/session", { json: { site_key, turnstile } });

  siteverify.next.push(good());
  const visitor = page(PAGE);
  const made = await send("token-1", visitor);
  assert.equal(made.status, 200, made.text);
  const { path, type, form: sent } = siteverify.asked.at(-1);
  assert.deepEqual([path, type], ["/siteverify", "application/x-www-form-urlencoded"]);
  assert.deepEqual([sent.get("secret"), sent.get("response"), sent.get("remoteip")], [TURNSTILE_SECRET, "token-1", visitor.address]);
  assert.match(sent.get("idempotency_key"), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);

  siteverify.next.push(good());
  problem(await send("token-1"), 403, "challenge_failed");
  const refusals = [
    [{ ...good(), success: false, "error-codes": ["timeout-or-duplicate"] }, 403, "challenge_failed"],
    [{ ...good(), hostname: "other.example" }, 403, "challenge_failed"],
    [{ ...good(), action: "login" }, 403, "challenge_failed"],
    [{ ...good(), challenge_ts: "2020-01-01T00:00:00Z" }, 403, "challenge_failed"],
    [{ success: false, "error-codes": ["invalid-input-secret"] }, 503, "setup_required"],
    [(response) => response.writeHead(302, { location: siteverify.url }).end(), 502, "upstream_error"],
    [(response) => response.writeHead(500).end(), 502, "upstream_error"],
    [(response) => response.writeHead(200).end("<html>"), 502, "upstream_error"],
    [(response) => response.socket.destroy(), 502, "upstream_error"],
    // Nothing comes: the Worker gives up by itself.
    [() => {}, 502, "upstream_error"],
  ];
  for (const [at, [answer, status, code]] of refusals.entries()) {
    const before = siteverify.asked.length;
    siteverify.next.push(answer);
    problem(await send(`refused-${at}`), status, code);
    assert.equal(siteverify.asked.length, before + 1, "asked once, and nobody else");
  }
});

// === the end ===

test("an ended token is refused at once, and by a Worker that starts anew", async () => {
  const [ended, stays] = [page(OTHER), page(OTHER)];
  await ended.begin();
  await stays.begin();
  const done = await ended.ask("/api/session", { method: "DELETE" });
  assert.equal(done.status, 204, done.text);
  const refused = async () => {
    problem(await ended.ask("/api/me"), 401, "invalid_credentials");
    assertRefused(await ended.ask("/v1/files"), "openai", 401, "invalid_credentials");
    assert.equal((await stays.me()).kind, "visitor");
  };
  await refused();
  await worker.restart();
  await refused();
});

test("an ended session's cookie names the visitor only beside the visitor's own", async () => {
  const own = page();
  const { visitor } = await own.begin();
  const session = own.cookies.get("gatehouse-session");
  problem(await own.ask("/api/session", { method: "DELETE", headers: { origin: OTHER, "sec-fetch-site": "cross-site" } }), 403, "cross_site_refused");
  assert.equal((await own.ask("/api/session", { method: "DELETE" })).status, 204);
  assert.equal(own.cookies.has("gatehouse-session"), false);
  own.cookies.set("gatehouse-session", session);
  const me = await own.me();
  assert.deepEqual([me.id, me.session], [visitor, null]);
  own.cookies.delete("gatehouse");
  assert.equal((await own.me()).kind, "anonymous");
});

// === what is kept of a visitor ===

test("an export lists what is kept, an erasure leaves nothing of it, and the log stays whole", async () => {
  const own = page();
  const { visitor } = await own.begin();
  const others = new Set(blobs(house));
  const stored = await own.upload();
  assert.equal(stored.status, 200, stored.text);
  const ofDocument = blobs(house).filter((file) => !others.has(file));
  assert.ok(ofDocument.length > 0);
  const answer = await own.ask("/v1/responses", { json: { model: "good", input: "Remember 4711.", store: true } });
  assert.equal(answer.status, 200, answer.text);
  const answerPath = `/v1/responses/${answer.json().id}`;
  assert.equal((await own.ask(answerPath)).status, 200);
  const block = await owner.do("POST", "/blocks", { visitor, seconds: 3600, reason: "Mr Smith of Baker Street" });
  await owner.do("DELETE", `/blocks/${block.id}`);
  const inLog = async (word) => JSON.stringify((await owner.do("GET", "/audit")).entries).includes(word);
  assert.deepEqual([await inLog(visitor), await inLog("Baker Street")], [true, true]);
  const exported = await own.ask("/api/me/export");
  assert.equal(exported.headers["content-disposition"], 'attachment; filename="gatehouse-export.json"');
  assert.deepEqual([exported.json().me.id, exported.json().documents.map(({ id }) => id)], [visitor, [stored.json().id]]);
  assert.equal((await own.ask("/api/me/usage")).status, 200);

  const checkpoint = await owner.do("GET", "/audit/checkpoint");
  const cookies = new Map(own.cookies);
  const erased = await own.ask("/api/me/erase", { json: {} });
  assert.deepEqual([erased.status, erased.json()], [200, { erased: true, documents: 1 }], erased.text);
  assert.equal(own.cookies.size, 0);
  const left = new Set(blobs(house));
  assert.deepEqual(
    ofDocument.filter((file) => left.has(file)),
    [],
  );
  assert.match(checkpoint, /^gatehouse\/default\n/);
  const { verdict } = await owner.do("POST", "/audit/verify", { checkpoint });
  assert.equal(verdict, "consistent", "the erasure changed nothing that was signed before");
  assert.deepEqual([await inLog(visitor), await inLog("Baker Street")], [false, false]);
  own.cookies = cookies;
  assert.equal((await own.me()).kind, "anonymous");
  assert.deepEqual((await own.ask("/v1/files")).json().data, []);
  assert.equal((await own.ask(answerPath)).status, 404);
  problem(await own.ask("/api/me/erase", { json: {} }), 401, "session_required");
});

test("an API key needs no session and gets none", async () => {
  const { key } = apiKey;
  const program = (path, options) => call(worker.url, { path, ...options, headers: { host, authorization: `Bearer ${key}` } });
  const me = (await program("/api/me")).json();
  assert.deepEqual([me.kind, key.includes(me.id)], ["key", true]);
  assert.equal((await program("/v1/chat/completions", { json: question("guarded") })).status, 200);
  problem(await program("/api/session", { json: {} }), 403, "forbidden");
  problem(await program("/api/me/erase", { json: {} }), 403, "forbidden");
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(worker.output()), []);
});
