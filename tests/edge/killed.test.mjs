// The runtime is killed in the middle of uploads, deletions, restores and rotations: what was answered stays, what was not
// is there whole or not at all, and the sweep leaves no blob that no row leads to.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after as afterAll, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { call, question } from "./support/client.mjs";
import { done, keyed, ruled, seen, talk, uploadInParts } from "./support/drill.mjs";
import { codeOf, startHouse } from "./support/house.mjs";
import { Cut, Killed, assertKept, cron, dice, kept, moments, passes, text } from "./support/kill.mjs";
import { ADMIN_TOKEN, claimHouse, invited } from "./support/operator.mjs";
import { BOUNDARY, MIB, form, list, visitor } from "./support/visitor.mjs";
import { until } from "./support/wait.mjs";

const DOCUMENTS = {
  max_bytes: 32 * MIB,
  max_count: 1000,
  max_visitor_bytes: 1024 * MIB,
  max_network_bytes: 1024 * MIB,
  // Documents last longer than an upload that was given up: 24 × 3,600 s.
  ttl_seconds: 86_400,
  upload_ttl_seconds: 3600,
};
/** When every upload that was given up is over: 2 × 3,600 s. */
const TWO_HOURS_MS = 7_200_000;
/** When every document is over: 24 × 3,600 s. */
const A_DAY_MS = 86_400_000;
/** A segment of a document in the bucket. */
const SEGMENT = 8 * MIB;

const SCOPES = { aliases: "all", endpoints: "all", stores: "write" };
/** So many visitors with a document are more than one call of a restore puts back. */
const CROWD = 110;
/** So many keys of providers are wrapped anew by a rotation. */
const PROVIDERS = Array.from({ length: 8 }, (_, i) => `stored-${i}`);

/** How often the runtime is killed in each; a start of it takes seconds, so that only `npm run test:long` kills often. */
const [UPLOADS, PARTS, DELETIONS, RESTORES, ROTATIONS] = process.env.GATEHOUSE_LONG ? [8, 4, 4, 3, 3] : [4, 2, 2, 1, 2];

let house;
let killed;
before(async () => {
  house = await startHouse(
    (provider) => ({
      documents: DOCUMENTS,
      abuse: { enabled: false },
      providers: PROVIDERS.map((name) => ({ name, kind: "openai", base_url: `${provider.url}/v1`, key: "NO_SUCH_SECRET" })),
      aliases: PROVIDERS.map((name) => ({ name, public: true, cache: "never", target: [{ provider: name, model: `good:${name}` }] })),
    }),
    { ADMIN_TOKEN },
  );
  killed = new Killed(house);
});
afterAll(() => house?.stop());

const json = (body) => ({ json: body });
const content = (who, id) => who.ask(`/v1/files/${id}/content`);
const erase = (who) => who.ask("/api/me/erase", json({}));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** A visitor with a cookie and a document, from which the search for blobs without a row has nothing to do for a day. */
async function known(keep = "the first") {
  const who = visitor(house);
  const made = await who.upload(keep, { filename: "first.txt" });
  assert.equal(made.status, 200, made.text);
  return Object.assign(who, { first: made.json().id });
}

/** Everything that these visitors list. */
const listed = async (people) => (await Promise.all(people.map((who) => list(who, "?limit=1000")))).flatMap(({ data }) => data);

/** Everything these visitors have goes, and then no store holds anything of a document. */
async function eraseAll(people) {
  for (const answer of await Promise.all(people.map(erase))) assert.equal(answer.status, 200, answer.text);
  await cron(house);
  assertKept(house, []);
  assert.deepEqual(kept(house).owners, []);
  assert.doesNotMatch(house.worker.output(), /blobs that no row knew/, "every blob had a row as long as it was there");
}

