// The keyring: made by itself, rotated under load without a failed request, replaced with its master key; secrets that are
// nowhere to be seen.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { call, question } from "./support/client.mjs";
import { CANARIES } from "./support/config.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";

let house;
let owner;
const vars = { ADMIN_TOKEN };
before(async () => {
  house = await startHouse(
    (provider) => ({
      abuse: { enabled: false },
      providers: [{ name: "stored", kind: "openai", base_url: `${provider.url}/v1`, key: "NO_SUCH_SECRET" }],
      aliases: [{ name: "by-stored", public: true, cache: "never", target: [{ provider: "stored", model: "good:stored" }] }],
    }),
    vars,
  );
  owner = await claimHouse(house.worker);
});
after(() => house?.stop());

const SCOPES = { aliases: ["good"], endpoints: "all", stores: "none" };
const chat = (key, model = "good") =>
  call(house.worker.url, { path: "/v1/chat/completions", json: question(model), headers: { authorization: `Bearer ${key}` } });

test("a rotation under load fails no request, and ends with one active version", async () => {
  const { key } = await owner.do("POST", "/keys", { name: "load", scopes: SCOPES });
  const session = await call(house.worker.url, { path: "/api/session", json: {}, headers: { "sec-fetch-site": "same-origin" } });
  assert.equal(session.status, 200, session.text);
  const cookies = session.headers["set-cookie"].map((cookie) => cookie.split(";")[0]).join("; ");
  const answers = [];
  let running = true;
  const load = Array.from({ length: 6 }, async (_, i) => {
    while (running) {
      const answer =
        i % 2 ? await chat(key) : await call(house.worker.url, { path: "/api/me", headers: { cookie: cookies }, address: `198.18.7.${i}` });
      answers.push(answer);
      if (i % 2 === 0) assert.equal(answer.json().kind, "visitor", answer.text);
      await sleep(20);
    }
  });
  const before = await owner.do("GET", "/keyring");
  const begun = await owner.do("POST", "/keyring/rotate", {});
  assert.equal(begun.step, "begun");
  const early = await owner.call("POST", "/keyring/rotate", {});
  assert.equal(early.status, 409, "not every reader knows the new version yet");
  await sleep(5200);
  const activated = await owner.do("POST", "/keyring/rotate", {});
  assert.equal(activated.step, "activated");
  await owner.do("POST", "/keyring/session", {});
  await sleep(1500);
  running = false;
  await Promise.all(load);
  const failed = answers.filter((answer) => answer.status !== 200);
  assert.equal(failed.length, 0, `${failed.length} of ${answers.length}: ${failed[0]?.text}`);
  assert.ok(answers.length > 50, `${answers.length} requests`);
  const now = await owner.do("GET", "/keyring");
  assert.equal(now.active, before.active + 1);
  assert.equal(now.rewrapped, now.of);
  assert.deepEqual(now.versions.map((version) => version.state), ["decrypt-only", "active"]);
  assert.equal((await chat(key)).status, 200);
});

test("a provider's key that an operator stored is used, and shown nowhere", async () => {
  const secret = "sk-stored-canary-91c3";
  const kept = await owner.do("PUT", "/providers/stored/key", { key: secret });
  assert.ok(!JSON.stringify(kept).includes(secret));
  const told = await owner.do("GET", "/providers");
  assert.ok(!JSON.stringify(told).includes(secret));
  assert.equal(told.providers.find((provider) => provider.name === "stored").stored, true);
  const authorization = async () => {
    const answer = await call(house.worker.url, { path: "/v1/chat/completions", json: question("by-stored") });
    assert.equal(answer.status, 200, answer.text);
    return house.provider.of("good:stored").at(-1).headers.authorization;
  };
  assert.equal(await authorization(), `Bearer ${secret}`);
  await owner.do("DELETE", "/providers/stored/key");
  await sleep(1100);
  assert.equal(await authorization(), undefined);
  assert.ok(!house.worker.output().includes(secret));
});

/** Every byte that was stored. */
function* stored(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* stored(path);
    else yield [path, readFileSync(path)];
  }
}

test("no secret stands in any answer, log line or stored byte", async () => {
  const { key } = await owner.do("POST", "/keys", { name: "canary", scopes: SCOPES });
  await owner.do("PUT", "/providers/stored/key", { key: "sk-stored-canary-2277" });
  await chat(key);
  await house.worker.restart();
  const secrets = [
    ...Object.values(CANARIES),
    ADMIN_TOKEN,
    "sk-stored-canary-2277",
    key.split("_").at(-1).slice(0, 43),
    owner.key.split("_").at(-1).slice(0, 43),
    owner.secret.replaceAll(" ", ""),
    ...owner.recoveryCodes,
    owner.token,
  ];
  for (const [path, bytes] of stored(house.worker.folder)) {
    for (const secret of secrets) assert.ok(!bytes.includes(secret), `${path} holds ${secret.slice(0, 8)}…`);
  }
  for (const secret of secrets) assert.ok(!house.worker.output().includes(secret), `the log holds ${secret.slice(0, 8)}…`);
});

test("an emergency rotation voids every session at once and keeps API keys", async () => {
  const { key } = await owner.do("POST", "/keys", { name: "survivor", scopes: SCOPES });
  const session = await call(house.worker.url, { path: "/api/session", json: {}, headers: { "sec-fetch-site": "same-origin" } });
  const cookies = session.headers["set-cookie"].map((cookie) => cookie.split(";")[0]).join("; ");
  const me = () => call(house.worker.url, { path: "/api/me", headers: { cookie: cookies } });
  assert.equal((await me()).json().kind, "visitor");
  await owner.do("POST", "/keyring/emergency", {});
  await sleep(1100);
  assert.equal((await me()).json().kind, "anonymous");
  assert.equal((await chat(key)).status, 200);
  const now = await owner.do("GET", "/keyring");
  assert.equal(now.floor, now.active);
});

test("with another master key and the old one beside it everything is wrapped anew; with neither nothing opens", async () => {
  const other = await startHouse({ abuse: { enabled: false } }, vars);
  try {
    const operator = await claimHouse(other.worker);
    const { key } = await operator.do("POST", "/keys", { name: "k", scopes: SCOPES });
    const ask = () => call(other.worker.url, { path: "/v1/chat/completions", json: question("good"), headers: { authorization: `Bearer ${key}` } });
    assert.equal((await ask()).status, 200);
    const next = randomBytes(32).toString("base64url");
    await other.worker.restart({ vars: { ...vars, MASTER_KEY: next } });
    assertRefused(await ask(), "openai", 503, "keyring_unavailable");
    await other.worker.restart({ vars: { ...vars, MASTER_KEY: next, MASTER_KEY_PREVIOUS: CANARIES.MASTER_KEY } });
    assert.equal((await ask()).status, 200);
    assert.match((await operator.do("GET", "/keyring")).warnings.join(), /MASTER_KEY_PREVIOUS/);
    await operator.do("POST", "/keyring/rotate", {});
    await sleep(5200);
    await operator.do("POST", "/keyring/rotate", {});
    assert.deepEqual((await operator.do("GET", "/keyring")).warnings, []);
    await other.worker.restart({ vars: { ...vars, MASTER_KEY: next } });
    assert.equal((await ask()).status, 200, "the old one is needed no more");
  } finally {
    await other.stop();
  }
});
