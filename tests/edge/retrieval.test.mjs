// Vector stores through OpenAI's SDK, unchanged; what is in the object's rows, and what is left after a kill.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI, { toFile } from "openai";

import { rowsOf } from "./support/objects.mjs";
import { all, sdkVisitor, startSdkHouse } from "./support/sdk-house.mjs";

let house;
before(async () => {
  house = await startSdkHouse();
});
after(() => house?.stop());

/** A visitor with OpenAI's SDK. */
const visitor = () => sdkVisitor(house);

const CANARY = "zanzibarquokka";
const GUIDE = `The cache keeps an answer for one hour.\n\nThe limiter admits twenty requests a minute; ${CANARY} is the word.`;

const text = (content, name = "guide.txt") => toFile(Buffer.from(content), name, { type: "text/plain" });

/** The rows of every object that keeps stores. */
const rows = () => rowsOf(house, "Owner", "stores");

test("a store from its beginning to its end: upload and poll, search, label, list, content, delete", async () => {
  const client = visitor();
  const store = await client.vectorStores.create({ name: "Guide", metadata: { team: "blue" }, expires_after: { anchor: "last_active_at", days: 7 } });
  assert.match(store.id, /^vs_[0-9a-f]{32}$/);
  const file = await client.vectorStores.files.uploadAndPoll(store.id, await text(GUIDE));
  assert.deepEqual([file.status, file.last_error, file.vector_store_id], ["completed", null, store.id]);
  const labelled = await client.vectorStores.files.update(file.id, { vector_store_id: store.id, attributes: { year: 2024 } });
  assert.deepEqual(labelled.attributes, { year: 2024 });
  const found = await all(client.vectorStores.search(store.id, { query: "How many requests does the limiter admit?" }));
  assert.equal(found[0].file_id, file.id);
  assert.equal(found[0].filename, "guide.txt");
  assert.ok(found[0].content[0].text.includes("twenty") && found[0].score > 0 && found[0].score <= 1);
  const filters = { type: "gt", key: "year", value: 2024 };
  assert.deepEqual(await all(client.vectorStores.search(store.id, { query: "limiter", filters })), []);
  const content = await all(client.vectorStores.files.content(file.id, { vector_store_id: store.id }));
  assert.ok(content.map((part) => part.text).join("\n").includes(CANARY));
  const second = await client.vectorStores.files.createAndPoll(store.id, {
    file_id: (await client.files.create({ file: await text("Whales sing.", "whales.txt"), purpose: "assistants" })).id,
    chunking_strategy: { type: "static", static: { max_chunk_size_tokens: 100, chunk_overlap_tokens: 10 } },
  });
  assert.equal(second.status, "completed");
  const files = await all(client.vectorStores.files.list(store.id, { order: "asc", limit: 1 }));
  assert.deepEqual(files.map((one) => one.id), [file.id, second.id]);
  const now = await client.vectorStores.update(store.id, { name: "Rain" });
  assert.deepEqual([now.name, now.metadata, now.file_counts.completed], ["Rain", { team: "blue" }, 2]);
  const listed = await all(client.vectorStores.list());
  assert.deepEqual(listed.map((one) => one.id), [store.id]);
  await client.vectorStores.files.delete(second.id, { vector_store_id: store.id });
  assert.deepEqual(await all(client.vectorStores.search(store.id, { query: "whales" })), []);
  await assert.rejects(visitor().vectorStores.retrieve(store.id), OpenAI.NotFoundError);
  const gone = await client.vectorStores.delete(store.id);
  assert.deepEqual(gone, { id: store.id, object: "vector_store.deleted", deleted: true });
  await assert.rejects(client.vectorStores.retrieve(store.id), OpenAI.NotFoundError);
});

test("a batch is polled until all of its files are read", async () => {
  const client = visitor();
  const store = await client.vectorStores.create({});
  const ids = [];
  for (const name of ["tea", "coffee", "milk"]) {
    ids.push((await client.files.create({ file: await text(`This one is about ${name}.`, `${name}.txt`), purpose: "assistants" })).id);
  }
  const batch = await client.vectorStores.fileBatches.createAndPoll(store.id, { file_ids: ids });
  assert.deepEqual([batch.status, batch.file_counts.completed], ["completed", 3]);
  const files = await all(client.vectorStores.fileBatches.listFiles(batch.id, { vector_store_id: store.id }));
  assert.equal(files.length, 3);
  const found = await all(client.vectorStores.search(store.id, { query: "coffee", max_num_results: 1 }));
  assert.equal(found[0].file_id, ids[1]);
});

test("what is kept is there after a kill and nowhere in clear; a document that is deleted takes it along", async () => {
  const client = visitor();
  const store = await client.vectorStores.create({ name: CANARY, metadata: { a: CANARY } });
  const file = await client.vectorStores.files.uploadAndPoll(store.id, await text(GUIDE));
  await house.worker.restart({ hard: true });
  assert.equal((await all(client.vectorStores.search(store.id, { query: CANARY }))).length, 1);
  const stored = rows();
  assert.ok(stored.some(({ key }) => key.startsWith("p/")) && stored.some(({ key }) => key.startsWith("x/")));
  for (const { key, value } of stored) {
    assert.ok(!`${key} ${Buffer.from(value).toString("latin1")}`.includes(CANARY), key);
  }
  await client.files.delete(file.id);
  assert.deepEqual(await all(client.vectorStores.search(store.id, { query: CANARY })), []);
  await assert.rejects(client.vectorStores.files.retrieve(file.id, { vector_store_id: store.id }), OpenAI.NotFoundError);
});

test("file_search: the search, the citation, whole and streamed, for providers of every dialect", async () => {
  const client = visitor();
  const store = await client.vectorStores.create({});
  await client.vectorStores.files.uploadAndPoll(store.id, await text(GUIDE));
  const tools = [{ type: "file_search", vector_store_ids: [store.id] }];
  const input = "What does the limiter admit?";
  for (const model of ["chat-text", "messages-text", "responses-text"]) {
    const whole = await client.responses.create({ model, input, tools, include: ["file_search_call.results"] });
    assert.equal(whole.output[0].type, "file_search_call");
    assert.ok(whole.output[0].results[0].text.includes(CANARY));
    assert.equal(whole.output.at(-1).type, "message");
    const stream = client.responses.stream({ model, input, tools });
    const kinds = [];
    for await (const event of stream) kinds.push([event.sequence_number, event.type]);
    assert.deepEqual(kinds.map(([number]) => number), kinds.map((_, at) => at), model);
    const final = await stream.finalResponse();
    assert.equal(final.output[0].type, "file_search_call");
    assert.equal(final.output_text, whole.output_text);
  }
  const { response } = await client.chat.completions
    .create({ model: "chat-text", messages: [{ role: "user", content: input }], gatehouse: { stores: [store.id] } })
    .withResponse();
  assert.equal(JSON.parse(response.headers.get("x-gatehouse-sources"))[0].filename, "guide.txt");
});
