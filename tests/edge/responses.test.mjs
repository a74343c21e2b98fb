// The Responses API: created, read again, streamed, run in the background, stopped, deleted, and built upon.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { call, events, leaks, secretsIn } from "./support/client.mjs";
import { assertDressed, assertRefused, startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";
import { until } from "./support/wait.mjs";

const GOOD = /^Answer \d+: good day, 世界。$/;
const target = (provider, model) => [{ provider, model }];

let house;
let url;
let provider;
let sdk;
before(async () => {
  house = await startHouse({
    retry: { attempts_per_target: 1, attempts: 1 },
    aliases: [
      { name: "native", public: true, target: target("responses", "good:native") },
      { name: "chat", public: true, target: target("openai", "good:chat") },
      { name: "claude", public: true, target: target("anthropic", "good:claude") },
      { name: "waits", public: true, target: target("responses", "held:waits") },
      { name: "waits-chat", public: true, target: target("openai", "held:waits-chat") },
      { name: "down", public: true, target: target("responses", "status_400:down") },
      { name: "forgetful", public: true, store_responses: false, target: target("responses", "good:forgetful") },
    ],
  });
  ({ provider } = house);
  url = house.worker.url;
  sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey: "visitor", maxRetries: 0, defaultHeaders: { "cf-connecting-ip": "100.67.9.1" } });
});
after(() => house?.stop());

const { responses } = CALLERS;
const create = (model, more = {}, options = {}) => call(url, { path: "/v1/responses", json: { model, input: "Good day?", ...more }, ...options });
const get = (id, rest = "") => call(url, { path: `/v1/responses/${id}${rest}` });

for (const model of ["native", "chat", "claude"]) {
  test(`${model}: a response is kept under the id that it tells, and is what it was`, async () => {
    const answer = await create(model);
    assert.equal(answer.status, 200, answer.text);
    assertDressed(answer);
    const said = read(responses, answer, false);
    assert.match(said.id, /^resp_[\w-]{22}$/);
    assert.equal(answer.headers["x-gatehouse-response-id"], said.id);
    assert.match(said.text, GOOD);
    const again = await get(said.id);
    assert.deepEqual(again.json(), answer.json());
    assert.equal(provider.of(`good:${model}`).at(-1).body.store ?? false, false, "nothing is stored at the provider");
  });

  test(`${model}: a streamed response ends with what is kept`, async () => {
    const answer = await create(model, { stream: true });
    const said = read(responses, answer, true);
    const last = JSON.parse(events(answer.text).at(-1).data).response;
    assert.deepEqual((await get(said.id)).json(), last);
    const numbers = [...answer.text.matchAll(/^id: (\d+)$/gm)].map(([, number]) => Number(number));
    assert.deepEqual(numbers, events(answer.text).map(({ data }) => JSON.parse(data).sequence_number), "an event's id is its number");
    assert.equal((await get(said.id, "?stream=true&starting_after=2")).text, answer.text.split(/(?<=\n\n)/).slice(3).join(""));
  });

  test(`${model}: an earlier response is what a later one builds upon`, async () => {
    const first = read(responses, await create(model, { input: "My name is Ada." }), false);
    const second = await create(model, { input: "What is my name?", previous_response_id: first.id });
    assert.equal(second.status, 200, second.text);
    const { body } = provider.of(`good:${model}`).at(-1);
    const turns = (body.messages ?? body.input).map(({ role, content }) => [role, typeof content === "string" ? content : content.map((part) => part.text).join("")]);
    assert.deepEqual(turns, [["user", "My name is Ada."], ["assistant", first.text], ["user", "What is my name?"]]);
    assert.equal(body.previous_response_id, undefined, "the provider knows nothing of our ids");
    const third = await create(model, { input: "And now?", previous_response_id: read(responses, second, false).id });
    assert.equal(third.status, 200, third.text);
    const later = provider.of(`good:${model}`).at(-1).body;
    assert.equal((later.messages ?? later.input).length, 5);
  });
}

