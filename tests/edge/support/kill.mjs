// A runtime that is killed in the middle of something, and what its stores hold afterwards.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { call } from "./client.mjs";
import { withBucket, withObjects } from "./objects.mjs";

/** Moments, sizes and orders come from this number: `GATEHOUSE_KILL_SEED=…` takes another. */
export const SEED = Number(process.env.GATEHOUSE_KILL_SEED ?? 20_261);

/** Numbers from 0 to 1 that one seed always gives in the same order (mulberry32); a test has a sequence of its own. */
export function dice(t) {
  t.diagnostic(`GATEHOUSE_KILL_SEED=${SEED}`);
  let state = [...t.name].reduce((sum, c) => (Math.imul(sum, 31) + c.charCodeAt(0)) | 0, SEED);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A moment in each of so many equal pieces of the time from 0 to 1, in disorder. */
export function moments(random, count) {
  const all = Array.from({ length: count }, (_, i) => (i + random()) / count);
  return all.map((moment) => [random(), moment]).sort(([a], [b]) => a - b).map(([, moment]) => moment);
}

/** Text of that length that is no other's. */
export const text = (name, bytes) => Buffer.alloc(bytes, `${name} is what this says, again and again and again\n`);

/** The answer never came, or said no more than that the runtime is gone. */
export class Cut extends Error {}

/** A house whose runtime is killed: what is on its way then is cut, and nothing else may be. */
export class Killed {
  constructor(house) {
    this.house = house;
    this.dying = false;
    this.answers = 0;
  }

  /** What an answer is that must be one of those statuses, unless the kill came first: then `Cut` is thrown. */
  async answer(promise, ...statuses) {
    let answer;
    try {
      answer = await promise;
    } catch (error) {
      if (this.dying) throw new Cut();
      throw error;
    }
    if (this.dying && (answer.status >= 500 || answer.broken)) throw new Cut();
    assert.ok(statuses.includes(answer.status), `${answer.status} ${answer.text}`);
    this.answers += 1;
    return answer;
  }

  /** Kills and starts again; `meanwhile` is done while nothing runs. */
  async now(meanwhile) {
    this.dying = true;
    await this.house.worker.restart({ hard: true, meanwhile });
    this.dying = false;
  }

  /**
   * Does those things at the same time without a kill.
   *
   * @returns {Promise<{answers: number, ms: number}>} How many answers came, and how long one took of the whole time.
   */
  async unkilled(work) {
    const [begun, answers] = [Date.now(), this.answers];
    await Promise.all(work());
    const came = this.answers - answers;
    return { answers: came, ms: (Date.now() - begun) / came };
  }

  /**
   * Does those things at the same time and kills when so many answers have come, and as much of the time to the next one
   * has passed as there is behind the point.
   *
   * @param {() => Promise<unknown>[]} work
   * @param {number} answers
   * @param {number} ms To the next answer, about.
   * @param {() => void} [meanwhile] Done before the start.
   * @returns {Promise<{cut: number, of: number}>} How many of those things were cut.
   */
  async during(work, answers, ms, meanwhile) {
    const first = this.answers;
    let over = false;
    const ends = Promise.allSettled(work()).then((all) => {
      over = true;
      return all;
    });
    while (!over && this.answers - first < Math.floor(answers)) await pause(1);
    await Promise.race([ends, pause((answers % 1) * ms)]);
    await this.now(meanwhile);
    const all = await ends;
    for (const { reason } of all) if (reason !== undefined && !(reason instanceof Cut)) throw reason;
    return { cut: all.filter(({ reason }) => reason !== undefined).length, of: all.length };
  }
}

/** The cron, until no owner of documents is due. */
export async function cron(house) {
  for (let runs = 0; ; runs += 1) {
    assert.ok(runs < 50, "the sweep does not end");
    const swept = await call(house.worker.url, { path: "/cdn-cgi/handler/scheduled" });
    assert.equal(swept.status, 200, swept.text);
    if (kept(house).owners.every(({ due }) => due > Date.now())) return;
  }
}

/** Which rows of these classes belong to documents. */
const OF_DOCUMENTS = { Owner: "doc/", Ledger: "entry/file_", Directory: "owner/" };

const rowsOf = (database, kind) =>
  database
    .prepare("SELECT key, value FROM rows")
    .all()
    .filter(({ key }) => key.startsWith(OF_DOCUMENTS[kind]))
    .map(({ key, value }) => ({ key, id: key.slice(key.indexOf("/") + 1), value: JSON.parse(value) }));

/**
 * Time passes for all documents, while the Worker is down: every time in their rows lies so many ms earlier.
 */
export function passes(house, ms) {
  const earlier = (value) => {
    // Times are ms since 1970; no length or count in a row is as large as one.
    if (typeof value === "number") return value > 1e12 ? value - ms : value;
    if (Array.isArray(value)) return value.map(earlier);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, earlier(inner)]));
  };
  for (const kind of Object.keys(OF_DOCUMENTS)) {
    withObjects(house, kind, (database) => {
      const change = database.prepare("UPDATE rows SET value = ? WHERE key = ?");
      for (const { key, value } of rowsOf(database, kind)) change.run(JSON.stringify(earlier(value)), key);
    });
  }
}

