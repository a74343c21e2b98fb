// Scans of documents in workerd: what is harmful is held back from everybody, through crashes; a scanner outside is asked;
// operators let go and hold; and of what is deleted no store holds anything.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { assertRefused, startHouse } from "./support/house.mjs";
import { withBucket, withObjects } from "./support/objects.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";
import { BOUNDARY, blobs, visitor } from "./support/visitor.mjs";
import { until } from "./support/wait.mjs";

// In two halves, so that no scanner takes this file for it.
const EICAR = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"].join("");
const VARS = { ADMIN_TOKEN, SCANNER_TOKEN: "canary-scanner-token" };

let house;
before(async () => {
  house = await startHouse({ documents: { max_count: 20, ttl_seconds: 3600 } }, VARS);
});
after(() => house?.stop());

const json = (body) => ({ method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
const content = (who, id) => who.ask(`/v1/files/${id}/content`);
const state = async (who, id) => (await who.ask(`/v1/files/${id}`)).json().gatehouse.scan;

async function stored(who, text, more) {
  const made = await who.upload(text, more);
  assert.equal(made.status, 200, made.text);
  return made.json().id;
}

async function link(who, id) {
  const made = await who.ask(`/v1/files/${id}/shares`, json({ with: "link" }));
  assert.equal(made.status, 200, made.text);
  return new URL(made.json().url).pathname;
}

/** A document of two parts. */
async function ofParts(who, text) {
  const bytes = Buffer.from(text);
  const begun = (await who.ask("/v1/uploads", json({ filename: "long.txt", purpose: "user_data", bytes: bytes.length, mime_type: "text/plain" }))).json();
  const part_ids = [];
  for (const half of [bytes.subarray(0, 30), bytes.subarray(30)]) {
    const head = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="data"; filename="blob"\r\n\r\n`;
    const body = Buffer.concat([Buffer.from(head), half, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)]);
    const part = await who.ask(`/v1/uploads/${begun.id}/parts`, { method: "POST", body, headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` } });
    assert.equal(part.status, 200, part.text);
    part_ids.push(part.json().id);
  }
  const made = await who.ask(`/v1/uploads/${begun.id}/complete`, json({ part_ids }));
  assert.equal(made.status, 200, made.text);
  return made.json().file.id;
}

test("what is harmful is read by nobody, its link opens nothing, and a crash changes nothing of that", async () => {
  const who = visitor(house);
  const id = await stored(who, EICAR);
  const address = await link(who, id);
  const reader = visitor(house);
  for (const hard of [false, true]) {
    if (hard) await house.worker.restart({ hard: true });
    assert.equal(await state(who, id), "quarantined");
    assertRefused(await content(who, id), "openai", 403, "document_quarantined");
    assertRefused(await reader.ask(address), "openai", 403, "document_quarantined");
  }
  const report = (await who.ask(`/v1/files/${id}/scan`)).json();
  assert.deepEqual([report.state, report.held_back_for, report.findings[0].rule, report.findings[0].offset], ["quarantined", "eicar", "eicar", 0]);
  assertRefused(await reader.ask(`/v1/files/${id}/scan`), "openai", 404, "document_not_found");
});

test("a document of parts is scanned once it is complete, whatever part the finding is cut by", async () => {
  const who = visitor(house);
  const [harmful, clean] = [await ofParts(who, EICAR), await ofParts(who, "Nothing but words, which nobody minds at all.")];
  await until(async () => (await state(who, harmful)) === "quarantined", "the scan of the harmful one");
  await until(async () => (await state(who, clean)) === "clean", "the scan of the clean one");
  assertRefused(await content(who, harmful), "openai", 403, "document_quarantined");
  assert.equal((await content(who, clean)).status, 200);
});

