// Limits: exact under load, by address and network, across restarts; lists and countries; idle objects.

import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { call, leaks, prompt, question, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { until } from "./support/wait.mjs";

// An hour's windows: nothing comes back while a test runs.
const HOUR = 3600;
const CLIENT = 20;
const NETWORK = 50;

let house;
let url;
before(async () => {
  house = await startHouse({
    limits: {
      chat: {
        burst: { requests: CLIENT, seconds: HOUR },
        sustained: { requests: 1000, seconds: HOUR },
        network_burst: { requests: NETWORK, seconds: HOUR },
        network_sustained: { requests: 1000, seconds: HOUR },
      },
      embeddings: { burst: { requests: 1000, seconds: HOUR }, sustained: { requests: CLIENT, seconds: HOUR } },
      read: { burst: { requests: 2, seconds: 4 }, sustained: { requests: 100, seconds: 5 } },
    },
    // Three hundred at once may take their time: nothing here is about deadlines.
    aliases: [{ name: "patient", public: true, deadlines: { first_token_ms: 30_000, idle_ms: 30_000, total_ms: 60_000 }, target: [{ provider: "openai", model: "good" }] }],
    access: {
      allow: ["203.0.113.7", "2001:db8:bad:1::/64"],
      deny: ["203.0.113.0/24", "2001:db8:bad::/48"],
      deny_countries: ["KP"],
    },
  });
  url = house.worker.url;
});
after(() => house?.stop());

const chat = (address, headers) => call(url, { path: "/v1/chat/completions", json: question("patient"), address, headers });
const embed = (address) => call(url, { path: "/v1/embeddings", json: { model: "embed", input: "x" }, address, headers: { "cache-control": "no-store" } });
const models = (address) => call(url, { path: "/v1/models", address });

/** How many of the requests were admitted; every other one must be a refusal by the limits. */
async function admitted(requests) {
  const answers = await Promise.all(requests);
  for (const answer of answers.filter((answer) => answer.status !== 200)) assertRefused(answer, "openai", 429, "rate_limited");
  return answers.filter((answer) => answer.status === 200).length;
}

const many = (count, make) => Array.from({ length: count }, (_, i) => make(i));

test("of 300 requests at once from one address exactly the burst is admitted", async () => {
  const before = house.provider.of("good").length;
  assert.equal(await admitted(many(300, () => chat("198.51.100.1"))), CLIENT);
  assert.equal(house.provider.of("good").length - before, CLIENT, "and no more reached the provider");
  assert.equal(await admitted(many(5, () => chat("198.51.100.2"))), 5, "a neighbour has an allowance of its own");
});

test("the sustained window is as exact as the burst", async () => {
  assert.equal(await admitted(many(100, () => embed("198.51.101.1"))), CLIENT);
});

test("all addresses of one /64 are one client", async () => {
  assert.equal(await admitted(many(100, (i) => chat(`2001:db8:1:1::${(i + 1).toString(16)}`))), CLIENT);
});

test("all clients of one network share its allowance", async () => {
  assert.equal(await admitted(many(150, (i) => chat(`2001:db8:2:${(i % 30).toString(16)}::1`))), NETWORK);
  assert.equal(await admitted(many(150, (i) => chat(`192.0.2.${i % 30}`))), NETWORK);
  assert.equal(await admitted([chat("2001:db8:3:1::1")]), 1, "the next network has its own");
});

test("an address in another spelling is the same client", async () => {
  const spellings = ["2001:db8:4:1::1", "2001:0DB8:0004:0001:0000:0000:0000:0001", "2001:db8:4:1:ffff::9"];
  assert.equal(await admitted(many(60, (i) => chat(spellings[i % 3]))), CLIENT);
  assert.equal(await admitted(many(40, (i) => chat(i % 2 ? "198.51.102.9" : "::ffff:198.51.102.9"))), CLIENT);
});

test("what is not exactly one address shares one allowance", async () => {
  const odd = ["nonsense", "1.2.3.4, 5.6.7.8", "1.2.3.4:80", "300.1.1.1", "[2001:db8::1]", "1.2.3", "01.2.3.4", "a".repeat(300)];
  assert.equal(await admitted(many(80, (i) => chat(odd[i % odd.length]))), CLIENT);
});

test("no other header moves a client to another allowance", async () => {
  const other = (i) => ({ "x-forwarded-for": `10.0.0.${i}`, "x-real-ip": `10.0.0.${i}`, "true-client-ip": `10.0.0.${i}`, forwarded: `for=10.0.0.${i}` });
  assert.equal(await admitted(many(60, (i) => chat("198.51.103.1", other(i)))), CLIENT);
});

test("every answer tells what is left, a refusal also how long to wait", async () => {
  const first = await chat("198.51.104.1");
  assert.match(first.headers["ratelimit-policy"], /^"burst";q=20;w=3600, "sustained";q=1000;w=3600$/);
  assert.match(first.headers.ratelimit, /^"burst";r=19;t=\d+, "sustained";r=999;t=\d+$/);
  assert.deepEqual([first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]], ["20", "19"]);
  assert.match(first.headers["x-ratelimit-reset"], /^\d+$/);
  await Promise.all(many(19, () => chat("198.51.104.1")));
  const refused = await chat("198.51.104.1");
  assertRefused(refused, "openai", 429, "rate_limited");
  assert.match(refused.headers.ratelimit, /^"burst";r=0;t=\d+/);
  assert.equal(refused.headers["x-ratelimit-remaining"], "0");
  // One of twenty in an hour comes back every 180 seconds.
  const seconds = Number(refused.headers["retry-after"]);
  assert.ok(seconds > 100 && seconds <= 180, String(seconds));
  const ms = Number(refused.headers["retry-after-ms"]);
  assert.ok(ms <= seconds * 1000 && ms > (seconds - 1) * 1000);
  assert.equal(refused.headers["x-should-retry"], "false", "SDKs would not wait that long");
  assert.equal(refused.json().error.gatehouse.retry_after_ms, ms);
  const anthropic = await call(url, { path: "/v1/messages", json: prompt("claude-good"), address: "198.51.104.1" });
  assertRefused(anthropic, "anthropic", 429, "rate_limited");
  assert.equal(anthropic.json().error.type, "rate_limit_error");
});