test("of an upload that was answered everything is there after a kill, and of one that was not nothing or everything", async (t) => {
  const random = dice(t);
  const sizes = [20, 3000, 65_535, 300_000, MIB, 2 * MIB, SEGMENT + 1, 65_537, 500];
  const people = [await known(), await known(), await known()];
  await cron(house);
  const sent = [];

  async function upload(who, bytes) {
    const one = { who, bytes, name: `${sent.length}.txt` };
    sent.push(one);
    const answer = await killed.answer(who.upload(text(one.name, bytes), { filename: one.name }), 200);
    one.id = answer.json().id;
    // Who had no cookie has one now.
    if (!people.includes(who)) people.push(who);
  }
  const work = () => {
    const order = sizes.map((bytes) => [random(), bytes]).sort(([a], [b]) => a - b);
    const strangers = [visitor(house), visitor(house)];
    return order.map(([, bytes], i) => upload(i < 7 ? people[i % 3] : strangers[i - 7], bytes));
  };
  /** What is listed of each is what was sent, byte for byte; what was answered is listed. */
  async function check(some) {
    for (const who of people) {
      const { data } = await list(who, "?limit=1000");
      const mine = sent.filter((one) => one.who === who);
      assert.equal(new Set(data.map(({ filename }) => filename)).size, data.length, "nothing is there twice");
      for (const { id, name } of mine) {
        if (id) assert.equal(data.find((file) => file.id === id)?.filename, name, "what was answered is listed");
      }
      for (const { id, filename, bytes } of data.filter((file) => file.id !== who.first)) {
        const one = mine.find(({ name }) => name === filename);
        assert.ok(one, `${filename} is another's`);
        assert.equal(bytes, one.bytes);
        if (!some.includes(one)) continue;
        const read = await content(who, id);
        assert.equal(read.status, 200, read.text);
        assert.ok(!read.broken && read.bytes.equals(text(one.name, bytes)), `${filename} reads as it was sent`);
      }
    }
  }

  const { answers, ms } = await killed.unkilled(work);
  await check(sent);
  let cuts = 0;
  for (const [round, moment] of moments(random, UPLOADS).entries()) {
    const from = sent.length;
    // After the last one so much time passes that every upload counts as given up.
    const meanwhile = round === UPLOADS - 1 ? () => passes(house, TWO_HOURS_MS) : undefined;
    const { cut, of } = await killed.during(work, moment * answers, ms, meanwhile);
    t.diagnostic(`round ${round}: killed after ${(moment * answers).toFixed(1)} answers, ${cut} of ${of} uploads cut`);
    cuts += cut;
    await check(sent.slice(from));
  }
  assert.ok(cuts > 0, "no kill came in the middle");
  await cron(house);
  await check(sent);
  // Who was new and never got an answer has no cookie either: such a document is whole, and nobody's until it expires.
  const ids = new Set(await Promise.all(people.map(async (who) => (await done(who, "/api/me")).json().id)));
  const unheard = kept(house).documents.filter(({ owner }) => !ids.has(owner));
  for (const { filename, bytes } of unheard) {
    const one = sent.find(({ name }) => name === filename);
    assert.deepEqual([one.id, one.bytes, people.includes(one.who)], [undefined, bytes, false]);
  }
  assertKept(house, [...(await listed(people)), ...unheard]);
  if (unheard.length > 0) await killed.now(() => passes(house, A_DAY_MS));
  await eraseAll(people);
});

