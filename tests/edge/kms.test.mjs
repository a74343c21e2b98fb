// A keyring that an external key management service wraps, over real HTTP: with it the house works, without it nothing opens
// that is not open already, and whatever it answers wrongly is refused and leaves everything as it was.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { call, question } from "./support/client.mjs";
import { assertRefused, codeOf, startHouse } from "./support/house.mjs";
import { BAD, KMS_TOKEN, startKms } from "./support/kms.mjs";
import { withObjects } from "./support/objects.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";
import { until } from "./support/wait.mjs";

const VARS = { ADMIN_TOKEN, KMS_TOKEN };
const SCOPES = { aliases: ["good"], endpoints: "all", stores: "none" };

let kms;
let house;
before(async () => {
  kms = await startKms();
  house = await startHouse({ abuse: { enabled: false }, keyring: { kms_url: kms.url } }, VARS);
});
after(async () => {
  await house?.stop();
  await kms?.stop();
});

/** What takes a keyring, each in its own way. */
const session = () => call(house.worker.url, { path: "/api/session", json: {}, headers: { "sec-fetch-site": "same-origin" } });
const chat = (key) => call(house.worker.url, { path: "/v1/chat/completions", json: question("good"), headers: { authorization: `Bearer ${key}` } });

/** The stored rows of the keyring, as they are while nothing runs; the Worker starts anew. */
async function ring(of = house) {
  let rows = [];
  await of.worker.restart({
    meanwhile: () => withObjects(of, "Keyring", (database) => (rows = database.prepare("SELECT key, value FROM rows ORDER BY key").all())),
  });
  return rows;
}

test("no keyring is made as long as the service answers wrongly, and the first right answer makes one", async () => {
  for (const manner of BAD) {
    kms.manner = manner;
    const refused = await session();
    assert.equal(refused.status, 503, `${manner}: ${refused.text}`);
    assertRefused(refused, "problem", 503, "keyring_unavailable");
    assert.equal(refused.headers["retry-after"], "2", manner);
  }
  assert.ok(!kms.calls.some((path) => path.startsWith("/moved")), "no redirect is followed");
  kms.manner = "good";
  await kms.down();
  assertRefused(await session(), "problem", 503, "keyring_unavailable");
  assert.equal((await call(house.worker.url, { path: "/healthz" })).status, 200);
  assert.deepEqual(await ring(), [], "nothing is stored of what could not be opened again");
  await kms.up();
  const begun = await until(async () => {
    const answer = await session();
    return answer.status === 200 && answer;
  }, "the service to be found again");
  assert.ok(begun.json().visitor);
});

let owner;
let key;
test("with the service the house works, and its keyring is wrapped by it", async () => {
  owner = await claimHouse(house.worker);
  ({ key } = await owner.do("POST", "/keys", { name: "k", scopes: SCOPES }));
  assert.equal((await chat(key)).status, 200);
  const told = await owner.do("GET", "/keyring");
  assert.equal(told.wrapped_by, "kms");
  assert.deepEqual(told.warnings, []);
  const rows = JSON.stringify(await ring());
  assert.match(rows, /kms:test\/1/);
  assert.equal((await chat(key)).status, 200, "and after a cold start");
});

test("a service that is down keeps nobody from going on who has the keyring, and whoever starts is refused until it is back", async () => {
  assert.equal((await chat(key)).status, 200);
  await kms.down();
  assert.equal((await chat(key)).status, 200, "the isolate has the keyring");
  const rows = await ring();
  // A cold start.
  assertRefused(await chat(key), "openai", 503, "keyring_unavailable");
  assertRefused(await session(), "problem", 503, "keyring_unavailable");
  for (const [method, path] of [
    ["POST", "/keys"],
    ["POST", "/keyring/rotate"],
    ["GET", "/keyring"],
    ["GET", "/audit"],
  ]) {
    const refused = await owner.call(method, path, { name: "x", scopes: SCOPES });
    assert.ok(refused.status >= 400, `${method} ${path}: ${refused.text}`);
    assert.match(codeOf(refused), /^(keyring_unavailable|second_factor_required|invalid_parameter|forbidden)$/);
  }
  assert.equal((await call(house.worker.url, { path: "/healthz" })).status, 200);
  assert.deepEqual(await ring(), rows, "the keyring is as it was");
  await kms.up();
  await until(async () => (await chat(key)).status === 200, "the key to work again");
  assert.equal((await session()).status, 200);
  assert.equal((await owner.do("GET", "/keyring")).versions.length, 1);
});

