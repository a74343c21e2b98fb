// The audit log in the real Worker: it grows, proves itself, and shows whatever is done to it.

import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { after, before, test } from "node:test";

import { startHouse } from "./support/house.mjs";
import { withObjects } from "./support/objects.mjs";
import { ADMIN_TOKEN, claimHouse, invited } from "./support/operator.mjs";
import { until } from "./support/wait.mjs";

let house;
let owner;
before(async () => {
  house = await startHouse({ abuse: { enabled: false } }, { ADMIN_TOKEN });
  owner = await claimHouse(house.worker);
});
after(() => house?.stop());

const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const leafHash = (entry) => sha256(Buffer.from([0]), entry);
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);

/** RFC 6962 §2.1, straight from its definition. */
function root(leaves) {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return leaves[0];
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(root(leaves.slice(0, split)), root(leaves.slice(split)));
}

/** Size, root and signature of a checkpoint, verified with the key that the log names. */
async function checkpoint(operator) {
  const text = await operator.do("GET", "/audit/checkpoint");
  const { vkey } = await operator.do("GET", "/audit/key");
  const [origin, size, hash] = text.split("\n");
  // The key is base64, which may hold a plus itself.
  const [, name, key] = /^([^+]+)\+[0-9a-f]{8}\+(.+)$/.exec(vkey);
  assert.equal(origin, name);
  const body = text.slice(0, text.indexOf("\n\n") + 1);
  const signature = Buffer.from(/^— \S+ (\S+)$/m.exec(text)[1], "base64").subarray(4);
  const x = Buffer.from(key, "base64").subarray(1).toString("base64url");
  assert.ok(verify(null, Buffer.from(body), createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" }), signature));
  return { text, size: Number(size), root: Buffer.from(hash, "base64") };
}

async function act(count) {
  for (let i = 0; i < count; i += 1) await owner.do("PUT", `/flags/f${i}`, { value: true });
}

test("every change by an operator is an entry, with who, what and how it ended", async () => {
  await owner.do("PUT", "/lists", { deny: ["203.0.113.0/24"] });
  const analyst = await invited(owner, "analyst");
  assert.equal((await analyst.call("PUT", "/lists", { deny: [] })).status, 403);
  const { entries } = await owner.do("GET", "/audit");
  const actions = entries.map((entry) => `${entry.action} ${entry.outcome}`);
  for (const wanted of ["lists.change ok", "house.claim ok", "operator.sign_in ok", "operator.invite ok", "operator.join ok", "auth.refuse forbidden"]) {
    assert.ok(actions.includes(wanted), `${wanted} in ${actions.join(", ")}`);
  }
  const change = entries.find((entry) => entry.action === "lists.change");
  assert.match(JSON.stringify(change), new RegExp(owner.id));
  assert.ok(!JSON.stringify(entries).includes("192.0.2.200"), "no address in clear");
});

test("the tree head is that of the entries, by an implementation of its own, and proofs lead to it", async () => {
  await act(5);
  const head = await checkpoint(owner);
  assert.ok(head.size > 5);
  const bundle = await owner.call("GET", `/audit/tile/entries/000.p/${head.size}`);
  assert.equal(bundle.status, 200, bundle.text);
  const leaves = [];
  for (let at = 0; at < bundle.bytes.length; ) {
    const length = bundle.bytes.readUInt16BE(at);
    leaves.push(leafHash(bundle.bytes.subarray(at + 2, at + 2 + length)));
    at += 2 + length;
  }
  assert.equal(leaves.length, head.size);
  assert.deepEqual(root(leaves), head.root);
  // Inclusion (RFC 9162 §2.1.3.2).
  const index = 2;
  const proof = await owner.do("GET", `/audit/inclusion?index=${index}&size=${head.size}`);
  let [fn, sn, hash] = [index, head.size - 1, leaves[index]];
  for (const text of proof.proof) {
    const sibling = Buffer.from(text, "base64url");
    if (fn % 2 === 1 || fn === sn) {
      hash = nodeHash(sibling, hash);
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [fn >> 1, sn >> 1];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [fn, sn] = [fn >> 1, sn >> 1];
  }
  assert.equal(sn, 0);
  assert.deepEqual(hash, head.root);
});

test("an older checkpoint verifies against a log that grew", async () => {
  const old = await checkpoint(owner);
  await act(3);
  const verdict = await owner.do("POST", "/audit/verify", { checkpoint: old.text });
  assert.equal(verdict.verdict, "consistent", JSON.stringify(verdict));
  const forged = await owner.do("POST", "/audit/verify", { checkpoint: old.text.replace(`\n${old.size}\n`, `\n${old.size - 1}\n`) });
  assert.equal(forged.verdict, "forged");
});

test("after a hard kill the log is whole, and what was answered is in it", async () => {
  await act(4);
  const old = await checkpoint(owner);
  await house.worker.restart({ hard: true });
  const verdict = await owner.do("POST", "/audit/verify", { checkpoint: old.text });
  assert.equal(verdict.verdict, "consistent", JSON.stringify(verdict));
});

test("an export is JSON or CSV and leaves out nothing", async () => {
  const json = JSON.parse(await owner.do("GET", "/audit/export").then((told) => JSON.stringify(told)));
  const csv = await owner.do("GET", "/audit/export?format=csv&action=lists.");
  assert.ok(json.length >= 10);
  assert.match(csv, /lists\.change/);
});

/** Changes the stored rows of the log while nothing runs. */
async function tamper(change) {
  let done = 0;
  await house.worker.restart({
    meanwhile: () => withObjects(house, "AuditLog", (database) => (done += change(database) ?? 0)),
  });
  assert.ok(done > 0, "something was changed");
}

test("an edited entry is found by an older checkpoint", async () => {
  const old = await checkpoint(owner);
  await tamper((database) => {
    const rows = database.prepare("SELECT key, value FROM rows WHERE value LIKE '%lists.change%'").all();
    for (const { key, value } of rows) database.prepare("UPDATE rows SET value = ? WHERE key = ?").run(value.replace("lists.change", "lists.chance"), key);
    return rows.length;
  });
  const answer = await owner.call("POST", "/audit/verify", { checkpoint: old.text });
  const verdict = answer.json();
  assert.ok(answer.status === 503 || ["changed", "rewritten", "wrong head", "missing"].includes(verdict.verdict), answer.text);
  // And no new checkpoint is signed over it.
  const signed = await until(() => owner.call("GET", "/audit/checkpoint"), "an answer");
  assert.ok(signed.status === 503 || signed.text.split("\n")[1] === String(old.size), signed.text);
});