test("an upload in parts goes on after a kill from the parts that were answered, or is complete", async (t) => {
  const random = dice(t);
  const all = [];

  function partForm(bytes, number) {
    const field = (name, value) => Buffer.concat([Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name=${name}\r\n\r\n`), Buffer.from(value), Buffer.from("\r\n")]);
    const body = Buffer.concat([field('"part_number"', String(number)), field('"data"; filename="blob"', bytes), Buffer.from(`--${BOUNDARY}--\r\n`)]);
    return { method: "POST", body, headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` } };
  }
  async function begin() {
    const one = { who: await known(), name: `long-${all.length}.txt`, cuts: [0], stored: new Map() };
    for (const bytes of [SEGMENT + 10, MIB, 100_000].map((most) => Math.ceil(most * (0.5 + random() / 2)))) one.cuts.push(one.cuts.at(-1) + bytes);
    one.whole = text(one.name, one.cuts.at(-1));
    one.part = (number) => one.whole.subarray(one.cuts[number - 1], one.cuts[number]);
    all.push(one);
    return one;
  }
  /** From wherever it is to the end. */
  async function goOn(one) {
    const ask = (path, options, ...statuses) => killed.answer(one.who.ask(path, options), ...(statuses.length > 0 ? statuses : [200]));
    if (!one.id) {
      const fields = { filename: one.name, purpose: "user_data", bytes: one.whole.length, mime_type: "text/plain" };
      one.id = (await ask("/v1/uploads", json(fields))).json().id;
    }
    const at = `/v1/uploads/${one.id}`;
    const stands = (await ask(at)).json();
    assert.equal(stands.bytes, one.whole.length);
    if (stands.status === "pending") {
      assert.equal(one.file, undefined, "what was complete stays so");
      const there = (await ask(`${at}/parts`)).json().data;
      for (const { id, part_number, bytes, sha256: digest } of there) {
        assert.deepEqual([bytes, digest], [one.part(part_number).length, sha256(one.part(part_number))], "a part is there whole");
        one.stored.set(part_number, one.stored.get(part_number) ?? id);
      }
      assert.deepEqual(there.map((part) => part.id).sort(), [...one.stored.values()].sort(), "every part that was answered is there");
      // What is not complete is no document.
      assert.equal(codeOf(await ask(`/v1/files/${one.id.replace("upload_", "file_")}/content`, {}, 404)), "document_not_found");
      const missing = [1, 2, 3].filter((number) => !one.stored.has(number));
      const ends = await Promise.allSettled(missing.map(async (number) => one.stored.set(number, (await ask(`${at}/parts`, partForm(one.part(number), number))).json().id)));
      for (const { reason } of ends) if (reason !== undefined) throw reason;
    }
    const order = [1, 2, 3].map((number) => one.stored.get(number));
    if (order.includes(undefined)) {
      // It was completed, so that its parts were stored and told.
      assert.fail(`${one.name} is ${stands.status} without its parts`);
    }
    const md5 = createHash("md5").update(one.whole).digest("hex");
    const made = (await ask(`${at}/complete`, json({ part_ids: order, md5 }))).json();
    assert.equal(made.status, "completed");
    assert.equal(made.file.id, one.file ?? made.file.id);
    if (stands.status === "completed") assert.equal(made.file.id, stands.file.id);
    one.file = made.file.id;
  }
  async function read(one) {
    const { data } = await list(one.who);
    const long = data.filter(({ filename }) => filename === one.name);
    assert.equal(long.length, one.file ? 1 : long.length);
    for (const { id } of long) assert.ok((await content(one.who, id)).bytes.equals(one.whole), `${one.name} reads as it was sent`);
    if (one.file) assert.equal(long[0].id, one.file);
  }

  const first = [await begin(), await begin()];
  await cron(house);
  const { answers, ms } = await killed.unkilled(() => first.map(goOn));
  let cuts = 0;
  for (const [round, moment] of moments(random, PARTS).entries()) {
    const isLast = round === PARTS - 1;
    // Those that were cut go on, are cut again, and in the end are not.
    if (isLast) await Promise.all(all.map(goOn));
    const going = [...all.filter((one) => !one.file), await begin(), await begin()];
    const at = (moment * answers * going.length) / first.length;
    // What is left of the last ones, and of parts that were cut, goes in its time.
    const { cut, of } = await killed.during(() => going.map(goOn), at, ms, isLast ? () => passes(house, TWO_HOURS_MS) : undefined);
    t.diagnostic(`round ${round}: killed after ${at.toFixed(1)} answers, ${cut} of ${of} uploads cut`);
    cuts += cut;
    for (const one of going) await read(one);
  }
  assert.ok(cuts > 0, "no kill came in the middle");
  for (const one of all.filter(({ id, file }) => id && !file)) {
    const over = await one.who.ask(`/v1/uploads/${one.id}`);
    // Complete, though nobody heard of it, or over.
    assert.ok(over.status === 404 || over.json().status === "completed", over.text);
  }
  await cron(house);
  for (const one of all) await read(one);
  const people = all.map((one) => one.who);
  assertKept(house, await listed(people));
  await eraseAll(people);
});