test("a retry after exactly the time that was named succeeds", async () => {
  for (const header of ["retry-after-ms", "retry-after"]) {
    const address = header === "retry-after" ? "198.51.105.1" : "198.51.105.2";
    assert.equal(await admitted([models(address), models(address)]), 2);
    const refused = await models(address);
    assertRefused(refused, "openai", 429, "rate_limited");
    const ms = Number(refused.headers[header]) * (header === "retry-after" ? 1000 : 1);
    assert.ok(ms > 0 && ms <= 2000, String(ms));
    await new Promise((resolve) => setTimeout(resolve, ms));
    assert.equal((await models(address)).status, 200, header);
  }
});

test("a request that is refused for another reason costs nothing", async () => {
  const address = "198.51.106.1";
  for (const json of [question("nobody"), question("private"), question("good", { temperature: 9 })]) {
    assert.notEqual((await call(url, { path: "/v1/chat/completions", json, address })).status, 200);
  }
  assert.equal((await chat(address)).headers["x-ratelimit-remaining"], "19");
});

// === lists ===

test("a denied network is refused everywhere, an allowed address inside it is not", async () => {
  for (const address of ["203.0.113.1", "203.0.113.255", "2001:db8:bad:2::1", "::ffff:203.0.113.1"]) {
    assertRefused(await models(address), "openai", 403, "address_denied");
    assertRefused(await chat(address), "openai", 403, "address_denied");
  }
  for (const address of ["203.0.113.7", "2001:db8:bad:1::5", "203.0.114.1"]) assert.equal((await chat(address)).status, 200, address);
});

test("a denied country is refused, by the page form too, and the caller's own word on it does not count", async () => {
  const at = (country, options) => call(url, { path: "/v1/models", address: "198.51.107.1", country, ...options });
  assertRefused(await at("KP"), "openai", 403, "country_denied");
  assertRefused(await at("KP", { headers: { "cf-ipcountry": "DE" } }), "openai", 403, "country_denied");
  const form = { path: "/ask", body: "question=x", headers: { "content-type": "application/x-www-form-urlencoded" } };
  assertRefused(await at("KP", form), "page", 403, "country_denied");
  assert.equal((await at("DE")).status, 200);
});

test("health needs no allowance", async () => {
  for (let i = 0; i < 5; i += 1) {
    const answer = await call(url, { path: "/healthz", address: "203.0.113.1" });
    assert.equal(answer.status, 200);
    assertDressed(answer);
  }
});

// === durability ===

/**
 * Whether a database holds a row. An object that deletes itself takes its file away at any moment, and a database
 * whose writer is just closing cannot be opened to read: a file that is gone holds nothing, another is tried again.
 */
async function holdsRow(file) {
  for (let attempt = 1; existsSync(file); attempt += 1) {
    let database;
    try {
      database = new DatabaseSync(file, { readOnly: true, timeout: 2000 });
      const table = database.prepare("SELECT name FROM sqlite_master WHERE name = 'rows'").get();
      return table !== undefined && database.prepare("SELECT key FROM rows LIMIT 1").get() !== undefined;
    } catch (error) {
      if (attempt === 50) throw error;
      await sleep(100);
    } finally {
      database?.close();
    }
  }
  return false;
}

/** How many Limiter objects hold a row: each has a database of its own. */
async function occupied() {
  const objects = join(house.worker.folder, "v3/do");
  const folder = join(objects, readdirSync(objects).find((name) => name.endsWith("-Limiter")));
  const files = readdirSync(folder).filter((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"));
  let count = 0;
  for (const file of files) if (await holdsRow(join(folder, file))) count += 1;
  return count;
}

test("an object whose windows are over deletes itself", async () => {
  // Only reads, whose windows are five seconds long.
  assert.equal((await models("100.64.9.1")).status, 200);
  const before = await occupied();
  assert.ok(before > 0);
  await until(async () => (await occupied()) < before, "an idle object to go", 25_000);
});

test("a restart in the middle of the load never grants more than the policy", async () => {
  const [killed, address] = ["198.51.108.1", "198.51.109.1"];
  const before = house.provider.of("good").length;
  const first = await admitted(many(12, () => chat(address)));
  assert.equal(first, 12);
  const under = many(100, () => chat(killed).catch(() => undefined));
  // Some are answered, most are on their way.
  await until(() => house.provider.of("good").length > before + 15, "a few requests to pass");
  await house.worker.restart({ hard: true });
  url = house.worker.url;
  await Promise.all(under);
  const later = await admitted(many(40, () => chat(address)));
  assert.ok(first + later <= CLIENT, `${first} and ${later}`);
  await admitted(many(40, () => chat(killed)));
  const reached = house.provider.of("good").length - before;
  assert.ok(reached <= 2 * CLIENT, `${reached} requests reached the provider`);
  assert.equal(await admitted(many(30, () => chat("198.51.100.1"))), 0, "what was spent stays spent");
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