test("the input's items are listed, newest first, each with an id", async () => {
  const input = [
    { role: "user", content: "one" },
    { role: "assistant", content: "two" },
    { type: "message", role: "user", content: [{ type: "input_text", text: "three" }] },
  ];
  const { id } = read(responses, await create("native", { input }), false);
  const list = (await get(id, "/input_items")).json();
  assert.deepEqual([list.object, list.has_more], ["list", false]);
  assert.deepEqual(list.data.map((item) => [item.type, item.role, item.content[0].text]), [
    ["message", "user", "three"],
    ["message", "assistant", "two"],
    ["message", "user", "one"],
  ]);
  assert.equal(new Set(list.data.map((item) => item.id)).size, 3);
  assert.deepEqual([list.first_id, list.last_id], [list.data[0].id, list.data[2].id]);
});

test("a response in the background is there at once, is asked after, and comes to its end without anyone", async () => {
  for (const model of ["waits", "waits-chat"]) {
    const arrived = provider.next(`held:${model}`);
    const begun = await create(model, { background: true });
    assert.equal(begun.status, 200, begun.text);
    const { id, status } = begun.json();
    assert.equal(status, "in_progress");
    const seen = await arrived;
    assert.equal(seen.body.background, undefined);
    assert.equal((await get(id)).json().status, "in_progress");
    assertRefused(await create("native", { previous_response_id: id }), "openai", 400, "invalid_parameter");
    seen.release();
    const done = await until(async () => {
      const body = (await get(id)).json();
      return body.status !== "in_progress" && body;
    }, "the response to be done");
    assert.equal(done.status, "completed");
    assert.equal(done.id, id);
    assert.match(responses.whole(done).text, GOOD);
  }
});

test("a streamed response in the background can be read from the beginning", async () => {
  const arrived = provider.next("held:waits");
  const { id } = (await create("waits", { background: true, stream: true })).json();
  const seen = await arrived;
  const reading = get(id, "?stream=true");
  seen.release();
  const said = read(responses, await reading, true);
  assert.deepEqual([said.id, said.finish], [id, "stop"]);
});

test("a response in the background is stopped", async () => {
  const arrived = provider.next("held:waits");
  const { id } = (await create("waits", { background: true })).json();
  const seen = await arrived;
  const answer = await call(url, { method: "POST", path: `/v1/responses/${id}/cancel` });
  assert.deepEqual([answer.status, answer.json().status], [200, "cancelled"]);
  await seen.closed();
  assert.equal((await get(id)).json().status, "cancelled");
});

test("a response in the background that fails says so when it is asked after", async () => {
  const { id } = (await create("down", { background: true })).json();
  const done = await until(async () => {
    const body = (await get(id)).json();
    return body.status !== "in_progress" && body;
  }, "the response to fail");
  assert.equal(done.status, "failed");
});

test("a response that was deleted is gone", async () => {
  const { id } = read(responses, await create("native"), false);
  const answer = await call(url, { method: "DELETE", path: `/v1/responses/${id}` });
  assert.deepEqual(answer.json(), { id, object: "response", deleted: true });
  for (const rest of ["", "?stream=true", "/input_items"]) assertRefused(await get(id, rest), "openai", 404, "response_not_found");
  assertRefused(await create("native", { previous_response_id: id }), "openai", 404, "response_not_found");
});

test("what is not to be stored is not", async () => {
  for (const [model, more] of [["native", { store: false }], ["forgetful", {}]]) {
    const answer = await create(model, more);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.headers["x-gatehouse-response-id"], undefined);
    assertRefused(await get(answer.json().id), "openai", 404, "response_not_found");
  }
  assertRefused(await create("native", { store: false, background: true }), "openai", 400, "invalid_parameter");
});

test("the official SDK creates, streams, reads, lists and deletes", async () => {
  const made = await sdk.responses.create({ model: "chat", input: "Good day?" });
  assert.match(made.output_text, GOOD);
  assert.equal((await sdk.responses.retrieve(made.id)).output_text, made.output_text);
  let text = "";
  const stream = await sdk.responses.create({ model: "claude", input: "Good day?", stream: true });
  for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
  assert.match(text, GOOD);
  const items = [];
  for await (const item of sdk.responses.inputItems.list(made.id)) items.push(item);
  assert.equal(items[0].content[0].text, "Good day?");
  await sdk.responses.delete(made.id);
  await assert.rejects(sdk.responses.retrieve(made.id), OpenAI.NotFoundError);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});