test("a document whose deletion or whose owner's erasure was killed is whole or gone, and a repetition ends it", async (t) => {
  const random = dice(t);
  const keeper = await known("what nobody deletes");
  await cron(house);

  async function fill(sizes) {
    const who = await known();
    const documents = await Promise.all(
      sizes.map(async (bytes, i) => {
        const one = { who, bytes: text(`${who.address} ${i}`, bytes) };
        const made = await who.upload(one.bytes);
        assert.equal(made.status, 200, made.text);
        return Object.assign(one, { id: made.json().id });
      }),
    );
    return { who, documents };
  }
  const prepare = async (round) => ({
    deleted: await fill([30, 90_000, round % 2 ? 200 : SEGMENT + 1, 17, 300_000, 4]),
    erased: [await fill([30, round % 2 ? SEGMENT + 5 : 6, 70_000]), await fill([1000, 1000, 1000, 1000])],
  });
  /** Two lines of deletions and one of erasures, each one after the other, so that kills find them at different steps. */
  async function remove(who, documents) {
    for (const one of documents) {
      await killed.answer(who.ask(`/v1/files/${one.id}`, { method: "DELETE" }), 200);
      one.gone = true;
    }
  }
  async function forget(groups) {
    for (const { who, documents } of groups) {
      await killed.answer(erase(who), 200);
      for (const one of documents) one.gone = true;
    }
  }
  const work = ({ deleted: { who, documents }, erased }) => [remove(who, documents.slice(0, 3)), remove(who, documents.slice(3)), forget(erased)];
  /** Whole or gone, by every way to ask. */
  async function check(one) {
    const read = await content(one.who, one.id);
    const told = await one.who.ask(`/v1/files/${one.id}`);
    const { data } = await list(one.who);
    const is = (status) => assert.deepEqual([read.status, told.status, data.some(({ id }) => id === one.id)], [status, status, status === 200], read.text);
    if (read.status === 404) {
      assert.equal(codeOf(read), "document_not_found");
      return is(404);
    }
    assert.ok(!one.gone, "what was answered as deleted is gone");
    is(200);
    assert.ok(!read.broken && read.bytes.equals(one.bytes), "it is whole");
  }
  const checkAll = ({ deleted, erased }) => Promise.all([deleted, ...erased].flatMap(({ documents }) => documents.map(check)));
  /** Once more, and to the end. */
  async function repeat({ deleted, erased }) {
    for (const one of deleted.documents) {
      const answer = await deleted.who.ask(`/v1/files/${one.id}`, { method: "DELETE" });
      assert.ok([200, 404].includes(answer.status), answer.text);
      one.gone = true;
    }
    for (const { who, documents } of erased) {
      const answer = await erase(who);
      // Who is not known any more has nothing left.
      if (answer.status !== 200) assert.equal(codeOf(answer), "session_required", answer.text);
      for (const one of documents) one.gone = true;
    }
    await checkAll({ deleted, erased });
  }

  const first = await prepare(1);
  const { answers, ms } = await killed.unkilled(() => work(first));
  await repeat(first);
  const people = [keeper, first.deleted.who];
  let cuts = 0;
  for (const [round, moment] of moments(random, DELETIONS).entries()) {
    const given = await prepare(round);
    people.push(given.deleted.who);
    const { cut, of } = await killed.during(() => work(given), moment * answers, ms);
    await checkAll(given);
    t.diagnostic(`round ${round}: killed after ${(moment * answers).toFixed(1)} answers, ${cut} of ${of} lines of deletions cut`);
    cuts += cut;
    await repeat(given);
  }
  assert.ok(cuts > 0, "no kill came in the middle");
  await cron(house);
  assertKept(house, await listed(people));
  assert.equal((await content(keeper, keeper.first)).text, "what nobody deletes");
  await eraseAll(people);
});