test("whatever is wrong with an unwrapped key, a cold start refuses and recovers", async () => {
  const rows = await ring();
  for (const manner of BAD) {
    kms.manner = manner;
    const began = Date.now();
    const refused = await chat(key);
    assert.equal(refused.status, 503, `${manner}: ${refused.text}`);
    assertRefused(refused, "openai", 503, "keyring_unavailable");
    const took = Date.now() - began;
    assert.ok(manner === "slow" ? took > 9000 && took < 12_500 : took < 5000, `${manner}: ${took} ms`);
  }
  kms.manner = "good";
  assert.equal((await chat(key)).status, 200);
  assert.deepEqual(await ring(), rows);
  assert.ok(!kms.calls.some((path) => path.startsWith("/moved")), "no redirect is followed");
});

test("a rotation that the service does not carry through is refused and begins nothing; with it the house goes on", async () => {
  const before = await owner.do("GET", "/keyring");
  for (const manner of BAD) {
    kms.manner = manner;
    const refused = await owner.do("POST", "/keyring/rotate", {}, [503]);
    assert.equal(refused.code, "keyring_unavailable", `${manner}: ${JSON.stringify(refused)}`);
    assert.equal((await chat(key)).status, 200, manner);
  }
  kms.manner = "good";
  const after = await owner.do("GET", "/keyring");
  assert.deepEqual([after.versions.length, after.revision], [before.versions.length, before.revision]);
  assert.equal((await owner.do("POST", "/keyring/rotate", {})).step, "begun");
  await pause(5200);
  assert.equal((await owner.do("POST", "/keyring/rotate", {})).step, "activated");
  assert.equal((await owner.do("GET", "/keyring")).active, before.active + 1);
  await ring();
  assert.equal((await chat(key)).status, 200);
});

test("a keyring under MASTER_KEY goes over to the service, and wrong answers leave it where it is", async () => {
  const local = await startHouse({ abuse: { enabled: false } }, VARS);
  try {
    const its = await claimHouse(local.worker);
    const mine = (await its.do("POST", "/keys", { name: "k", scopes: SCOPES })).key;
    const works = async () => (await call(local.worker.url, { path: "/v1/chat/completions", json: question("good"), headers: { authorization: `Bearer ${mine}` } })).status === 200;
    assert.ok(await works());
    const settings = local.settings({ abuse: { enabled: false }, keyring: { kms_url: kms.url } });
    await local.worker.restart({ next: settings });
    const cron = async () => assert.equal((await call(local.worker.url, { path: "/cdn-cgi/handler/scheduled" })).status, 200);
    kms.manner = "wrong";
    await cron();
    assert.match((await its.do("GET", "/keyring")).warnings.join(), /another master key or service/);
    assert.ok(await works());
    await local.worker.restart({ next: settings });
    assert.ok(await works(), "it opens with MASTER_KEY as before");
    kms.manner = "good";
    await cron();
    assert.deepEqual((await its.do("GET", "/keyring")).warnings, []);
    assert.match(JSON.stringify(await ringWith(local, settings)), /kms:test\/1/);
    assert.ok(await works());
  } finally {
    kms.manner = "good";
    await local.stop();
  }
});

async function ringWith(of, settings) {
  let rows = [];
  await of.worker.restart({
    next: settings,
    meanwhile: () => withObjects(of, "Keyring", (database) => (rows = database.prepare("SELECT value FROM rows").all())),
  });
  return rows;
}

test("the service's token stands in no log line", () => {
  assert.ok(!house.worker.output().includes(KMS_TOKEN));
});