test("an operator lets a version go, holds a document, and both are on record", async () => {
  const who = visitor(house);
  const id = await stored(who, EICAR);
  const owner = await claimHouse(house.worker);
  const { documents } = await owner.do("GET", "/documents");
  assert.ok(documents.some((one) => one.id === id && one.findings[0].rule === "eicar"), JSON.stringify(documents));
  await owner.do("POST", `/documents/${id}/release`, { version: 1 });
  assert.equal((await content(who, id)).text, EICAR);
  const me = (await who.ask("/api/me")).json().id;
  await owner.do("POST", `/documents/${id}/hold`, { owner: me, reason: "case 4711" });
  assertRefused(await who.ask(`/v1/files/${id}`, { method: "DELETE" }), "openai", 409, "document_kept");
  await house.worker.restart({ hard: true });
  assertRefused(await who.ask(`/v1/files/${id}`, { method: "DELETE" }), "openai", 409, "document_kept");
  await owner.do("DELETE", `/documents/${id}/hold`);
  assert.equal((await who.ask(`/v1/files/${id}`, { method: "DELETE" })).status, 200);
  const { entries } = await owner.do("GET", "/audit?target=document");
  assert.deepEqual(
    entries.map((entry) => entry.action),
    ["document.unhold", "document.hold", "document.release"],
  );
});

test("a scanner outside has its say, and documents wait while it is away", async () => {
  let verdict = { verdict: "infected", name: "Win.Worm" };
  const asked = [];
  const service = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    asked.push({ token: request.headers.authorization, ...JSON.parse(body) });
    response.writeHead(verdict ? 200 : 503, { "content-type": "application/json" });
    response.end(JSON.stringify(verdict ?? {}));
  });
  await new Promise((resolve) => service.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${service.address().port}/scan`;
  const other = await startHouse({ documents: { max_count: 20, ttl_seconds: 3600, scanner: { url } } }, VARS);
  try {
    const who = visitor(other);
    const found = await stored(who, "a worm");
    await until(async () => (await state(who, found)) === "quarantined", "the service's verdict");
    assert.deepEqual([asked[0].token, Buffer.from(asked[0].content, "base64").toString()], ["Bearer canary-scanner-token", "a worm"]);
    verdict = undefined;
    const id = await stored(who, "only words");
    const address = await link(who, id);
    assertRefused(await visitor(other).ask(address), "openai", 503, "scanner_unavailable");
    assert.equal((await content(who, id)).text, "only words");
    verdict = { verdict: "clean" };
    assert.equal((await visitor(other).ask(address)).text, "only words");
    assert.equal(await state(who, id), "clean");
    assert.ok(!other.worker.output().includes("canary-scanner-token"));
  } finally {
    await other.stop();
    service.close();
  }
});

test("of a deleted document neither rows nor blobs hold anything, and no file ever held its content", async () => {
  const who = visitor(house);
  const canary = "canary-4e1f-content";
  const id = await stored(who, `${canary} in the middle of words`, { filename: "canary-4e1f-name.txt" });
  assert.equal((await who.ask(`/v1/files/${id}/comments`, json({ text: "canary-4e1f-comment" }))).status, 200);
  const address = await link(who, id);
  const kept = blobs(house).length;
  assert.ok(kept > 0);
  assert.equal((await who.ask(`/v1/files/${id}`, { method: "DELETE" })).status, 200);
  await until(() => blobs(house).length < kept, "the blob's end");
  assertRefused(await visitor(house).ask(address), "openai", 404, "document_not_found");
  const seen = { rows: 0, blobs: 0 };
  await house.worker.restart({
    meanwhile() {
      for (const kind of ["Owner", "Ledger", "Directory", "Keyring", "AuditLog", "Limiter"]) {
        withObjects(house, kind, (database) => {
          const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'").all();
          for (const { name } of tables) {
            for (const row of database.prepare(`SELECT * FROM "${name}"`).all()) {
              seen.rows += 1;
              const text = Object.values(row).map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : String(value))).join(" ");
              assert.ok(!text.includes("canary-4e1f") && !text.includes(id), `${kind}.${name}`);
            }
          }
        });
      }
      withBucket(house, (database, folder) => {
        for (const { key, blob_id } of database.prepare("SELECT key, blob_id FROM _mf_objects").all()) {
          seen.blobs += 1;
          assert.ok(!key.includes(id), key);
          assert.ok(!readFileSync(`${folder}/${blob_id}`, "latin1").includes("canary-4e1f"), key);
        }
      });
    },
  });
  assert.ok(seen.rows > 10, JSON.stringify(seen));
});