test("a restore that is killed again and again goes on with the same call, and serves nothing until all is back", async (t) => {
  const random = dice(t);
  const other = await startHouse({ documents: DOCUMENTS, abuse: { enabled: false } }, { ADMIN_TOKEN });
  try {
    const owner = await claimHouse(other.worker);
    // Who signs in once before and once after: codes of an authenticator are for one time.
    const second = await invited(owner, "owner");
    await owner.do("PUT", "/flags/banner", { value: "hello" });
    const made = await owner.do("POST", "/keys", { name: "robot", scopes: SCOPES });
    const [ann, ben, robot] = [visitor(other), visitor(other), keyed(other, made.key, "100.65.200.1")];
    const plan = (await done(ann, "/v1/files", form("the plan of the house"))).json().id;
    await uploadInParts(ann);
    await done(ben, "/v1/files", form("what Ben keeps"));
    await done(robot, "/v1/files", form("beep"));
    await done(ann, `/v1/files/${plan}/shares`, json({ with: "principal", id: (await done(ben, "/api/me")).json().id, right: "view" }));
    await done(ann, `/v1/files/${plan}/comments`, json({ text: "well drawn" }));
    await talk(ann, "what the house is for");
    await talk(ben, "another matter");
    // So many that one call does not put all back.
    const crowd = Array.from({ length: CROWD }, () => visitor(other));
    await Promise.all(
      crowd.map(async (who) => {
        Object.assign(who, { first: (await done(who, "/v1/files", form(`of ${who.address}`))).json().id });
      }),
    );
    let taken;
    do taken = await owner.do("POST", "/backups");
    while (!taken.done);
    const whole = async () => ({ ann: await seen(ann), ben: await seen(ben), robot: await seen(robot), rules: await ruled(second) });
    const before = await whole();

    await other.worker.restart({
      hard: true,
      meanwhile() {
        for (const store of ["v3/do", "v3/kv"]) rmSync(join(other.worker.folder, store), { recursive: true, force: true });
      },
    });
    const killed = new Killed(other);
    /** Owners whose rows are back. */
    const back = () => {
      const folder = join(other.worker.folder, "v3/do/gatehouse-test-Owner");
      return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".sqlite") && !name.startsWith("metadata")).length : 0;
    };
    // Visitors come by all the while, so that the house may have been used before it is closed.
    const step = async () => (await killed.answer(call(other.worker.url, { path: "/api/admin/restore", json: { token: ADMIN_TOKEN, snapshot: taken.snapshot, discard: true } }), 200)).json();
    const reads = [
      [ann, `/v1/files/${plan}/content`, ({ text }) => text === "the plan of the house"],
      [ann, "/v1/files", ({ text }) => JSON.parse(text).data.length === 2],
      [ben, "/v1/shared", ({ text }) => JSON.parse(text).data.length === 1],
      [robot, "/v1/files", ({ text }) => JSON.parse(text).data.length === 1],
      [crowd.at(-1), `/v1/files/${crowd.at(-1).first}/content`, ({ text }) => text === `of ${crowd.at(-1).address}`],
      [ann, "/v1/conversations", ({ text }) => JSON.parse(text).data.length === 1],
    ];
    /** What is told of what was there: nothing, as in an empty house; that the house is closed; or all of it. */
    async function look() {
      const told = await Promise.all(
        reads.map(async ([who, path, isRight]) => {
          const answer = await killed.answer(who.ask(path), 200, 401, 404, 503);
          if (answer.status === 503) assert.equal(codeOf(answer), "house_restoring");
          if (answer.status === 503) return "closed";
          return answer.status === 200 && isRight(answer) ? "all" : "nothing";
        }),
      );
      return [...new Set(told)];
    }
    let state = "nothing";
    let noted = 0;
    let restored = 0;
    let calls = 0;
    async function restore() {
      for (;;) {
        calls += 1;
        const told = await step();
        if (told.done) return;
        assert.ok(told.restored >= restored, "what is noted as back is not put back again");
        restored = told.restored;
        noted += 1;
      }
    }
    /** Looks again and again while a closed house is filled; it may open while a look is on its way. */
    async function watch(isOver) {
      while (state === "closed" && !isOver()) {
        assert.ok(!(await look()).includes("nothing"), "nothing is served half-way");
        await pause(20);
      }
    }
    for (const [round, moment] of [...moments(random, RESTORES).sort(), "between"].entries()) {
      let over = false;
      const restoring = restore().finally(() => {
        over = true;
      });
      const ends = Promise.allSettled([restoring, watch(() => over)]);
      const is = () => (moment === "between" ? noted > 0 : back() >= Math.floor(moment * (CROWD + 3)));
      while (!over && !is()) await pause(1);
      if (moment === "between") await pause(random() * 100);
      const found = back();
      await killed.now();
      for (const { reason } of await ends) if (reason !== undefined && !(reason instanceof Cut)) throw reason;
      const told = await look();
      t.diagnostic(`round ${round}: killed when ${found} of ${CROWD + 3} owners were back, in call ${calls}; of the house ${told} is told`);
      assert.equal(told.length, 1, `all of it or nothing: ${told}`);
      if (state !== "nothing") assert.notEqual(told[0], "nothing", "what was closed stays so until all is back");
      [state] = told;
    }
    assert.ok(noted > 0, "all was put back by one call");
    await restore();
    assert.deepEqual(await look(), ["all"]);
    await second.signIn();
    assert.deepEqual(await whole(), before);
    for (const who of crowd) assert.equal((await content(who, who.first)).text, `of ${who.address}`);
    // The house goes on.
    await done(ann, "/v1/files", form("after the restore"));
    await done(crowd[0], `/v1/files/${crowd[0].first}`, { method: "DELETE" });
  } finally {
    await other.stop();
  }
});

