// The audit log in the real Worker: it grows, proves itself, and shows whatever is done to it.

import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { call } from "./support/client.mjs";
import { codeOf, startHouse } from "./support/house.mjs";
import { withBucket, withObjects } from "./support/objects.mjs";
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

let acts = 0;
/** Changes that are each an entry: what stays as it was is none. */
async function act(count, operator = owner) {
  for (let i = 0; i < count; i += 1) await operator.do("PUT", `/flags/f${i % 10}`, { value: `v${(acts += 1)}` });
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
  assert.ok(verdict.size >= old.size + 3, JSON.stringify(verdict));
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

// === tampering ===

/** The checks of somebody outside, who has nothing but a checkpoint and the key that they kept. */
async function outside(kept) {
  const { vkey } = await owner.do("GET", "/audit/key");
  if (vkey !== kept.vkey) return "another key signs";
  const leaves = [];
  for (let first = 0; first < kept.size; first += 256) {
    const width = Math.min(256, kept.size - first);
    const part = width < 256 ? `.p/${width}` : "";
    const bundle = await owner.call("GET", `/audit/tile/entries/${String(first / 256).padStart(3, "0")}${part}`);
    if (bundle.status !== 200) return "entries are missing";
    leaves.push(...entriesOf(bundle.bytes).map(leafHash));
  }
  if (leaves.length !== kept.size) return "entries are missing";
  return root(leaves).equals(kept.root) ? "as it was" : "another root";
}

/** The entries of a bundle (C2SP tlog-tiles), and back. */
function entriesOf(bundle) {
  const entries = [];
  for (let at = 0; at < bundle.length; at += 2 + bundle.readUInt16BE(at)) {
    entries.push(bundle.subarray(at + 2, at + 2 + bundle.readUInt16BE(at)));
  }
  return entries;
}
const bundleOf = (entries) =>
  Buffer.concat(
    entries.flatMap((entry) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(entry.length);
      return [length, entry];
    }),
  );

/** The rows of a house's log as an array of `{ key, value }`, to be read and written while nothing runs. */
function rowsOf(of) {
  const found = [];
  withObjects(of, "AuditLog", (database) => found.push(...database.prepare("SELECT key, value FROM rows ORDER BY key").all()));
  return found.filter(({ key }) => key.startsWith("log/"));
}
function writeRows(of, rows) {
  withObjects(of, "AuditLog", (database) => {
    database.prepare("DELETE FROM rows WHERE key LIKE 'log/%'").run();
    const insert = database.prepare("INSERT INTO rows (key, value) VALUES (?, ?)");
    for (const { key, value } of rows) insert.run(key, value);
  });
}
const isEntry = ({ key }) => key.startsWith("log/e/");

/** The files that hold the log's tiles in the bucket, by their keys below `audit/`. */
function tilesOf(of) {
  const tiles = new Map();
  withBucket(of, (database, blobs) => {
    for (const { key, blob_id: blob } of database.prepare("SELECT key, blob_id FROM _mf_objects").all()) {
      const [, path] = key.startsWith("gone:") ? [] : key.split("/audit/");
      if (path) tiles.set(path, readFileSync(join(blobs, blob)));
    }
  });
  return tiles;
}
function writeTiles(of, tiles) {
  withBucket(of, (database, blobs) => {
    for (const { key, blob_id: blob } of database.prepare("SELECT key, blob_id FROM _mf_objects").all()) {
      const [, path] = key.split("/audit/");
      if (!path) continue;
      const bytes = tiles.get(path);
      // An object without a row is none; its file stays for the way back.
      const known = bytes === undefined ? `gone:${key}` : key;
      if (bytes !== undefined) writeFileSync(join(blobs, blob), bytes);
      database.prepare("UPDATE _mf_objects SET key = ?, size = ? WHERE key = ?").run(known, bytes?.length ?? 0, key);
    }
  });
}

/** Everything that is stored of a house's log. */
const stored = (of) => ({ rows: rowsOf(of), tiles: tilesOf(of) });
function store(of, { rows, tiles }) {
  writeRows(of, rows);
  withBucket(of, (database) => database.prepare("UPDATE _mf_objects SET key = substr(key, 6) WHERE key LIKE 'gone:%'").run());
  writeTiles(of, tiles);
}

/** A checkpoint as somebody keeps it outside, with the key. */
async function keep() {
  const { vkey } = await owner.do("GET", "/audit/key");
  return { ...(await checkpoint(owner)), vkey };
}

const judged = async (kept) => (await owner.do("POST", "/audit/verify", { checkpoint: kept.text })).verdict;

/**
 * Tampers with what is stored while nothing runs, lets `check` look at it, and puts everything back: the log is as it was
 * then, so that what was found was of the tampering and of nothing else.
 */
