// Shared documents, their versions and comments: in workerd, through restarts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { assertRefused, startHouse } from "./support/house.mjs";
import { blobs, form, visitor } from "./support/visitor.mjs";
import { until } from "./support/wait.mjs";

let house;
before(async () => {
  house = await startHouse({ documents: { max_count: 20, max_versions: 2, ttl_seconds: 3600 } });
});
after(() => house?.stop());

const json = (body) => ({ method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
const content = (who, id, query = "") => who.ask(`/v1/files/${id}/content${query}`);
const share = async (who, id, body) => {
  const made = await who.ask(`/v1/files/${id}/shares`, json(body));
  assert.equal(made.status, 200, made.text);
  return made.json();
};

async function stored(who, text) {
  const made = await who.upload(text);
  assert.equal(made.status, 200, made.text);
  return made.json().id;
}

/** A visitor who is known, and by which id. */
async function known() {
  const who = visitor(house);
  await stored(who, "something of their own");
  const me = (await who.ask("/api/me")).json();
  return { who, id: me.id };
}

test("a share opens a document for one visitor at once, survives a crash, and ends at once", async () => {
  const first = visitor(house);
  const { who: second, id: secondId } = await known();
  const { who: third } = await known();
  const id = await stored(first, "For the second alone.");
  assertRefused(await content(second, id), "openai", 404, "document_not_found");

  const made = await share(first, id, { with: "principal", id: secondId, right: "comment" });
  assert.equal((await content(second, id)).text, "For the second alone.");
  assertRefused(await content(third, id), "openai", 404, "document_not_found");

  await house.worker.restart({ hard: true });
  assert.equal((await content(second, id)).text, "For the second alone.");
  const shared = (await second.ask("/v1/shared")).json();
  assert.deepEqual(
    shared.data.map((file) => [file.id, file.gatehouse.right]),
    [[id, "comment"]],
  );
  const comment = await second.ask(`/v1/files/${id}/comments`, json({ text: "Read it." }));
  assert.equal(comment.status, 200, comment.text);
  const comments = (await first.ask(`/v1/files/${id}/comments`)).json();
  assert.deepEqual(
    comments.data.map(({ text, by }) => [text, by]),
    [["Read it.", secondId]],
  );
  assertRefused(await second.ask(`/v1/files/${id}/content`, form("mine now")), "openai", 403, "forbidden");

  const ended = await first.ask(`/v1/files/${id}/shares/${made.id}`, { method: "DELETE" });
  assert.equal(ended.status, 200, ended.text);
  assertRefused(await content(second, id), "openai", 404, "document_not_found");
  assert.deepEqual((await second.ask("/v1/shared")).json().data, []);
});

test("a link opens from another site, with its passphrase", async () => {
  const first = visitor(house);
  const id = await stored(first, "Behind a link.");
  const { token, url } = await share(first, id, { with: "link", passphrase: "correct horse battery" });
  assert.ok(url.endsWith(`/v1/shared/${token}/content`));
  const stranger = visitor(house);
  const open = (headers) => stranger.ask(`/v1/shared/${token}/content`, { headers: { "sec-fetch-site": "cross-site", ...headers } });
  assertRefused(await open({}), "openai", 401, "passphrase_required");
  assertRefused(await open({ "x-gatehouse-passphrase": "correct horse" }), "openai", 401, "passphrase_required");
  const opened = await open({ "x-gatehouse-passphrase": "correct horse battery" });
  assert.equal(opened.text, "Behind a link.");
  assert.match(opened.headers["content-disposition"], /^attachment/);
  const inHeader = { "x-gatehouse-link": token, "x-gatehouse-passphrase": "correct horse battery" };
  const told = await stranger.ask("/v1/shared/link", { headers: inHeader });
  assert.equal(told.json().id, id, told.text);
  assert.equal((await stranger.ask("/v1/shared/link/content", { headers: inHeader })).text, "Behind a link.");
  const part = await open({ "x-gatehouse-passphrase": "correct horse battery", range: "bytes=7-7" });
  assert.deepEqual([part.status, part.text], [206, "a"]);
});

test("a new version takes the place of the one before, and only so many are kept", async () => {
  const first = visitor(house);
  const id = await stored(first, "version one");
  const before = blobs(house).length;
  const etag = (await content(first, id)).headers.etag;
  for (const [number, text] of [
    [2, "version two"],
    [3, "version three"],
  ]) {
    const made = await first.ask(`/v1/files/${id}/content`, form(text));
    assert.equal(made.status, 200, made.text);
    assert.equal((await content(first, id)).text, text);
    const versions = (await first.ask(`/v1/files/${id}/versions`)).json();
    assert.equal(versions.data[0].version, number);
  }
  assert.equal((await content(first, id, "?version=2")).text, "version two");
  assertRefused(await content(first, id, "?version=1"), "openai", 404, "document_not_found");
  await until(() => blobs(house).length === before + 1, "the first version's blob to be gone");
  const stale = form("over the first");
  stale.headers["if-match"] = etag;
  assertRefused(await first.ask(`/v1/files/${id}/content`, stale), "openai", 412, "precondition_failed");

  await house.worker.restart({ hard: true });
  assert.equal((await content(first, id)).text, "version three");
  const both = await Promise.all(["left", "right"].map((text) => first.ask(`/v1/files/${id}/content`, form(text))));
  const stored2 = both.filter((answer) => answer.status === 200).length;
  assert.ok(stored2 >= 1, both.map((answer) => answer.text).join());
  assert.match((await content(first, id)).text, /^(left|right)$/);
  assert.equal((await first.ask(`/v1/files/${id}`, { method: "DELETE" })).status, 200);
  await until(() => blobs(house).length === before - 1, "every version's blob to be gone");
});