test("a rotation that is killed leaves every key and document usable, and a repetition ends it", async (t) => {
  const random = dice(t);
  const owner = await claimHouse(house.worker);
  const { key } = await owner.do("POST", "/keys", { name: "robot", scopes: SCOPES });
  const robot = keyed(house, key, "100.65.201.1");
  const contents = new Map();
  async function keep(bytes) {
    const content = text(`of the robot ${contents.size}`, bytes);
    contents.set((await done(robot, "/v1/files", form(content))).json().id, content);
  }
  for (const bytes of [40, 200_000, SEGMENT + 1]) await keep(bytes);
  for (const name of PROVIDERS) await owner.do("PUT", `/providers/${name}/key`, { key: `sk-stored-canary-${name}` });

  /** Documents read, and keys open what they did: the caller's, and those of providers. */
  async function check(who) {
    for (const [id, bytes] of contents) assert.ok((await done(robot, `/v1/files/${id}/content`)).bytes.equals(bytes));
    await Promise.all(
      PROVIDERS.map(async (name) => {
        await done(robot, "/v1/chat/completions", json(question(name)));
        assert.equal(house.provider.of(`good:${name}`).at(-1).headers.authorization, `Bearer sk-stored-canary-${name}`);
      }),
    );
    // A session stays until the rotation voids it; then its visitor is nobody, and never somebody else.
    const me = (await done(who, "/api/me")).json();
    assert.ok(me.kind === "anonymous" || me.id === who.id, JSON.stringify(me));
    assert.equal((await content(who, who.first)).status, me.kind === "anonymous" ? 404 : 200);
    await keep(100);
  }
  async function session() {
    const who = await known();
    return Object.assign(who, { id: (await done(who, "/api/me")).json().id });
  }
  /** Nothing of a rotation is left to do. */
  async function assertEnded() {
    const ring = await owner.do("GET", "/keyring");
    assert.equal(ring.rewrapped, ring.of);
    assert.deepEqual(ring.warnings, []);
    assert.equal(ring.versions.filter(({ state }) => state === "active").length, 1);
    assert.deepEqual(ring.versions.filter(({ state }) => state === "pending"), []);
    return ring;
  }
  const emergency = async () => {
    await owner.do("POST", "/keyring/emergency", {});
  };

  // The first one confirms the second factor as well.
  await emergency();
  const begun = Date.now();
  await emergency();
  const ms = Date.now() - begun;
  for (const [round, moment] of moments(random, ROTATIONS).entries()) {
    const who = await session();
    const rotate = () => [killed.answer(owner.call("POST", "/keyring/emergency", {}), 200)];
    const { cut } = await killed.during(rotate, moment, ms);
    const ring = await owner.do("GET", "/keyring");
    t.diagnostic(`round ${round}: killed after ${Math.round(moment * ms)} ms, ${cut ? "cut" : "answered"}; ${ring.rewrapped} of ${ring.of} keys wrapped by version ${ring.active}, floor ${ring.floor}`);
    await check(who);
    await emergency();
    const ended = await assertEnded();
    assert.equal(ended.floor, ended.active);
    await until(async () => (await done(who, "/api/me")).json().kind === "anonymous", "the session to be void");
    await check(who);
  }

  // One without haste: begun, killed, activated, killed, and ended by the cron.
  const who = await session();
  const { active } = await owner.do("GET", "/keyring");
  assert.equal((await owner.do("POST", "/keyring/rotate", {})).step, "begun");
  await killed.during(() => [killed.answer(owner.call("POST", "/keyring/rotate", {}), 409)], random(), 10);
  await check(who);
  const pending = async () => (await owner.do("GET", "/keyring")).versions.find(({ state }) => state === "pending");
  // 5 s after its begin every reader knows it.
  await until(async () => (await pending()).in_state_seconds > 5, "the time of the activation");
  const { cut } = await killed.during(() => [killed.answer(owner.call("POST", "/keyring/rotate", {}), 200)], random(), ms);
  const ring = await owner.do("GET", "/keyring");
  t.diagnostic(`an activation ${cut ? "cut" : "answered"}; ${ring.rewrapped} of ${ring.of} keys wrapped by version ${ring.active}`);
  await check(who);
  await cron(house);
  assert.equal((await assertEnded()).active, active + 1);
  await check(who);
  assert.equal((await done(who, "/api/me")).json().id, who.id);
});