async function tampered(change, check) {
  const kept = await keep();
  let whole;
  await house.worker.restart({
    meanwhile: () => {
      whole = stored(house);
      const parts = { rows: whole.rows.map((row) => ({ ...row })), tiles: new Map(whole.tiles) };
      store(house, change(parts, kept) ?? parts);
      assert.notDeepEqual(stored(house), whole, "something was changed");
    },
  });
  try {
    await check(kept);
  } finally {
    await house.worker.restart({ meanwhile: () => store(house, whole) });
  }
  assert.equal(await judged(kept), "consistent", "put back");
  assert.equal(await outside(kept), "as it was");
}

/** The newest checkpoint, or that none is given. */
async function signsNothingNew(kept) {
  const signed = await owner.call("GET", "/audit/checkpoint");
  assert.ok(signed.status === 503 || signed.text === kept.text, signed.text);
  if (signed.status === 503) assert.equal(codeOf(signed), "audit_unavailable");
}

/** The log with a full tile in the bucket and entries behind it in its object. */
async function grown() {
  const { size } = await checkpoint(owner);
  if (size > 300) return;
  await act(300 - size);
  const swept = await call(house.worker.url, { path: "/cdn-cgi/handler/scheduled" });
  assert.equal(swept.status, 200, swept.text);
  await until(async () => (await owner.do("GET", "/audit/checkpoint")) && (await flushed()), "a tile in the bucket");
}
/** Whether the first tile lies in the bucket: the object alone has the entries that are not flushed. */
async function flushed() {
  let found = false;
  withBucket(house, (database) => {
    found = database.prepare("SELECT key FROM _mf_objects WHERE key LIKE '%/audit/tile/entries/000'").get() !== undefined;
  });
  return found;
}

const FIRST = "tile/entries/000";
const HASHES = "tile/0/000";

test("an edited entry is found by an older checkpoint", async () => {
  await grown();
  await act(3);
  // In the object: the tree is computed from what is there, and has another head.
  await tampered(
    ({ rows }) => {
      const last = rows.filter(isEntry).at(-2);
      last.value = last.value.replace("settings.change", "settings.chance");
    },
    async (kept) => {
      assert.equal(await judged(kept), "rewritten");
      assert.equal(await outside(kept), "another root");
      await signsNothingNew(kept);
    },
  );
  // In the bucket: the entry is not the one that its tile knows.
  await tampered(
    ({ tiles }) => {
      const entries = entriesOf(tiles.get(FIRST));
      const at = entries.findIndex((entry) => entry.includes("lists.change"));
      entries[at] = Buffer.from(entries[at].toString().replace("lists.change", "lists.chance"));
      tiles.set(FIRST, bundleOf(entries));
    },
    async (kept) => {
      assert.equal(await judged(kept), "changed");
      assert.equal(await outside(kept), "another root");
    },
  );
});

test("a removed entry is found, whether its place is empty or closed, and so is a removed tile", async () => {
  await grown();
  await act(6);
  const without = (rows, close) => {
    const entries = rows.filter(isEntry);
    const at = entries.length - 4;
    const others = rows.filter((row) => !isEntry(row));
    const values = entries.map(({ value }) => value);
    const keys = entries.map(({ key }) => key);
    values.splice(at, 1);
    if (close) keys.pop();
    else keys.splice(at, 1);
    return [...others, ...keys.map((key, i) => ({ key, value: values[i] }))];
  };
  for (const close of [false, true]) {
    await tampered(
      ({ rows, tiles }) => ({ rows: without(rows, close), tiles }),
      async (kept) => {
        // Who asks may have confirmed the second factor, which is an entry or two.
        assert.ok(["truncated", "rewritten"].includes(await judged(kept)));
        assert.notEqual(await outside(kept), "as it was");
        await signsNothingNew(kept);
        // New entries in the place of the old ones do not hide it.
        await act(8);
        assert.equal(await judged(kept), "rewritten");
        assert.equal(await outside(kept), "another root");
        await signsNothingNew(kept);
      },
    );
  }
  for (const path of [FIRST, HASHES]) {
    await tampered(
      ({ tiles }) => void tiles.delete(path),
      async (kept) => {
        assert.equal(await judged(kept), "missing");
        if (path === FIRST) assert.equal(await outside(kept), "entries are missing");
      },
    );
  }
  // A leaf that is left out of its bundle.
  await tampered(
    ({ tiles }) => {
      const entries = entriesOf(tiles.get(FIRST));
      entries.splice(7, 1);
      tiles.set(FIRST, bundleOf(entries));
    },
    async (kept) => {
      assert.equal(await judged(kept), "missing");
      assert.equal(await outside(kept), "entries are missing");
    },
  );
});

