// Conversations through OpenAI's SDK, unchanged; what is in the object's rows, and what is left after a kill.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { rowsOf } from "./support/objects.mjs";
import { said } from "./support/sdk-provider.mjs";
import { all, sdkVisitor, startSdkHouse } from "./support/sdk-house.mjs";
import { until } from "./support/wait.mjs";

let house;
before(async () => {
  house = await startSdkHouse();
});
after(() => house?.stop());

/** A visitor with OpenAI's SDK. */
const visitor = () => sdkVisitor(house);

const texts = (items) => items.map((item) => (item.type === "message" ? item.content[0].text : `(${item.type})`));

/** The rows of every object that keeps conversations. */
const rows = () => rowsOf(house, "Owner", "memory");

test("create, retrieve, update, list items page by page, delete", async () => {
  const client = visitor();
  const items = Array.from({ length: 5 }, (_, n) => ({ role: "user", content: `Note ${n}` }));
  const made = await client.conversations.create({ metadata: { title: "Clouds" }, items });
  assert.match(made.id, /^conv_[0-9a-f]{32}$/);
  assert.deepEqual([made.object, made.metadata], ["conversation", { title: "Clouds" }]);
  assert.deepEqual(await client.conversations.retrieve(made.id), made);
  const renamed = await client.conversations.update(made.id, { metadata: { title: "Rain", kind: "weather" } });
  assert.deepEqual(renamed.metadata, { title: "Rain", kind: "weather" });
  const more = await client.conversations.items.create(made.id, {
    items: [{ role: "assistant", content: "Noted." }, { type: "function_call_output", call_id: "call_1", output: "1" }],
    include: ["reasoning.encrypted_content"],
  });
  assert.deepEqual(texts(more.data), ["Noted.", "(function_call_output)"]);
  const forwards = await all(client.conversations.items.list(made.id, { order: "asc", limit: 2 }));
  assert.deepEqual(texts(forwards), ["Note 0", "Note 1", "Note 2", "Note 3", "Note 4", "Noted.", "(function_call_output)"]);
  const backwards = await all(client.conversations.items.list(made.id, { limit: 3 }));
  assert.deepEqual(backwards, forwards.toReversed());
  const after = await client.conversations.items.list(made.id, { order: "asc", after: forwards[4].id });
  assert.deepEqual(texts(after.data), ["Noted.", "(function_call_output)"]);
  const one = await client.conversations.items.retrieve(forwards[0].id, { conversation_id: made.id });
  assert.deepEqual(one, forwards[0]);
  const left = await client.conversations.items.delete(forwards[0].id, { conversation_id: made.id });
  assert.equal(left.id, made.id);
  await assert.rejects(client.conversations.items.retrieve(forwards[0].id, { conversation_id: made.id }), OpenAI.NotFoundError);
  await assert.rejects(visitor().conversations.retrieve(made.id), OpenAI.NotFoundError);
  const gone = await client.conversations.delete(made.id);
  assert.deepEqual(gone, { id: made.id, object: "conversation.deleted", deleted: true });
  await assert.rejects(client.conversations.retrieve(made.id), OpenAI.NotFoundError);
});

test("answers of every provider go on from each other, and are there after a kill; nothing is in the clear", async () => {
  const client = visitor();
  const { id } = await client.conversations.create({ metadata: { title: "Sealed title" } });
  const said4711 = await client.responses.create({ model: "chat-text", input: "Remember 4711.", conversation: id });
  assert.equal(said4711.conversation.id, id);
  const streamed = await all(await client.responses.create({ model: "messages-text", input: "And 4712.", conversation: { id }, stream: true }));
  assert.equal(streamed.at(-1).type, "response.completed");
  assert.equal(streamed.at(-1).response.conversation.id, id);
  const begun = await client.responses.create({ model: "responses-text", input: "And 4713.", conversation: id, background: true });
  assert.ok(["queued", "in_progress", "completed"].includes(begun.status));
  const count = async () => (await client.conversations.items.list(id, { limit: 100 })).data.length;
  await until(async () => (await count()) === 6, "the answer in the background to be added");
  await house.worker.restart({ hard: true });
  const kept = texts(await all(client.conversations.items.list(id, { order: "asc" })));
  const answers = ["chat", "messages", "responses"].map((provider) => said(provider, "text").text);
  assert.deepEqual(kept, ["Remember 4711.", answers[0], "And 4712.", answers[1], "And 4713.", answers[2]]);
  const titles = await client.get("/conversations");
  assert.deepEqual(titles.data.map(({ metadata }) => metadata.title), ["Sealed title"]);
  const exported = await client.get(`/conversations/${id}/export`);
  assert.deepEqual(texts(exported.items), kept);
  const stored = rows().map(({ key, value }) => `${key} ${Buffer.from(value).toString("latin1")}`);
  assert.ok(stored.length > 6 * 3);
  for (const word of ["4711", "And 47", "title", answers[0].slice(0, 12)]) {
    assert.ok(!stored.some((row) => row.includes(word)), word);
  }
  await client.conversations.delete(id);
  assert.ok(!rows().some(({ key }) => key.includes(id)));
});

test("a client that goes away in the middle finds the answer in its conversation", async () => {
  const client = visitor();
  const { id } = await client.conversations.create();
  const model = "chat-held--responses";
  const before = house.provider.of("chat", "held--responses").length;
  const stream = await client.responses.create({ model, input: "Tell me.", conversation: id, stream: true });
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") break;
  }
  stream.controller.abort();
  await until(() => house.provider.of("chat", "held--responses").length > before, "the provider to be asked");
  house.provider.of("chat", "held--responses")[before].release();
  const kept = async () => texts((await client.conversations.items.list(id, { order: "asc" })).data);
  await until(async () => (await kept()).length === 2, "the answer to be added");
  assert.deepEqual(await kept(), ["Tell me.", said("chat", "tool_results").text]);
});