/**
 * What the stores hold of documents, whether the Worker runs or not: a copy of their files is read.
 *
 * @returns {{documents: object[], ledgers: object[][], owners: object[], blobs: string[]}} Rows of owners, with their `id`;
 *   entries of each network and of the site; when owners are due; keys of blobs, sorted.
 */
export function kept(house) {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-copy-"));
  try {
    const parts = readdirSync(join(house.worker.folder, "v3/do")).map((name) => join("v3/do", name));
    for (const part of [...parts.filter((name) => /-(Owner|Ledger|Directory)$/.test(name)), "v3/r2/miniflare-R2BucketObject"]) {
      cpSync(join(house.worker.folder, part), join(folder, part), { recursive: true, filter: (name) => !name.endsWith("-shm") });
    }
    const copy = { worker: { folder } };
    const found = { documents: [], ledgers: [], owners: [], blobs: [] };
    withObjects(copy, "Owner", (database) => found.documents.push(...rowsOf(database, "Owner").map(({ id, value }) => ({ ...value, id }))));
    withObjects(copy, "Directory", (database) => found.owners.push(...rowsOf(database, "Directory").map(({ id, value }) => ({ ...value, id }))));
    withObjects(copy, "Ledger", (database) => {
      const entries = rowsOf(database, "Ledger").map(({ id, value }) => ({ ...value, id }));
      if (entries.length > 0) found.ledgers.push(entries);
    });
    withBucket(copy, (database) => {
      const keys = database.prepare("SELECT key FROM _mf_objects").all().map(({ key }) => key);
      found.blobs.push(...keys.filter((key) => key.includes("/docs/")).sort());
    });
    return found;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The least that a document counts in a ledger: 64 KiB = 64 × 1,024 bytes. */
const MIN_CHARGE_BYTES = 65_536;

/**
 * The stores hold these documents and nothing beside them: their rows, the blobs of their segments, and their lengths in the
 * ledgers of their networks and of the site.
 *
 * @param {{id: string, bytes: number}[]} documents As they are listed.
 */
export function assertKept(house, documents) {
  const found = kept(house);
  const byId = (a, b) => (a.id < b.id ? -1 : 1);
  assert.deepEqual(
    found.documents.map(({ id, state, bytes }) => ({ id, state, bytes })).sort(byId),
    documents.map(({ id, bytes }) => ({ id, state: "ready", bytes })).sort(byId),
    "rows",
  );
  const name = (segment, at) => segment.blob ?? String(at).padStart(5, "0");
  const blobs = found.documents.flatMap(({ owner, id, segments }) => segments.map((segment, at) => `v1/default/docs/${owner}/${id}/${name(segment, at)}`));
  assert.deepEqual(found.blobs, blobs.sort(), "blobs");
  const charged = found.ledgers.flat().map(({ id, bytes }) => ({ id, bytes }));
  const due = documents.map(({ id, bytes }) => ({ id, bytes: Math.max(bytes, MIN_CHARGE_BYTES) }));
  assert.deepEqual(charged.sort(byId), [...due, ...due].sort(byId), "a network's ledger and the site's");
  if (documents.length > 0) assert.ok(found.ledgers.some((entries) => entries.length === documents.length), "the site's ledger");
}