test("two entries that changed places are found, also where their tile was made to agree", async () => {
  await grown();
  await act(4);
  await tampered(
    ({ rows }) => {
      const [one, two] = rows.filter(isEntry).slice(-3);
      [one.value, two.value] = [two.value, one.value];
    },
    async (kept) => {
      assert.equal(await judged(kept), "rewritten");
      assert.equal(await outside(kept), "another root");
      await signsNothingNew(kept);
    },
  );
  const swap = (entries) => {
    [entries[3], entries[9]] = [entries[9], entries[3]];
    return entries;
  };
  for (const [agreeing, verdict] of [[false, "changed"], [true, "missing"]]) {
    await tampered(
      ({ tiles }) => {
        const entries = swap(entriesOf(tiles.get(FIRST)));
        tiles.set(FIRST, bundleOf(entries));
        if (agreeing) tiles.set(HASHES, Buffer.concat(entries.map(leafHash)));
      },
      async (kept) => {
        // The tile above, which the object keeps, has the root of the tile as it was.
        assert.equal(await judged(kept), verdict);
        assert.equal(await outside(kept), "another root");
      },
    );
  }
});

test("a log that is put back to how it was earlier is found by any checkpoint from in between", async () => {
  await grown();
  let earlier;
  const old = await keep();
  await house.worker.restart({ meanwhile: () => (earlier = stored(house)) });
  await act(5);
  await tampered(
    // Entries, newest checkpoint and all that the log remembers are those of that moment.
    () => earlier,
    async (kept) => {
      assert.ok(kept.size > old.size);
      assert.equal(await judged(kept), "truncated");
      assert.equal(await outside(kept), "entries are missing");
      // For what was signed before, and for the log itself, nothing is wrong: the checkpoint outside is what tells.
      assert.equal(await judged(old), "consistent");
      await act(7);
      const again = await checkpoint(owner);
      assert.ok(again.size >= kept.size);
      assert.equal(await judged(kept), "rewritten");
      assert.equal(await outside(kept), "another root");
    },
  );
});

test("a log that is computed anew from its first entry on is found, though everything in it agrees", async () => {
  await grown();
  await act(2);
  const forge = (text) => text.replaceAll("lists.change", "lists.chance");
  await tampered(
    ({ rows, tiles }) => {
      const entries = entriesOf(tiles.get(FIRST)).map((entry) => Buffer.from(forge(entry.toString())));
      const hashes = entries.map(leafHash);
      tiles.set(FIRST, bundleOf(entries));
      tiles.set(HASHES, Buffer.concat(hashes));
      // What the object remembers of flushed tiles; no checkpoint is left that would contradict.
      const level = JSON.stringify([root(hashes).toString("base64url")]);
      const others = rows.filter(({ key }) => !["log/c", "log/z", "log/m"].includes(key));
      const above = others.filter(({ key }) => key.startsWith("log/t/"));
      assert.equal(above.length, 1);
      assert.equal(JSON.parse(above[0].value).length, 1);
      above[0].value = level;
      for (const row of others.filter(isEntry)) row.value = forge(row.value);
      return { rows: others, tiles };
    },
    async (kept) => {
      // It signs what it has: it cannot know.
      const anew = await checkpoint(owner);
      assert.ok(anew.size >= kept.size);
      assert.equal(await judged(anew), "consistent");
      assert.equal(await judged(kept), "rewritten");
      assert.equal(await outside(kept), "another root");
    },
  );
});

test("the log of another house in the place of this one is found, with and without its keys", async () => {
  const other = await startHouse({ abuse: { enabled: false } }, { ADMIN_TOKEN });
  let foreign;
  let rings;
  try {
    const its = await claimHouse(other.worker);
    const size = 20 + (await checkpoint(owner)).size;
    await act(size, its);
    await other.worker.restart({
      meanwhile: () => {
        foreign = stored(other);
        rings = ringOf(other);
      },
    });
  } finally {
    await other.stop();
  }
  const whole = { rows: foreign.rows, tiles: foreign.tiles };
  await tampered(
    () => whole,
    async (kept) => {
      assert.equal(await judged(kept), "rewritten");
      assert.equal(await outside(kept), "another root");
    },
  );
  // With the keyring of the other house its checkpoints verify, by a key that is not the one that was kept.
  let ring;
  await tampered(
    () => {
      ring = ringOf(house);
      writeRing(house, rings);
      return whole;
    },
    async (kept) => {
      try {
        assert.equal((await checkpoint(owner)).text.split("\n")[0], kept.text.split("\n")[0], "the same name");
        assert.equal(await judged(kept), "forged");
        assert.equal(await outside(kept), "another key signs");
      } finally {
        await house.worker.restart({ meanwhile: () => writeRing(house, ring) });
      }
    },
  );
});

/** The rows of a house's keyring; both houses have one master key. */
function ringOf(of) {
  const found = [];
  withObjects(of, "Keyring", (database) => found.push(...database.prepare("SELECT key, value FROM rows").all()));
  return found;
}
function writeRing(of, rows) {
  withObjects(of, "Keyring", (database) => {
    database.prepare("DELETE FROM rows").run();
    const insert = database.prepare("INSERT INTO rows (key, value) VALUES (?, ?)");
    for (const { key, value } of rows) insert.run(key, value);
  });
}
