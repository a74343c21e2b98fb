// A destroyed house that comes back: what the drill and its test do, step by step.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";

import { call } from "./client.mjs";
import { startHouse } from "./house.mjs";
import { ADMIN_TOKEN, claimHouse, invited } from "./operator.mjs";
import { BOUNDARY, MIB, form, visitor } from "./visitor.mjs";

const LIMITS = { max_bytes: 64 * MIB, max_count: 20, max_visitor_bytes: 128 * MIB, max_network_bytes: 256 * MIB };

/** Asks, and the answer must be 200. */
export async function done(who, path, options) {
  const answer = await who.ask(path, options);
  assert.equal(answer.status, 200, `${path}: ${answer.text}`);
  return answer;
}

const json = (body) => ({ json: body });

/** A document in two parts, of which the first is longer than a segment. */
export async function uploadInParts(who) {
  const parts = [Buffer.alloc(9 * MIB, "the first part\n"), Buffer.alloc(MIB, "the second part\n")];
  const bytes = parts[0].length + parts[1].length;
  const begun = await done(who, "/v1/uploads", json({ filename: "long.txt", purpose: "user_data", bytes, mime_type: "text/plain" }));
  const { id } = begun.json();
  const ids = [];
  for (const content of parts) {
    const head = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="data"; filename="blob"\r\n\r\n`;
    const body = Buffer.concat([Buffer.from(head), content, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)]);
    const headers = { "content-type": `multipart/form-data; boundary=${BOUNDARY}` };
    ids.push((await done(who, `/v1/uploads/${id}/parts`, { method: "POST", body, headers })).json().id);
  }
  return (await done(who, `/v1/uploads/${id}/complete`, json({ part_ids: ids }))).json().file.id;
}

/** A conversation that begins with those words: its id. */
export const talk = async (who, words) => (await done(who, "/v1/conversations", json({ items: [{ type: "message", role: "user", content: words }] }))).json().id;

/** Everything of a visitor that can be read, by address. */
export async function seen(who) {
  const found = new Map();
  const read = async (path) => {
    const answer = await done(who, path);
    found.set(path, answer.bytes.toString("base64"));
    return answer;
  };
  for (const { id } of (await read("/v1/files?limit=100")).json().data) {
    for (const path of ["/content", "/versions", "/shares", "/comments"]) await read(`/v1/files/${id}${path}`);
  }
  await read("/v1/shared");
  for (const { id } of (await read("/v1/conversations")).json().data) await read(`/v1/conversations/${id}/items?order=asc`);
  for (const { id } of (await done(who, "/v1/vector_stores")).json().data) {
    const answer = await done(who, `/v1/vector_stores/${id}/search`, json({ query: "What is the plan of the house?" }));
    assert.notDeepEqual(answer.json().data, [], "the store finds something");
    found.set(id, answer.bytes.toString("base64"));
  }
  return found;
}

/** What operators see that no time changes. */
export async function ruled(owner) {
  const { keys } = await owner.do("GET", "/keys");
  const { operators } = await owner.do("GET", "/operators");
  return {
    keys: keys.map(({ id, name, scopes }) => ({ id, name, scopes })),
    operators: operators.map(({ id, name, role }) => ({ id, name, role })),
    flags: await owner.do("GET", "/flags"),
    data_keys: (await owner.do("GET", "/keyring")).data_keys.map(({ id }) => id),
  };
}

/** A caller with an API key. */
export const keyed = (house, secret, address) => ({
  ask: (path, options = {}) => call(house.worker.url, { path, address, ...options, headers: { authorization: `Bearer ${secret}`, ...options.headers } }),
});

/**
 * Fills a house, takes a snapshot, changes more, kills the runtime, deletes every object, restores, and compares.
 *
 * @param {(text: string) => void} say Told of each step.
 * @returns {Promise<object>} In ms: `lostMs`, how old the snapshot was; from the kill `startMs` to the runtime's start, `firstMs`
 *   to the first served document, `wholeMs` to the end of the comparison. `objects` and `bytes` of the snapshot, `steps` of the restore.
 */
export async function drill(say = () => {}) {
  const house = await startHouse({ documents: LIMITS, abuse: { enabled: false } }, { ADMIN_TOKEN });
  try {
    say("a house with operators, an API key, documents, shares, a vector store and conversations");
    const owner = await claimHouse(house.worker);
    await invited(owner, "analyst");
    await owner.do("PUT", "/flags/banner", { value: "hello" });
    const made = await owner.do("POST", "/keys", { name: "robot", scopes: { aliases: "all", stores: "write" } });
    const [ann, ben, carol] = [visitor(house), visitor(house), visitor(house)];
    const robot = keyed(house, made.key, "100.65.200.1");
    const upload = async (who, content) => (await done(who, "/v1/files", form(content))).json().id;
    const plan = await upload(ann, "the plan of the house");
    const long = await uploadInParts(ann);
    await upload(ben, "what Ben keeps");
    await upload(robot, "beep");
    const hers = await upload(carol, "what Carol will have erased");
    const doomed = await upload(ben, "what Ben will delete");
    const idOf = async (who) => (await done(who, "/api/me")).json().id;
    const [benId, carolId] = [await idOf(ben), await idOf(carol)];
    await done(ann, `/v1/files/${plan}/shares`, json({ with: "principal", id: benId, right: "view" }));
    await done(ann, `/v1/files/${plan}/comments`, json({ text: "well drawn" }));
    const { id: store } = (await done(ann, "/v1/vector_stores", json({ name: "Plans" }))).json();
    await done(ann, `/v1/vector_stores/${store}/files`, json({ file_id: plan }));
    await talk(ann, "what the house is for");
    await talk(ben, "another matter");
    await talk(carol, "what nobody is to know");

    say("a snapshot");
    const checkpoint = await owner.do("GET", "/audit/checkpoint");
    let taken;
    do taken = await owner.do("POST", "/backups");
    while (!taken.done);
    const [listed] = (await owner.do("GET", "/backups")).backups;
    assert.equal(listed.id, taken.snapshot);

    say("more changes: a late document, a deletion, an erasure");
    await done(ben, `/v1/files/${doomed}`, { method: "DELETE" });
    const before = { ann: await seen(ann), ben: await seen(ben), robot: await seen(robot), rules: await ruled(owner) };
    const late = await upload(ann, "too late for the snapshot");
    await done(carol, "/api/me/erase", json({}));
    await new Promise((resolve) => setTimeout(resolve, 1_000));

    say("the runtime is killed, and every object deleted");
    const lost = Date.now();
    await house.worker.restart({
      hard: true,
      meanwhile() {
        for (const store of ["v3/do", "v3/kv"]) rmSync(join(house.worker.folder, store), { recursive: true, force: true });
      },
    });
    const started = Date.now();
    const state = await call(house.worker.url, { path: "/api/admin/state" });
    assert.equal(state.json().claimed, false, state.text);

    say("restore");
    let steps = 0;
    for (;;) {
      steps += 1;
      const answer = await call(house.worker.url, { path: "/api/admin/restore", json: { token: ADMIN_TOKEN, snapshot: taken.snapshot } });
      assert.equal(answer.status, 200, answer.text);
      if (answer.json().done) {
        assert.equal(answer.json().documents_gone, 1, answer.text);
        break;
      }
      assert.ok(steps < 1_000, "the restore does not end");
    }
    assert.equal((await done(ann, `/v1/files/${plan}/content`)).text, "the plan of the house");
    const first = Date.now();

    say("everything is compared");
    await owner.signIn();
    const after = { ann: await seen(ann), ben: await seen(ben), robot: await seen(robot), rules: await ruled(owner) };
    assert.deepEqual(after, before);
    assert.ok(after.ann.has(`/v1/files/${long}/content`));
    for (const gone of [late, hers, doomed]) assert.equal((await ann.ask(`/v1/files/${gone}/content`)).status, 404);
    const mine = (await carol.ask("/v1/files")).json();
    assert.deepEqual(mine.data ?? [], [], "who was erased has nothing");
    const verified = await owner.do("POST", "/audit/verify", { checkpoint });
    assert.equal(verified.verdict, "consistent", JSON.stringify(verified));
    const { entries } = await owner.do("GET", "/audit");
    assert.ok(entries.some(({ action }) => action === "house.restore"), "the restore is on record");
    assert.ok(!JSON.stringify(entries).includes(carolId));
    const again = await call(house.worker.url, { path: "/api/admin/restore", json: { token: ADMIN_TOKEN, snapshot: "snap_000000000000000000ff" } });
    assert.equal(again.status, 404, again.text);
    // The house goes on.
    await upload(ann, "after the restore");
    await talk(ann, "and it goes on");
    return {
      lostMs: lost - Date.parse(listed.begun_at),
      startMs: started - lost,
      firstMs: first - lost,
      wholeMs: Date.now() - lost,
      objects: listed.objects,
      bytes: listed.bytes,
      steps,
    };
  } finally {
    await house.stop();
  }
}
